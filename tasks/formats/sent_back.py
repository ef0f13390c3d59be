"""A wrong answer as the row that it becomes: the question with what is right, and where it came from as metadata."""

import re
from collections.abc import Mapping
from typing import Any

NUMBER: Mapping[str, Any] = {"type": "number"}
EXACT: Mapping[str, Any] = {"type": "exact"}
_NUMBER = re.compile(r"[-+−]?\d[\d,]*(\.\d+)?")


def with_grader(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with the grader that it names, else with the one that its right answer suggests: a number is compared as
    a number, everything else as a whole."""
    if row.get("grader") is not None or row.get("reference") is None:
        return dict(row)
    return {**row, "grader": dict(NUMBER if _is_number(row["reference"]) else EXACT)}


def _is_number(reference: Any) -> bool:
    if isinstance(reference, str):
        return _NUMBER.fullmatch(reference.strip()) is not None
    return isinstance(reference, int | float) and not isinstance(reference, bool)


def metadata(
    *, source: str, version: str, asked_as: str, answer: str, licence: str, score: float | None, feedback: str
) -> dict[str, Any]:
    """What travels with the row. Screening reads it like the row: an answer may quote a secret too."""
    told: dict[str, Any] = {"source": source, "model_version": version, "answered": answer, "licence": licence}
    further = {"asked_as": asked_as if asked_as != version else "", "feedback": feedback}
    told |= {name: value for name, value in further.items() if value}
    return told if score is None else {**told, "score": score}
