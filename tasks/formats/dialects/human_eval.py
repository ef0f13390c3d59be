"""human_eval: {prompt, entry_point, canonical_solution, test}: a function to complete, and a program that tests it."""

from collections.abc import Sequence
from typing import Any

from tasks.formats.targets import Mapping
from tasks.types import Issue

_COLUMNS = {
    "prompt": "prompt",
    "entry_point": "item.entry_point",
    "canonical_solution": "item.solution",
    "test": "item.tests",
    "task_id": "metadata.task_id",
}
_GRADER = {
    "type": "code",
    "entry_point": "{{ item.entry_point }}",
    "prefix": "{{ item.prefix }}",
    "solution": "{{ item.solution }}",
}


def guess(names: frozenset[str], samples: Sequence[dict[str, Any]]) -> Mapping | None:
    if not {"prompt", "entry_point", "canonical_solution", "test"} <= names:
        return None
    return Mapping("human_eval", {name: target for name, target in _COLUMNS.items() if name in names}, grader=_GRADER)


def finish(row: dict[str, Any], raw: dict[str, Any], line: int) -> dict[str, Any] | Issue:
    """What the prompt has begun goes before a reply that only goes on from it."""
    if isinstance(row.get("prompt"), str):
        row.setdefault("item", {})["prefix"] = row["prompt"]
    return row
