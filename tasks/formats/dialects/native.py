"""native: {prompt | messages, reference, …} as docs/formats.md has it, read as it stands. Messages beside names that no
field has are taken for openai_rft.

In a table the parts that are objects are JSON in cells: that is a mapping by columns.
"""

from collections.abc import Sequence
from typing import Any

from tasks.formats.targets import ADDED, NATIVE, Mapping

_OWN = frozenset({"reference", "item", "gold", "grader"})
_BESIDE = frozenset({"prompt", "domain", "metadata"})
_OBJECTS = ("messages", "item", "grader", "metadata")


def guess(names: frozenset[str], samples: Sequence[dict[str, Any]]) -> Mapping | None:
    asked = "messages" in names or "prompt" in names
    if not asked or any(isinstance(row.get(name), str) for row in samples for name in _OBJECTS):
        return None
    if names & _OWN or names <= {*_BESIDE, "tools", *ADDED}:
        return NATIVE
    if "messages" not in names:
        return None
    return NATIVE if names & _BESIDE else Mapping("openai_rft")
