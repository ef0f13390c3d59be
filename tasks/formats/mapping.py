"""From a file's own rows to native rows: guessed, confirmed by a person, then the same function for every row."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

from tasks.formats import targets
from tasks.formats.dialects import (
    bbh,
    columns,
    gsm8k,
    human_eval,
    native,
    nemo_gym,
    open_instruct,
    openai_rft,
    reasoning_gym,
    trl,
    verifiers,
    verl,
)
from tasks.formats.targets import ADDED, NATIVE, Apply, Mapping
from tasks.types import Issue

__all__ = ["DIALECTS", "NATIVE", "Guess", "Mapping", "apply", "compiled", "guess", "problems"]

# In the order in which they are tried: the ones that look at more come first.
_TRIED: Sequence[ModuleType] = (
    *(human_eval, reasoning_gym, verl, nemo_gym, open_instruct, gsm8k, bbh, native, trl, verifiers, columns),
)
_FINISH = {
    "human_eval": human_eval.finish,
    "reasoning_gym": reasoning_gym.finish,
    "verl": verl.finish,
    "nemo_gym": nemo_gym.finish,
    "open_instruct": open_instruct.finish,
    "dolci": open_instruct.finish,
}
DIALECTS = (
    *("native", "openai_rft", "open_instruct", "dolci", "trl", "verl", "verifiers", "nemo_gym", "reasoning_gym"),
    *("human_eval", "gsm8k", "bbh", "columns"),
)


class Guess(NamedTuple):
    mapping: Mapping
    confident: bool  # a known dialect, whose columns mean one thing
    grader: dict[str, Any] | None  # that the references look like, where neither mapping nor rows bring one


def guess(names: Sequence[str], samples: Sequence[dict[str, Any]]) -> Guess:
    """The first dialect that recognises the columns and first rows."""
    top = frozenset(name for row in samples for name in row) or frozenset(names)
    top -= ADDED
    found = next(mapping for module in _TRIED if (mapping := module.guess(top, samples)) is not None)
    confident = found.dialect != "columns"
    return Guess(found, confident, found.grader or _suggested(found, samples))


def _suggested(mapping: Mapping, samples: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    rows = [row for raw in samples if isinstance(row := apply(mapping, raw), dict)]
    if not rows or any("grader" in row for row in rows):
        return None
    if all(isinstance(row.get("item"), dict) and "choices" in row["item"] for row in rows):
        return {"type": "choice", "choices": "{{ item.choices }}"}
    return columns.grader_for(row.get("reference") for row in rows) if all("reference" in row for row in rows) else None


def problems(mapping: Mapping, names: Sequence[str]) -> list[str]:
    """What is wrong with a mapping for a file of these columns, for its form; [] where nothing is."""
    if mapping.dialect not in DIALECTS:
        return [f"There is no dialect '{mapping.dialect[:80]}'. Known: {', '.join(DIALECTS)}."]
    return [] if _stands(mapping) else list(targets.problems(mapping, names))


def _stands(mapping: Mapping) -> bool:
    return mapping.dialect in _WITHOUT_COLUMNS and not mapping.columns and mapping.grader is None


def compiled(mapping: Mapping) -> Apply:
    """The mapping as one function (row, row number) -> native row or Issue, for loops."""
    whole = None if mapping.columns else _WITHOUT_COLUMNS.get(mapping.dialect)
    if whole is not None:
        return whole if mapping.grader is None else _with_grader(whole, mapping.grader)
    mapped, finish = targets.compiled(mapping), _FINISH.get(mapping.dialect)
    if finish is None:
        return mapped

    def apply_with_rules(raw: dict[str, Any], line: int) -> dict[str, Any] | Issue:
        row = mapped(raw, line)
        return row if isinstance(row, Issue) else finish(row, raw, line)

    return apply_with_rules


def _with_grader(whole: Apply, grader: dict[str, Any]) -> Apply:
    def apply_with_grader(raw: dict[str, Any], line: int) -> dict[str, Any] | Issue:
        row = whole(raw, line)
        return row if isinstance(row, Issue) else {"grader": grader, **row}

    return apply_with_grader


def _as_it_stands(raw: dict[str, Any], line: int) -> dict[str, Any]:
    return raw if ADDED.isdisjoint(raw) else {name: value for name, value in raw.items() if name not in ADDED}


_WITHOUT_COLUMNS: dict[str, Apply] = {"native": _as_it_stands, "openai_rft": openai_rft.native_row}


def apply(mapping: Mapping, raw: dict[str, Any], line: int = 0) -> dict[str, Any] | Issue:
    """One row; for many, `compiled` once."""
    return compiled(mapping)(raw, line)
