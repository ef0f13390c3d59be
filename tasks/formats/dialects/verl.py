"""verl: {data_source, prompt, ability, reward_model {style, ground_truth}, extra_info}; `data_source` is the rule."""

from collections.abc import Sequence
from typing import Any

from tasks.formats.codes import issue
from tasks.formats.dialects import verification
from tasks.formats.targets import Mapping
from tasks.graders.templates import as_text
from tasks.types import Issue

_COLUMNS = {
    "data_source": "metadata.data_source",
    "prompt": "prompt",
    "ability": "domain",
    "reward_model.ground_truth": "reference",
    "reward_model.style": "ignore",
    "extra_info": "metadata",
    "agent_name": "ignore",
}


def guess(names: frozenset[str], samples: Sequence[dict[str, Any]]) -> Mapping | None:
    if not {"prompt", "reward_model"} <= names or not samples:
        return None
    if not all(isinstance(row.get("reward_model"), dict) and "ground_truth" in row["reward_model"] for row in samples):
        return None
    here = names | {"reward_model.ground_truth", "reward_model.style"}
    return Mapping("verl", {source: target for source, target in _COLUMNS.items() if source in here})


def finish(row: dict[str, Any], raw: dict[str, Any], line: int) -> dict[str, Any] | Issue:
    truth = row.pop("reference", None)
    if truth is None:
        return row
    try:
        verification.use(row, str(raw.get("data_source") or ""), truth)
    except verification.Unusable as fault:
        return issue("unmappable", line=line, field="reward_model", detail=str(fault), value=as_text(truth))
    return row
