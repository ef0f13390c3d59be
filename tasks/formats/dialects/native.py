"""native: {prompt | messages, reference, …} as docs/formats.md has it; and openai_rft, whose graders read any key.

Both are read as they stand. In a table the parts that are objects are JSON in cells: that is a mapping by columns.
"""

from collections.abc import Sequence
from typing import Any

from tasks.formats.targets import ADDED, NATIVE, Mapping

_OWN = frozenset({"reference", "item", "gold", "grader"})
_OBJECTS = ("messages", "item", "grader", "metadata")


def guess(names: frozenset[str], samples: Sequence[dict[str, Any]]) -> Mapping | None:
    asked = "messages" in names or "prompt" in names
    if not asked or any(isinstance(row.get(name), str) for row in samples for name in _OBJECTS):
        return None
    if names & _OWN or names <= {"prompt", "domain", "metadata", "tools", *ADDED}:
        return NATIVE
    return Mapping("openai_rft") if "messages" in names else None
