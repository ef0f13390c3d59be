"""bbh: {input, target}, a task of BIG-Bench Hard; whether it is a choice, a number or a text is seen by the targets."""

import re
from collections.abc import Sequence
from typing import Any

from tasks.formats.dialects import columns
from tasks.formats.targets import Mapping

_LETTER = re.compile(r"\([A-Z]\)")


def guess(names: frozenset[str], samples: Sequence[dict[str, Any]]) -> Mapping | None:
    if names != {"input", "target"} or not samples:
        return None
    targets = [str(row.get("target", "")) for row in samples]
    mapped = {"input": "prompt", "target": "reference"}
    if all(map(_LETTER.fullmatch, targets)):
        return Mapping(
            "bbh", mapped, choices_in_prompt=True, grader={"type": "choice", "choices": "{{ item.choices }}"}
        )
    return Mapping("bbh", mapped, grader=columns.grader_for(targets) or {"type": "exact"})
