"""trl: {prompt, …}, a text or messages; the other columns are what TRL gives its reward functions, so the item's."""

from collections.abc import Sequence
from typing import Any

from tasks.formats.targets import ADDED, Mapping

_REFERENCES = ("reference", "solution", "ground_truth", "answer", "target", "label")


def guess(names: frozenset[str], samples: Sequence[dict[str, Any]]) -> Mapping | None:
    if "prompt" not in names or not samples:
        return None
    conversational = all(isinstance(row.get("prompt"), list) for row in samples)
    found = next((name for name in _REFERENCES if name in names), None)
    if found is None or not (conversational or found in ("solution", "ground_truth")):
        return None
    columns = {"prompt": "prompt", found: "reference"}
    for name in sorted(names - columns.keys() - ADDED):
        columns[name] = "ignore" if name in ("completion", "chosen", "rejected") else f"item.{name}"
    return Mapping("trl", columns)
