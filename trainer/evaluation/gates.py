"""The gate: compares a candidate with the champion on the same held-out items and says one of four words.

PROMOTE       the target's lower bound is above delta_min and every guard's is above −margin
HOLD          a guard's upper bound is below −margin, or the target's below delta_min; an invariant failed, the training
              grader sees a gain that an independent one does not, or the answers cost provably more than they may
INCONCLUSIVE  the evidence cannot tell: the decision says how many more items or answers would settle it
INVALID       the comparison itself is broken: nothing is concluded from its numbers

INVALID outranks HOLD, HOLD outranks INCONCLUSIVE (a proven fall is not excused by what else is unclear), and PROMOTE
needs every row to pass. So an inconclusive guard never promotes and never holds.
A row passes or holds only where three things agree: the interval, a cluster sign-flip test, and both ways of counting
errors. No number here comes from training reward.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from msgspec.structs import replace

from trainer.evaluation import costs, invariants, scorer_gap, validity, wording
from trainer.evaluation.costs import Cost, Lengths
from trainer.evaluation.decision import Bounds, Digests, ErrorBounds, GateDecision, GateRow, Rate, Reason, Taken
from trainer.evaluation.finding import Finding
from trainer.evaluation.invariants import Invariant
from trainer.evaluation.planning import More, minimal_detectable_effect, more_to_settle, spread_of
from trainer.evaluation.policy import GatePolicy, Guard
from trainer.evaluation.scorer_gap import ScorerGap
from trainer.evaluation.scoring import (
    ANCHOR,
    CANDIDATE,
    CHAMPION,
    OVERALL,
    ErrorsCount,
    FloatArray,
    Reading,
    SuiteScores,
    flips,
    pooled,
)
from trainer.evaluation.stats import Difference, holm, paired_difference, rate_interval, sign_flip_p_value
from trainer.states import Verdict

__all__ = ["Digests", "GateDecision", "GatePolicy", "Guard", "Reason", "decide"]

FINEST = 20  # draws that a p-value of alpha takes, at least
MOST_PERMUTATIONS = 1_000_000
Role = Literal["target", "guard", "watched"]


def decide(
    policy: GatePolicy,
    suites: Sequence[SuiteScores],
    *,
    expected: Digests,
    found: Digests,
    faults: Sequence[Reason] = (),
    independent: Mapping[str, SuiteScores] | None = None,
    trained: Mapping[str, SuiteScores] | None = None,
    lengths: Lengths | None = None,
    look: int = 1,
) -> GateDecision:
    """Judge one candidate. `faults` are reasons of the caller's why the comparison is broken, contamination for one.

    `independent`: by suite, answers scored by a grader that nobody trained against; `trained`: the same ones as the
    grader of the training scores them, where that is not what the suite is scored by. `lengths`: of all answers.
    `look`: which of the policy's looks at this candidate it is; all tests are at the level that may be spent at it.
    """
    taken = _taken(policy, look)
    declared, policy = policy, replace(policy, alpha=taken.alpha)
    with_anchor = expected.anchor not in ("", expected.champion)
    by_name = {suite.suite: suite for suite in suites}
    if policy.target == OVERALL and OVERALL not in by_name and suites:
        by_name = {OVERALL: pooled(suites), **by_name}
    broken = [*faults, *validity.faults(declared, by_name, expected, found, with_anchor)]
    usable = [suite for suite in by_name.values() if suite.n and {CHAMPION, CANDIDATE} <= set(suite.sides)]
    rows = _claimed(policy, [row for suite in usable for row in _rows(policy, suite, with_anchor)])
    checks = _checks(policy, declared.alpha, usable, trained or {}, independent or {}, lengths)
    if broken:
        verdict, reasons = Verdict.INVALID, broken
        sentence = f"Not a valid comparison: {broken[0].sentence}"
    else:
        verdict, reasons = _combined(rows, checks)
        sentence = wording.headline(verdict, rows, policy, checks.sentences(verdict))
    return GateDecision(
        verdict,
        sentence,
        reasons,
        rows,
        declared.digest(),
        policy.sign_off,
        policy.alpha,
        found,
        checks.invariants,
        checks.gaps,
        checks.costs,
        look=taken,
    )


def _taken(policy: GatePolicy, number: int) -> Taken:
    at = policy.look(number)
    following = policy.looks[number] if number < len(policy.looks) else None
    answers = policy.looks[number - 1]
    return Taken(number, len(policy.looks), answers, at.alpha, at.spent, policy.alpha, following)


# One row


@dataclass(frozen=True, slots=True)
class _Test:
    """One comparison against one threshold: the headline difference, and the finding all readings agree on."""

    finding: Finding
    why: str  # code of what kept it from being decided, "" where decided
    difference: Difference
    p_value: float
    against: Difference
    favour: Difference


def _test(policy: GatePolicy, suite: SuiteScores, reading: Reading, threshold: float, side: str = CHAMPION) -> _Test:
    """Errors are bounded: every error against the candidate, every error for it, and the midpoint must agree."""
    exact = suite.sides[CANDIDATE].errors + suite.sides[side].errors == 0
    ways: tuple[ErrorsCount, ...] = ("half",) if exact else ("half", "against", "for")
    judged = {way: _judge(policy, suite, reading, threshold, side, way) for way in ways}
    finding, why, difference, p_value = judged["half"]
    if len({way[0] for way in judged.values()}) > 1:
        finding, why = Finding.INCONCLUSIVE, "errors_decide"
    against, favour = (judged.get(way, judged["half"])[2] for way in ("against", "for"))
    return _Test(finding, why, difference, p_value, against, favour)


def _judge(
    policy: GatePolicy, suite: SuiteScores, reading: Reading, threshold: float, side: str, errors: ErrorsCount
) -> tuple[Finding, str, Difference, float]:
    d_n = suite.difference_n(reading, against=side, errors=errors)
    difference = paired_difference(
        d_n,
        suite.clusters,
        alpha=policy.alpha,
        answers_per_item=suite.answers_per_item,
        source_n=suite.sources if all(suite.sources) else (),
    )

    above = _p_value(policy, suite, d_n, threshold)
    if difference.clusters < policy.minimum_clusters:
        return Finding.INCONCLUSIVE, "too_few_clusters", difference, above
    if difference.interval.low > threshold:
        agreed = above <= policy.alpha
        return (Finding.PASS, "", difference, above) if agreed else _disagreed(difference, above)
    if difference.interval.high < threshold:
        agreed = _p_value(policy, suite, -d_n, -threshold) <= policy.alpha
        return (Finding.HOLD, "", difference, above) if agreed else _disagreed(difference, above)
    return Finding.INCONCLUSIVE, "interval_spans_threshold", difference, above


def _disagreed(difference: Difference, p_value: float) -> tuple[Finding, str, Difference, float]:
    return Finding.INCONCLUSIVE, "permutation_disagrees", difference, p_value


def _p_value(policy: GatePolicy, suite: SuiteScores, d_n: FloatArray, at_most: float) -> float:
    """Of draws enough to tell alpha, which is small at an early look."""
    draws = max(policy.permutations, min(math.ceil(FINEST / policy.alpha), MOST_PERMUTATIONS))
    return sign_flip_p_value(d_n, suite.clusters, at_most=at_most, draws=draws, seed=policy.seed)


def _rows(policy: GatePolicy, suite: SuiteScores, with_anchor: bool) -> Iterable[GateRow]:
    """A suite may be target and guard at once and then has a row for each; one that is neither is watched."""
    guard = policy.guard(suite.suite)
    if suite.suite == policy.target:
        yield _row(policy, suite, "target", None, with_anchor=False)
    if guard is not None:
        yield _row(policy, suite, "guard", guard, with_anchor)
    if guard is None and suite.suite != policy.target:
        yield _row(policy, suite, "watched", None, with_anchor=False)


def _row(policy: GatePolicy, suite: SuiteScores, role: Role, guard: Guard | None, with_anchor: bool) -> GateRow:
    reading = (guard.compares if guard else None) or policy.compares
    champion = _rate(policy, suite, CHAMPION, reading)
    margin = policy.margin_for(guard, champion.mean) if guard else 0.0
    threshold = policy.delta_min if role == "target" else -margin
    test = _test(policy, suite, reading, threshold)
    anchor = _anchor(policy, suite, reading, guard) if guard and with_anchor else None
    finding = Finding.WATCHED if role == "watched" else _strictest(test.finding, anchor)
    fall_p_value = _p_value(policy, suite, -suite.difference_n(reading), 0.0)
    if guard is not None and guard.passes == "unless_worse" and finding is Finding.INCONCLUSIVE:
        fell = test.difference.interval.high < 0 and fall_p_value <= policy.alpha and test.why in _EVIDENCE
        finding = Finding.HOLD if fell else Finding.WATCHED
    difference = test.difference
    row = GateRow(
        suite=suite.suite,
        role=role,
        tier=guard.tier if guard else "",
        compares=reading,
        n=suite.n,
        answers_per_item=suite.answers_per_item,
        clusters=difference.clusters,
        champion=champion,
        candidate=_rate(policy, suite, CANDIDATE, reading),
        difference=difference.mean,
        standard_error=difference.standard_error,
        low=difference.interval.low,
        high=difference.interval.high,
        method=difference.method,
        threshold=threshold,
        margin=margin,
        minimal_effect=minimal_detectable_effect(
            _variance(policy, difference), suite.n, alpha=policy.alpha, power=policy.power
        ),
        p_value=test.p_value,
        fall_p_value=fall_p_value,
        regressed=False,
        finding=finding,
        undecided_because=test.why if finding is not test.finding or finding is Finding.INCONCLUSIVE else "",
        passes=guard.passes if guard else "",
        flips=flips(suite),
        discordant=difference.discordant,
        errors=_error_bounds(suite, test),
        anchor=anchor,
        more_items=None,
        more_answers=None,
        sentence="",
    )
    more = _more(policy, suite, reading, row, difference)
    row = replace(row, more_items=more.items, more_answers=more.answers_per_item)
    return replace(row, sentence=wording.row_sentence(row, policy))


_EVIDENCE = ("interval_spans_threshold", "permutation_disagrees")  # why a row is undecided: too little of it


def _rate(policy: GatePolicy, suite: SuiteScores, side: str, reading: Reading) -> Rate:
    scores = suite.sides[side]
    mean_n, within_n = scores.mean_n(reading), scores.within_variance_n(reading)
    interval = rate_interval(mean_n, suite.clusters, policy.alpha)
    within = None if np.all(np.isnan(within_n)) else float(np.nanmean(within_n))
    return Rate(float(mean_n.mean()), interval.low, interval.high, within)


def _anchor(policy: GatePolicy, suite: SuiteScores, reading: Reading, guard: Guard) -> Bounds | None:
    """The guard's test against the last version a person approved, with twice the margin: slow decline shows here."""
    if ANCHOR not in suite.sides:
        return None
    anchor_mean = float(suite.sides[ANCHOR].mean_n(reading).mean())
    threshold = -policy.anchor_factor * policy.margin_for(guard, anchor_mean)
    test = _test(policy, suite, reading, threshold, ANCHOR)
    interval = test.difference.interval
    return Bounds(test.difference.mean, interval.low, interval.high, threshold, test.finding, test.p_value)


def _strictest(finding: Finding, anchor: Bounds | None) -> Finding:
    findings = {finding, anchor.finding} if anchor else {finding}
    return next(f for f in (Finding.HOLD, Finding.INCONCLUSIVE, Finding.PASS) if f in findings)


def _error_bounds(suite: SuiteScores, test: _Test) -> ErrorBounds:
    champion, candidate = suite.sides[CHAMPION], suite.sides[CANDIDATE]
    return ErrorBounds(
        champion=champion.errors,
        candidate=candidate.errors,
        share=max(champion.error_share, candidate.error_share),
        against_difference=test.against.mean,
        against_low=test.against.interval.low,
        for_difference=test.favour.mean,
        for_high=test.favour.interval.high,
    )


def _variance(policy: GatePolicy, difference: Difference) -> float:
    """Var(d) that the interval implies, clusters included."""
    return float(difference.effective_standard_error(policy.alpha) ** 2 * difference.n)


def _more(policy: GatePolicy, suite: SuiteScores, reading: Reading, row: GateRow, difference: Difference) -> More:
    """Advice only where evidence is what lacks; errors that decide want repair, not more of them."""
    if row.undecided_because == "too_few_clusters":
        return More(items=policy.minimum_clusters - difference.clusters, answers_per_item=None)
    if row.undecided_because not in _EVIDENCE:
        return More(items=None, answers_per_item=None)
    return more_to_settle(
        spread_of(suite, reading),
        n=suite.n,
        answers_per_item=suite.answers_per_item,
        standard_error=difference.effective_standard_error(policy.alpha),
        distance=abs(difference.mean - row.threshold),
        alpha=policy.alpha,
        power=policy.power,
    )


# All rows together


def _claimed(policy: GatePolicy, rows: list[GateRow]) -> list[GateRow]:
    """Say “regressed” only where the Holm-adjusted p-value allows it: a claim for people, no part of the verdict."""
    guards = [row for row in rows if row.role == "guard"]
    adjusted = dict(zip((row.suite for row in guards), holm([row.fall_p_value for row in guards]), strict=True))
    return [
        replace(row, fall_p_value=adjusted[row.suite], regressed=adjusted[row.suite] <= policy.alpha)
        if row.role == "guard"
        else row
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class _Checks:
    """What is asked of a candidate beside its differences."""

    invariants: list[Invariant]
    gaps: list[ScorerGap]
    costs: list[Cost]

    def reasons(self, finding: Finding) -> list[Reason]:
        found = [Reason(f"invariant_{one.finding}", one.sentence, one.suite) for one in self.invariants]
        found += [Reason(f"scorer_gap_{one.finding}", one.sentence, one.suite) for one in self.gaps]
        found += [Reason(f"cost_{one.finding}", one.sentence) for one in self.costs]
        return [reason for reason in found if reason.code.endswith(f"_{finding}")]

    def sentences(self, verdict: Verdict) -> list[str]:
        """Of those that decide."""
        finding = _DECIDING.get(verdict)
        return [reason.sentence for reason in self.reasons(finding)] if finding else []


_DECIDING = {Verdict.HOLD: Finding.HOLD, Verdict.INCONCLUSIVE: Finding.INCONCLUSIVE}


def _checks(
    policy: GatePolicy,
    whole_alpha: float,
    usable: Sequence[SuiteScores],
    trained: Mapping[str, SuiteScores],
    independent: Mapping[str, SuiteScores],
    lengths: Lengths | None,
) -> _Checks:
    limited = policy.cost_limit > 0 and lengths is not None and len(lengths.clusters) > 0
    return _Checks(
        invariants=[invariants.judge(suite) for suite in usable if suite.suite in policy.invariants],
        gaps=[
            scorer_gap.judge(
                trained.get(suite.suite, suite),
                independent[suite.suite],
                limit=policy.gap_limit,
                alpha=whole_alpha,  # a look's smaller one would let a gap pass that is there
                error_budget=policy.error_budget,
            )
            for suite in usable
            if suite.suite in independent
        ],
        costs=costs.judge(lengths, limit=policy.cost_limit, alpha=policy.alpha) if limited and lengths else [],
    )


def _combined(rows: Sequence[GateRow], checks: _Checks) -> tuple[Verdict, list[Reason]]:
    for verdict, finding in _DECIDING.items():
        deciding = [Reason(_code(row), row.sentence, row.suite) for row in rows if row.finding is finding]
        if deciding := [*deciding, *checks.reasons(finding)]:
            return verdict, deciding
    passed = [Reason(_code(row), row.sentence, row.suite) for row in rows if row.role != "watched"]
    return Verdict.PROMOTE, [*passed, *checks.reasons(Finding.PASS)]


def _code(row: GateRow) -> str:
    because = row.undecided_because if row.finding is Finding.INCONCLUSIVE else ""
    return because or f"{row.role}_{row.finding.value}"
