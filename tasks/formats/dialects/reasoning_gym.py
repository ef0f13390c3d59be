"""reasoning_gym: {question, answer, metadata {source_dataset, …}}, an entry as the library generates it."""

from collections.abc import Sequence
from typing import Any

from tasks.formats.codes import issue
from tasks.formats.targets import Mapping
from tasks.types import Issue

_ENTRY = ("question", "answer", "metadata")


def guess(names: frozenset[str], samples: Sequence[dict[str, Any]]) -> Mapping | None:
    if not {"question", "answer", "metadata"} <= names or not samples:
        return None
    if not all(isinstance(row.get("metadata"), dict) and "source_dataset" in row["metadata"] for row in samples):
        return None
    columns = {"question": "prompt", "answer": "ignore", "metadata": "ignore", "metadata.source_dataset": "domain"}
    return Mapping("reasoning_gym", columns, grader={"type": "reasoning_gym"})


def finish(row: dict[str, Any], raw: dict[str, Any], line: int) -> dict[str, Any] | Issue:
    """The library's rules read the whole entry."""
    if not isinstance(raw.get("metadata"), dict):
        return issue("unmappable", line=line, field="metadata", detail="`metadata` is not the entry's object")
    row.setdefault("item", {})["entry"] = {name: raw.get(name) for name in _ENTRY}
    return row
