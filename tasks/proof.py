"""Proof at upload: a row's gold must earn full score and its decoys must not. Plain values in, plain values out.

A decoy that happens to state the right answer says nothing about the grader: it is skipped and counted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tasks.graders import registry
from tasks.text import excerpt, normalise
from tasks.types import Grade, Outcome

OUTPUT_LIMIT = 2000  # characters of the over-long decoy
MAX_CANDIDATES = 8  # other rows' answers that one decoy lists
REFUSED_ABOVE = 0.05  # share of rows on which one decoy may pass before the grader is refused
FLATTERY = "the answer is correct"


class ProofOutcome(StrEnum):
    PROVED = "proved"
    UNPROVED = "unproved"  # no gold, or a decoy passed: a person decides
    REJECTED = "rejected"  # the gold does not earn full score


class DecoyKind(StrEnum):
    EMPTY = "empty"
    ECHO = "echo"
    OTHER_GOLD = "other_gold"
    FLATTERY = "flattery"
    EVERY_CANDIDATE = "every_candidate"
    OVER_LONG = "over_long"


class DecoyOutcome(StrEnum):
    REFUSED = "refused"  # as it should be
    PASSED = "passed"
    SKIPPED = "skipped"  # it states the right answer, or there was nothing to make it of


@dataclass(frozen=True, slots=True)
class DecoyResult:
    kind: DecoyKind
    completion: str  # excerpt
    outcome: DecoyOutcome
    grade: Grade | None  # None where nothing was graded


@dataclass(frozen=True, slots=True)
class Proof:
    outcome: ProofOutcome
    code: str  # proved | no_gold | gold_failed | gold_ungradable | decoy_passed
    reason: str  # shown to the contributor as it stands
    gold: str | None
    gold_grade: Grade | None
    decoys: tuple[DecoyResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a grader is refused for a whole upload."""

    kind: DecoyKind
    share: float  # of all rows with a gold that earned full score
    sentence: str


def prove(
    config: Mapping[str, Any] | registry.Config,
    item: Mapping[str, Any],
    gold: str | None,
    prompt: str,
    neighbours: Sequence[str] = (),
    output_limit: int = OUTPUT_LIMIT,
) -> Proof:
    """Prove one row. `gold` None: the grader derives one where it can. `neighbours` are other rows' golds."""
    parsed = registry.parse(config)
    if gold is None:
        gold = registry.gold(parsed, item)
    if gold is None:
        reason = "The row has no gold answer and its grader cannot derive one: a person has to look at it."
        return Proof(ProofOutcome.UNPROVED, "no_gold", reason, None, None)
    graded = registry.compile(parsed)
    gold_grade = graded(gold, item)
    if gold_grade.outcome is Outcome.UNGRADABLE:
        reason = f"The gold answer cannot be graded: {gold_grade.reason}"
        return Proof(ProofOutcome.REJECTED, "gold_ungradable", reason, excerpt(gold), gold_grade)
    if not (gold_grade.correct and gold_grade.score >= 1):
        reason = f"The gold answer earns {gold_grade.score:.2f}, not full score: {gold_grade.reason}"
        return Proof(ProofOutcome.REJECTED, "gold_failed", reason, excerpt(gold), gold_grade)
    decoys = _decoys(parsed, item, gold, prompt, neighbours, output_limit)
    results = tuple(_try(parsed, graded, item, gold, kind, text) for kind, text in decoys)
    passed = [_SAID[result.kind] for result in results if result.outcome is DecoyOutcome.PASSED]
    if passed:
        reason = f"The grader also accepts {' and '.join(passed)}: a person has to look at it."
        return Proof(ProofOutcome.UNPROVED, "decoy_passed", reason, excerpt(gold), gold_grade, results)
    return Proof(
        ProofOutcome.PROVED, "proved", "The gold answer passes, no decoy does.", excerpt(gold), gold_grade, results
    )


_SAID = {
    DecoyKind.EMPTY: "an empty reply",
    DecoyKind.ECHO: "the prompt repeated",
    DecoyKind.OTHER_GOLD: "another row's answer",
    DecoyKind.FLATTERY: f"'{FLATTERY}'",
    DecoyKind.EVERY_CANDIDATE: "a list of every candidate",
    DecoyKind.OVER_LONG: "a wrong answer repeated to the length limit",
}


def _decoys(
    config: registry.Config, item: Mapping[str, Any], gold: str, prompt: str, neighbours: Sequence[str], limit: int
) -> Iterable[tuple[DecoyKind, str | None]]:
    own = normalise(gold)
    other = next((answer for answer in neighbours if normalise(answer) != own), None)
    return (
        (DecoyKind.EMPTY, ""),
        (DecoyKind.ECHO, prompt),
        (DecoyKind.OTHER_GOLD, other),
        (DecoyKind.FLATTERY, FLATTERY),
        (DecoyKind.EVERY_CANDIDATE, _every_candidate(config, item, gold, neighbours[:MAX_CANDIDATES])),
        (DecoyKind.OVER_LONG, _over_long(FLATTERY if other is None else other, limit)),
    )


def _every_candidate(
    config: registry.Config, item: Mapping[str, Any], gold: str, neighbours: Sequence[str]
) -> str | None:
    """The dataset's answers in one reply. The right one is among them where other rows share it (a small, closed set
    that a model can learn by heart), and never last, because concluding with it would be answering."""
    if (special := getattr(registry.module_of(config), "every_candidate", None)) is not None:
        listed: str | None = special(config, item, neighbours)
        return listed
    candidates = sorted(dict.fromkeys(neighbours), key=lambda answer: answer != gold)
    return ", ".join(candidates) if any(answer != gold for answer in candidates) else None


def _over_long(wrong: str, limit: int) -> str:
    """Whole repeats only: half a number could be the right one."""
    return " ".join([wrong] * max(2, limit // (len(wrong) + 1)))


def _try(
    config: registry.Config,
    graded: registry.Grader,
    item: Mapping[str, Any],
    gold: str,
    kind: DecoyKind,
    text: str | None,
) -> DecoyResult:
    if text is None:
        return DecoyResult(kind, "", DecoyOutcome.SKIPPED, None)
    grade = graded(text, item)
    if not grade.correct and grade.score < 1:
        outcome = DecoyOutcome.REFUSED
    else:
        outcome = DecoyOutcome.SKIPPED if _coincides(config, item, gold, text) else DecoyOutcome.PASSED
    return DecoyResult(kind, excerpt(text, 120), outcome, grade)


def _coincides(config: registry.Config, item: Mapping[str, Any], gold: str, text: str) -> bool:
    """Whether the decoy states the right answer: the grader's own rule, or a text that ends in the gold."""
    if (special := getattr(registry.module_of(config), "coincides", None)) is not None:
        return bool(special(config, item, text))
    right, said = normalise(gold).rstrip(_TAIL), normalise(text).rstrip(_TAIL)
    return said == right or (bool(right) and said.endswith(right) and not said[-len(right) - 1].isalnum())


_TAIL = " .,:;!?)]}\"'*_`"


def as_json(proof: Proof) -> dict[str, Any]:
    """What is kept of a proof, under (task, grader digest)."""
    return {
        "outcome": proof.outcome.value,
        "code": proof.code,
        "reason": proof.reason,
        "gold": proof.gold,
        "gold_grade": _grade_json(proof.gold_grade),
        "decoys": [
            {
                "kind": decoy.kind.value,
                "completion": decoy.completion,
                "outcome": decoy.outcome.value,
                "grade": _grade_json(decoy.grade),
            }
            for decoy in proof.decoys
        ],
    }


def _grade_json(grade: Grade | None) -> dict[str, Any] | None:
    if grade is None:
        return None
    return {
        "outcome": grade.outcome.value,
        "score": grade.score,
        "sub_scores": dict(grade.sub_scores),
        "read": grade.read,
        "reason": grade.reason,
        "errors": list(grade.errors),
    }


# Counts of an upload: {"gold": {"earned", "failed", "absent"}, "<decoy kind>": {"refused", "passed", "skipped"}}.
# Read as a matrix: gold failed is a false reject, a decoy passed is a false accept.
Tally = dict[str, dict[str, int]]


def tally(proofs: Iterable[Proof]) -> Tally:
    counts = empty_tally()
    for proof in proofs:
        gold = "absent" if proof.gold is None else "earned" if proof.outcome is not ProofOutcome.REJECTED else "failed"
        counts["gold"][gold] += 1
        for decoy in proof.decoys:
            counts[decoy.kind][decoy.outcome] += 1
    return counts


def empty_tally() -> Tally:
    counts: Tally = {"gold": {"earned": 0, "failed": 0, "absent": 0}}
    counts.update({kind.value: {outcome.value: 0 for outcome in DecoyOutcome} for kind in DecoyKind})
    return counts


def add(one: Tally, other: Tally) -> Tally:
    """The counts of two chunks together."""
    return {
        row: {cell: count + other.get(row, {}).get(cell, 0) for cell, count in cells.items()}
        for row, cells in one.items()
    }


def refusal(counts: Tally) -> Refusal | None:
    """The grader is refused when one decoy passes on more than 5 % of the rows whose gold earned full score."""
    rows = counts["gold"]["earned"]
    worst = max(DecoyKind, key=lambda kind: counts[kind]["passed"])
    passed = counts[worst]["passed"]
    if not rows or passed / rows <= REFUSED_ABOVE:
        return None
    return Refusal(
        worst,
        passed / rows,
        f"The grader accepts {_SAID[worst]} on {passed:,} of {rows:,} rows: make it stricter and prove again.",
    )
