"""What is kept of a proof: only what is not as usual, because nearly every gold earns full score and nearly every decoy
is refused. `whole` gives everything back; what older versions kept in full reads the same."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from tasks.proof import GOLD_OF_CODE, PROVED, REASON_PROVED, DecoyKind, DecoyOutcome, Proof
from tasks.types import Grade, Outcome

_USUAL: Mapping[str, Any] = {
    "outcome": Outcome.CORRECT.value,
    "score": 1.0,
    "sub_scores": {},
    "reason": "Matches the reference.",
    "errors": [],
}
_encode = msgspec.json.Encoder().encode


class Kept(NamedTuple):
    """A row of proofs. Of a gold that earned full score its grade holds what is not as in _USUAL and no `read` that is
    the completion; then decoys that were refused are left out as well. `reason` "" is REASON_PROVED."""

    task_id: int
    outcome: str
    code: str
    reason: str
    gold: str | None  # JSON
    decoys: str  # JSON
    faults: tuple[str, ...]  # the flag of every grade that could not be made: counted, not stored


class Whole(NamedTuple):
    """As people and programs read it."""

    reason: str
    gold: dict[str, Any] | None
    decoys: list[dict[str, Any]]


def kept(task_id: int, found: Proof) -> Kept:
    reason = "" if found.code == PROVED else found.reason[:300]
    gold = None if found.gold is None else _encode(_gold(found)).decode()
    if not found.gold_grade or found.code in GOLD_OF_CODE:
        decoys = "[]"
    else:
        decoys = _encode([_decoy(one) for one in found.decoys if one.outcome is not DecoyOutcome.REFUSED]).decode()
    return Kept(task_id, found.outcome.value, found.code, reason, gold, decoys, found.faults)


def _gold(found: Proof) -> dict[str, Any]:
    graded = {"completion": found.gold, **_of_grade(found.gold_grade)}
    if found.code in GOLD_OF_CODE:
        return graded
    usual = {**_USUAL, "read": found.gold}
    return {name: value for name, value in graded.items() if name == "completion" or value != usual[name]}


def _of_grade(grade: Grade | None) -> dict[str, Any]:
    if grade is None:
        return {}
    return {
        "outcome": grade.outcome.value,
        "score": grade.score,
        "sub_scores": dict(grade.sub_scores),
        "read": grade.read,
        "reason": grade.reason,
        "errors": list(grade.errors),
    }


def _decoy(one: Any) -> dict[str, Any]:
    reason = "" if one.grade is None else one.grade.reason
    return {"kind": one.kind.value, "outcome": one.outcome.value, "excerpt": one.completion, "reason": reason}


def whole(code: str, reason: str, gold: Mapping[str, Any] | None, decoys: Sequence[Mapping[str, Any]]) -> Whole:
    """From the columns of a stored proof."""
    if code in GOLD_OF_CODE:  # the gold decided by itself, or nothing was graded
        return Whole(reason, None if gold is None else _in_order(gold), [dict(one) for one in decoys])
    told = {**_USUAL, "read": (gold or {}).get("completion"), **(gold or {})}
    named = {one["kind"]: dict(one) for one in decoys}
    all_of_them = [
        named.get(kind.value, {"kind": kind.value, "outcome": DecoyOutcome.REFUSED.value}) for kind in DecoyKind
    ]
    return Whole(reason or REASON_PROVED, _in_order(told), all_of_them)


def _in_order(fields: Mapping[str, Any]) -> dict[str, Any]:
    """As Postgres gives back an object."""
    return {name: fields[name] for name in sorted(fields, key=lambda name: (len(name), name))}
