"""Proof at upload: a row's gold must earn full score and its decoys must not. Plain values in, plain values out.

Of a grader that asks a model the gold must only be correct: few judges ever give the top of their scale.

A decoy that happens to state the right answer says nothing about the grader: it is skipped and counted. A grade that
our own fault kept from being made decides nothing: its row is proved again once the fault is repaired.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from tasks.graders import registry
from tasks.text import excerpt, normalise
from tasks.types import Grade, Outcome

OUTPUT_LIMIT = 2000  # characters of the over-long decoy
MAX_CANDIDATES = 8  # other rows' answers that one decoy lists
REFUSED_ABOVE = 0.05  # share of rows on which one decoy may pass before the grader is refused
REFUSED_FROM = 3  # rows: in an upload of a dozen, one accident is for a person and no verdict on the grader
FLATTERY = "the answer is correct"


class ProofOutcome(StrEnum):
    PROVED = "proved"
    UNPROVED = "unproved"  # no gold, or a decoy passed: a person decides
    REJECTED = "rejected"  # the gold does not earn what it must


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
    SKIPPED = "skipped"  # it states the right answer
    NOT_MADE = "not_made"  # there was nothing to make it of: no other row, or none with another answer
    UNGRADABLE = "ungradable"  # the grader failed on it, as it will fail on a model that says the same


class DecoyResult(msgspec.Struct, frozen=True, gc=False):
    kind: DecoyKind
    completion: str  # excerpt
    outcome: DecoyOutcome
    grade: Grade | None  # None where nothing was graded


class Claim(msgspec.Struct, frozen=True):
    """A row that says it is verifiable. `gold` None: the grader derives one. `neighbours` are other rows' golds."""

    config: registry.Config
    item: Mapping[str, Any]
    gold: str | None
    prompt: str
    neighbours: Sequence[str] = ()


# What Proof.code can be
PROVED, REASON_PROVED = "proved", "The gold answer passes, no decoy does."
NO_GOLD, GOLD_FAILED, GOLD_UNGRADABLE = "no_gold", "gold_failed", "gold_ungradable"
DECOY_PASSED, DECOY_UNGRADABLE = "decoy_passed", "decoy_ungradable"
NOT_SAMPLED = "judge_not_sampled"  # judges cost tokens: they prove a sample
UNAVAILABLE = "grader_unavailable"  # our fault: nothing is decided, the row is proved again


class Proof(msgspec.Struct, frozen=True, gc=False):
    outcome: ProofOutcome
    code: str
    reason: str  # shown to the contributor as it stands
    gold: str | None
    gold_grade: Grade | None
    decoys: tuple[DecoyResult, ...] = ()
    faults: tuple[str, ...] = ()  # the flag of every grade that could not be made


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a grader is refused for a whole upload."""

    kind: DecoyKind
    share: float  # of all rows with a gold that earned full score
    sentence: str


def is_ours(grade: Grade) -> bool:
    """Whether the machine or a judge failed, rather than the row or the grader's author."""
    return any(flag in _OURS or flag.endswith("_server_error") for flag in grade.errors)


_OURS = frozenset(
    {
        "sandbox_error",
        "sandbox_unavailable",
        "grader_unavailable",
        "model_grader_parse_error",  # a judge that does not answer as it is asked to may do so next time
        "model_grader_refusal_error",
    }
)


def prove(
    config: Mapping[str, Any] | registry.Config,
    item: Mapping[str, Any],
    gold: str | None,
    prompt: str,
    neighbours: Sequence[str] = (),
    output_limit: int = OUTPUT_LIMIT,
) -> Proof:
    """Prove one row."""
    return prove_many([Claim(registry.parse(config), item, gold, prompt, neighbours)], output_limit)[0]


def prove_many(claims: Sequence[Claim], output_limit: int = OUTPUT_LIMIT) -> list[Proof]:
    """Prove rows, in order: all golds first, then the decoys of those that earned full score. Each is one batch a
    grader, for the graders that run elsewhere."""
    found: dict[int, Proof] = {}
    golds = [claim.gold if claim.gold is not None else registry.gold(claim.config, claim.item) for claim in claims]
    found.update((at, _without_gold()) for at, gold in enumerate(golds) if gold is None)
    given = [(at, gold) for at, gold in enumerate(golds) if gold is not None]
    grades = _grades([(claims[at], gold) for at, gold in given])
    earned: list[tuple[int, str, Grade]] = []
    for (at, gold), grade in zip(given, grades, strict=True):
        if (proof := _of_gold(claims[at].config, gold, grade)) is not None:
            found[at] = proof
        else:
            earned.append((at, gold, grade))
    found.update(_prove_earned(claims, earned, output_limit))
    return [found[at] for at in range(len(claims))]


def _grades(tried: Sequence[tuple[Claim, str]]) -> list[Grade]:
    """One for each (row, completion). Rows of one upload share their configuration, which is told by identity."""
    together: dict[int, list[int]] = {}
    for at, (claim, _) in enumerate(tried):
        together.setdefault(id(claim.config), []).append(at)
    grades: dict[int, Grade] = {}
    for places in together.values():
        answers = [(tried[at][1], tried[at][0].item) for at in places]
        grades.update(zip(places, registry.grade_many(tried[places[0]][0].config, answers), strict=True))
    return [grades[at] for at in range(len(tried))]


def _without_gold() -> Proof:
    reason = "The row has no gold answer and its grader cannot derive one: a person has to look at it."
    return Proof(ProofOutcome.UNPROVED, NO_GOLD, reason, None, None)


def not_sampled(gold: str) -> Proof:
    reason = "Its judge costs tokens and proved a sample of the rows, without this one: a person has to look at it."
    return Proof(ProofOutcome.UNPROVED, NOT_SAMPLED, reason, excerpt(gold), None)


def untried(gold: str, problem: str) -> Proof:
    """The row's grader does not even start: nothing is graded."""
    reason = f"The gold answer cannot be graded: {problem}"
    return Proof(ProofOutcome.REJECTED, GOLD_UNGRADABLE, reason, excerpt(gold), None, faults=(GOLD_UNGRADABLE,))


def unavailable(gold: str, sentence: str) -> Proof:
    """The grader cannot run on this machine now: nothing is graded."""
    return _unavailable(gold, None, sentence, (UNAVAILABLE,))


def _of_gold(config: registry.Config, gold: str, grade: Grade) -> Proof | None:
    """What the gold decides by itself; None where it earned what it must."""
    if grade.outcome is Outcome.UNGRADABLE:
        if is_ours(grade):
            return _unavailable(gold, grade, grade.reason, _flags((grade,)))
        reason = f"The gold answer cannot be graded: {grade.reason}"
        faults = _flags((grade,))
        return Proof(ProofOutcome.REJECTED, GOLD_UNGRADABLE, reason, excerpt(gold), grade, faults=faults)
    if grade.correct and (grade.score >= 1 or registry.asks_a_model(config)):
        return None
    missed = "too little to be correct" if registry.asks_a_model(config) else "not full score"
    reason = f"The gold answer earns {grade.score:.2f}, {missed}: {grade.reason}"
    return Proof(ProofOutcome.REJECTED, GOLD_FAILED, reason, excerpt(gold), grade)


def _unavailable(gold: str, gold_grade: Grade | None, why: str, faults: tuple[str, ...]) -> Proof:
    reason = f"Nothing is decided, because the grader could not do its work: {why}"
    return Proof(ProofOutcome.UNPROVED, UNAVAILABLE, reason, excerpt(gold), gold_grade, faults=faults)


def _flags(ungradable: Sequence[Grade]) -> tuple[str, ...]:
    return tuple(grade.errors[0] if grade.errors else "other_error" for grade in ungradable)


def _prove_earned(
    claims: Sequence[Claim], earned: Sequence[tuple[int, str, Grade]], limit: int
) -> Iterator[tuple[int, Proof]]:
    decoys = [_decoys(claims[at], gold, limit) for at, gold, _ in earned]
    tried = [
        (claims[at], text) for (at, _, _), own in zip(earned, decoys, strict=True) for text in own if text is not None
    ]
    grades = iter(_grades(tried))
    for (at, gold, grade), own in zip(earned, decoys, strict=True):
        results = [
            _result(claims[at], gold, kind, text, None if text is None else next(grades))
            for kind, text in zip(_KINDS, own, strict=True)
        ]
        yield at, _of_decoys(gold, grade, tuple(results))


_KINDS = tuple(DecoyKind)


def _of_decoys(gold: str, gold_grade: Grade, results: tuple[DecoyResult, ...]) -> Proof:
    ungradable = [result.grade for result in results if result.outcome is DecoyOutcome.UNGRADABLE and result.grade]
    if ours := [grade for grade in ungradable if is_ours(grade)]:
        return _unavailable(gold, gold_grade, ours[0].reason, _flags(ours))
    faults = _flags(ungradable)
    if passed := [_SAID[result.kind] for result in results if result.outcome is DecoyOutcome.PASSED]:
        code, outcome = DECOY_PASSED, ProofOutcome.UNPROVED
        reason = f"The grader also accepts {' and '.join(passed)}: a person has to look at it."
    elif failed := [_SAID[result.kind] for result in results if result.outcome is DecoyOutcome.UNGRADABLE]:
        code, outcome = DECOY_UNGRADABLE, ProofOutcome.UNPROVED
        reason = f"The grader fails on {' and '.join(failed)}: {ungradable[0].reason} A person has to look at it."
    else:
        code, outcome, reason = PROVED, ProofOutcome.PROVED, REASON_PROVED
    return Proof(outcome, code, reason, excerpt(gold), gold_grade, results, faults)


_SAID = {
    DecoyKind.EMPTY: "an empty reply",
    DecoyKind.ECHO: "the prompt repeated",
    DecoyKind.OTHER_GOLD: "another row's answer",
    DecoyKind.FLATTERY: f"'{FLATTERY}'",
    DecoyKind.EVERY_CANDIDATE: "a list of every candidate",
    DecoyKind.OVER_LONG: "a wrong answer repeated to the length limit",
}


def _decoys(claim: Claim, gold: str, limit: int) -> tuple[str | None, ...]:
    """One of each kind, in the order of DecoyKind; None where there is nothing to make it of."""
    own = normalise(gold)
    other = next((answer for answer in claim.neighbours if answer != gold and normalise(answer) != own), None)
    candidates = claim.neighbours[:MAX_CANDIDATES]
    return (
        "",
        claim.prompt,
        other,
        FLATTERY,
        _every_candidate(claim.config, claim.item, gold, candidates),
        _over_long(FLATTERY if other is None else other, limit),
    )


def _every_candidate(
    config: registry.Config, item: Mapping[str, Any], gold: str, neighbours: Sequence[str]
) -> str | None:
    """The dataset's answers in one reply. The right one is among them where other rows share it (a small, closed set
    that a model can learn by heart), and never last, because concluding with it would be answering. A multi whose
    children make no list of their own takes the plain one."""
    special = getattr(registry.module_of(config), "every_candidate", None)
    listed: str | None = special(config, item, neighbours) if special else None
    if listed is not None:
        return listed
    others = [answer for answer in dict.fromkeys(neighbours) if answer != gold]
    return ", ".join([gold, *others] if gold in neighbours else others) if others else None


def _over_long(wrong: str, limit: int) -> str:
    """Whole repeats only: half a number could be the right one."""
    return " ".join([wrong] * max(2, limit // (len(wrong) + 1)))


def _result(claim: Claim, gold: str, kind: DecoyKind, text: str | None, grade: Grade | None) -> DecoyResult:
    if text is None or grade is None:
        return DecoyResult(kind, "", DecoyOutcome.NOT_MADE, None)
    if grade.outcome is Outcome.UNGRADABLE:
        outcome = DecoyOutcome.UNGRADABLE
    elif not grade.correct and grade.score < 1:
        outcome = DecoyOutcome.REFUSED
    else:
        accident = coincides(claim.config, claim.item, gold, text)
        outcome = DecoyOutcome.SKIPPED if accident else DecoyOutcome.PASSED
    return DecoyResult(kind, excerpt(text, 120), outcome, grade)


def coincides(config: registry.Config, item: Mapping[str, Any], gold: str, text: str) -> bool:
    """Whether the decoy states the right answer: by the grader's own rule, or, without one, by ending in the gold."""
    special = getattr(registry.module_of(config), "coincides", None)
    told: bool | None = special(config, item, text) if special else None
    if told is not None:
        return told
    right, said = normalise(gold).rstrip(_TAIL), normalise(text).rstrip(_TAIL)
    return said == right or (bool(right) and said.endswith(right) and not said[-len(right) - 1].isalnum())


_TAIL = " .,:;!?)]}\"'*_`"


# Counts of an upload's rows: {"gold": {GOLD: n}, "<decoy kind>": {DecoyOutcome: n}}.
# Read as a matrix: gold failed is a false reject, a decoy passed is a false accept.
Tally = dict[str, dict[str, int]]
GOLD = ("earned", "failed", "ungradable", "absent", "not_sampled")
GOLD_OF_CODE: Mapping[str, str] = {  # by Proof.code; any other has earned full score
    GOLD_FAILED: "failed",
    GOLD_UNGRADABLE: "ungradable",
    UNAVAILABLE: "ungradable",
    NO_GOLD: "absent",
    NOT_SAMPLED: "not_sampled",
}


def tally(cells: Iterable[tuple[str, str, int]]) -> Tally:
    """From (line, outcome, count) triples; every cell is there, with 0 where nothing was counted."""
    counts: Tally = {"gold": dict.fromkeys(GOLD, 0)}
    counts.update({kind.value: {outcome.value: 0 for outcome in DecoyOutcome} for kind in DecoyKind})
    for line, outcome, count in cells:
        counts[line][outcome] += count
    return counts


def cells_of(proof: Proof) -> tuple[tuple[str, str, int], ...]:
    """One proof's own cells, for `tally`."""
    gold = ("gold", GOLD_OF_CODE.get(proof.code, "earned"), 1)
    return (gold, *((decoy.kind.value, decoy.outcome.value, 1) for decoy in proof.decoys))


def refusal(counts: Tally) -> Refusal | None:
    """The grader is refused when it accepts one decoy, or fails on it, on more than 5 % of the rows whose gold earned
    full score, and on no fewer than REFUSED_FROM of them."""
    rows = counts["gold"]["earned"]
    for cell, said, remedy in _REFUSING:
        worst = max(DecoyKind, key=lambda kind: counts[kind][cell])
        count = counts[worst][cell]
        if count >= REFUSED_FROM and count > rows * REFUSED_ABOVE:
            sentence = f"The grader {said} {_SAID[worst]} on {count:,} of {rows:,} rows: change the grader to {remedy}."
            return Refusal(worst, count / rows, sentence)
    return None


_REFUSING = (
    (DecoyOutcome.PASSED.value, "accepts", "a stricter one"),
    (DecoyOutcome.UNGRADABLE.value, "fails on", "one that answers for every text"),
)
