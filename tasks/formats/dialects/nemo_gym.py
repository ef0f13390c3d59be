"""nemo_gym: {responses_create_params {input, …}, expected_answer, …}, the rows of NVIDIA NeMo Gym."""

from collections.abc import Sequence
from typing import Any

from tasks.formats.codes import issue
from tasks.formats.targets import Mapping
from tasks.types import Issue

_BESIDE = {"question": "ignore", "agent_ref": "ignore", "verifier_metadata": "item.verifier_metadata"}
_REFERENCES = ("expected_answer", "answer", "ground_truth", "verifier_metadata.expected_answer")


def guess(names: frozenset[str], samples: Sequence[dict[str, Any]]) -> Mapping | None:
    if "responses_create_params" not in names:
        return None
    columns = {"responses_create_params.input": "prompt", "responses_create_params.instructions": "system"}
    first = samples[0] if samples else {}
    nested = first.get("verifier_metadata")
    here = names | {f"verifier_metadata.{name}" for name in (nested if isinstance(nested, dict) else ())}
    if found := next((name for name in _REFERENCES if name in here), None):
        columns[found] = "reference"
    columns |= {name: target for name, target in _BESIDE.items() if name in names}
    given = first.get("responses_create_params")
    if not isinstance(given, dict) or "instructions" not in given:
        del columns["responses_create_params.instructions"]
    return Mapping("nemo_gym", columns)


def finish(row: dict[str, Any], raw: dict[str, Any], line: int) -> dict[str, Any] | Issue:
    """A reply that calls tools cannot be a task yet."""
    given = raw.get("responses_create_params")
    if isinstance(given, dict) and given.get("tools"):
        return issue("tools_unsupported", line=line, field="responses_create_params.tools")
    return row
