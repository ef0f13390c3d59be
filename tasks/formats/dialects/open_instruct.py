"""open_instruct and dolci: {messages | prompt, ground_truth, dataset}, where `dataset` names the verifier.

Both may be lists: one truth and one verifier each. Dolci adds `passrate` and where a row is from.
"""

from collections.abc import Sequence
from typing import Any

from tasks.formats.codes import issue
from tasks.formats.dialects import verification
from tasks.formats.targets import Mapping
from tasks.graders.templates import as_text
from tasks.types import Issue

_TOLD = ("passrate", "original_dataset", "dataset_source", "constraint_type", "constraint", "id", "custom_id", "key")


def guess(names: frozenset[str], samples: Sequence[dict[str, Any]]) -> Mapping | None:
    asked = "messages" if "messages" in names else "prompt"
    if not {asked, "ground_truth", "dataset"} <= names:
        return None
    columns = {asked: asked, "ground_truth": "reference", "dataset": "metadata.dataset"}
    columns |= {name: f"metadata.{name}" for name in _TOLD if name in names}
    if asked == "messages" and "prompt" in names:
        columns["prompt"] = "ignore"
    return Mapping("dolci" if _is_dolci(names, samples) else "open_instruct", columns)


def _is_dolci(names: frozenset[str], samples: Sequence[dict[str, Any]]) -> bool:
    return "passrate" in names or all(isinstance(row.get("dataset"), list) for row in samples)


def finish(row: dict[str, Any], raw: dict[str, Any], line: int) -> dict[str, Any] | Issue:
    truths, names = raw.get("ground_truth"), raw.get("dataset")
    names = names if isinstance(names, list) else [names]
    if len(names) != 1 or names[0] is None:
        detail = f"it names {len(names)} verifiers, and a task has one grader"
        return issue("unmappable", line=line, field="dataset", detail=detail, value=as_text(names))
    row.pop("reference", None)
    if truths is None:
        return row
    try:
        verification.use(row, str(names[0]), truths)
    except verification.Unusable as fault:
        return issue("unmappable", line=line, field="ground_truth", detail=str(fault), value=as_text(truths))
    row.setdefault("domain", str(names[0])[:64])
    return row
