"""GatePolicy: what a candidate must show, decided and hashed before anyone looks. In score units: 0.02 is 2 pp."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import msgspec
from msgspec.structs import replace
from scipy.stats import norm

from tasks.errors import Invalid
from trainer.evaluation.planning import ANSWER_CHOICES, BIMODAL, EVEN_MEAN, Demand, Plan, Spread, plan, power_at
from trainer.evaluation.scoring import OVERALL, Reading
from trainer.evaluation.sequential import Look, Spending
from trainer.evaluation.sequential import looks as looks_of

Tier = Literal["critical", "supporting"]
Passes = Literal["when_shown", "unless_worse"]
MOST_LOOKS = 10
TIER_MARGINS: Mapping[Tier, float] = {"critical": 0.01, "supporting": 0.02}
MOST_ANSWERS = ANSWER_CHOICES[-1]  # K that a plan may come to
EVEN = 0.5  # chance to pass under which a guard by default asks for no proof


@dataclass(frozen=True, slots=True)
class Known:
    """What earlier evaluations showed of the champion on a suite."""

    mean: float  # score or pass rate, as the policy compares
    within: float | None = None  # σ² between its answers to one item; None: nothing was answered twice

    @property
    def spread(self) -> Spread:
        """Of two sides as noisy as this one; how much single items will differ is of a comparison not made yet."""
        return BIMODAL if self.within is None else Spread(BIMODAL.between, 2 * self.within)


UNKNOWN = Known(EVEN_MEAN)


class Guard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A suite on which the candidate must not be worse than its margin."""

    suite: str
    tier: Tier = "supporting"
    margin: float | None = None  # None: the tier's, 1 pp for critical and 2 pp for supporting
    compares: Reading | None = None  # None: the policy's
    # when_shown: passes where it is shown to be no worse than the margin; unless_worse: only a fall that is shown holds
    passes: Passes = "when_shown"
    by_default: bool = False  # of an evaluation whose policy names no guard

    @property
    def allowed(self) -> float:
        return TIER_MARGINS[self.tier] if self.margin is None else self.margin


class GatePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Superiority on one target, non-inferiority on every guard. An intersection-union test: no correction needed."""

    target: str = OVERALL  # a suite, or "overall": the pooled union of the suites' items
    guards: tuple[Guard, ...] = ()
    delta_min: float = 0.0  # the target's lower bound must be above it
    compares: Reading = "score"  # "outcome": pass rates
    alpha: float = 0.025  # one-sided; intervals are shown at 1 − 2·alpha
    answers_per_item: int = 4  # K, at least
    expected_effect: float = 0.05  # true difference on the target that planning assumes
    expected_guard_effect: float = 0.0  # true difference on a guard that planning assumes
    power: float = 0.8  # planned on the target
    guard_power: float = 0.95  # planned on each guard: ten guards at 0.80 pass 11 % of good candidates
    error_budget: float = 0.01  # share of answers of a suite and side that may be errors
    weak_champion: float = 0.2  # where the champion's mean is under this …
    weak_margin: float = 0.1  # … this share of it bounds the margin as well
    anchor_factor: float = 2.0  # margin against the anchor, in margins against the champion
    invariants: tuple[str, ...] = ()  # suites of which the candidate may fail nothing at all
    gap_limit: float = 0.02  # of a gain that an independent grader does not see
    second_graders: dict[str, dict[str, Any]] = {}  # suite, or "*" for all others → the configuration of that grader
    cost_limit: float = 1.1  # times the champion's tokens, longest twentieth, answers cut off; 0: no limit
    looks: tuple[float, ...] = (1.0,)  # after which multiples of the planned answers a verdict may be read
    spending: Spending = "late"  # how alpha is divided between them
    look_budget: int = 20  # candidates that may look at a suite before a quarter of its items is replaced; 0: no limit
    minimum_clusters: int = 20  # fewer independent items are no basis for an interval
    permutations: int = 9_999
    seed: int = 0  # of the permutation test
    sign_off: bool = False  # a person confirms before the alias moves

    def __post_init__(self) -> None:
        for holds, sentence in _rules(self):
            if not holds:
                raise ValueError(sentence)

    def digest(self) -> str:
        """SHA-256 of the canonical JSON: sorted keys, no blanks, every default written out."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def guard(self, suite: str) -> Guard | None:
        return next((guard for guard in self.guards if guard.suite == suite), None)

    def look(self, number: int) -> Look:
        """What may be read at the look, the first being 1. Where the policy looks once, all of alpha."""
        if not 1 <= number <= len(self.looks):
            raise Invalid("no_such_look", f"The policy looks {len(self.looks)} times at a candidate.", "look")
        return _look(self.looks, number, self.alpha, self.spending)

    @property
    def planned_look(self) -> int:
        """The look at which all answers of the plan are in."""
        return next(number for number, at in enumerate(self.looks, 1) if at >= 1)

    def margin_for(self, guard: Guard, champion_mean: float) -> float:
        """The guard's margin, or 10 % of the champion's mean where that is under 20 %, whichever is smaller.

        A champion at 0 has nothing to lose and nothing to take a share of: the plain margin stands.
        """
        if 0 < champion_mean < self.weak_champion:
            return min(guard.allowed, self.weak_margin * champion_mean)
        return guard.allowed


@lru_cache(maxsize=256)
def _look(looks: tuple[float, ...], number: int, alpha: float, spending: Spending) -> Look:
    if len(looks) == 1:
        return Look(1.0, float(norm.isf(alpha)), alpha, alpha)
    return looks_of([at / looks[-1] for at in looks[:number]], alpha, spending)[-1]


def _rules(policy: GatePolicy) -> list[tuple[bool, str]]:
    names = [guard.suite for guard in policy.guards]
    return [
        (bool(policy.target), "A policy needs a target: the name of a suite, or “overall”."),
        (len(set(names)) == len(names), "A suite can be a guard once only."),
        (all(0 < guard.allowed < 1 for guard in policy.guards), "A margin lies between 0 and 1: 0.02 is 2 pp."),
        (0 <= policy.delta_min < 1, "delta_min lies between 0 and 1: 0.01 is 1 pp."),
        (0 < policy.alpha < 0.5, "alpha is one-sided and lies between 0 and 0.5."),
        (0.5 <= policy.power < 1 and 0.5 <= policy.guard_power < 1, "Power lies between 0.5 and 1."),
        (policy.answers_per_item >= 1, "answers_per_item is at least 1."),
        (0 <= policy.error_budget <= 0.1, "error_budget lies between 0 and 0.1."),
        (0 <= policy.weak_champion <= 1 and 0 < policy.weak_margin <= 1, "The weak-champion rule takes shares of 1."),
        (policy.anchor_factor >= 1, "anchor_factor is at least 1."),
        (len(set(policy.invariants)) == len(policy.invariants), "A suite can be an invariant once only."),
        (policy.target not in policy.invariants, "The target cannot be an invariant: it is there to be gained on."),
        (0 <= policy.gap_limit < 1, "gap_limit lies between 0 and 1: 0.02 is 2 pp."),
        (
            policy.cost_limit == 0 or policy.cost_limit >= 1,
            "cost_limit is 0 (none) or at least 1: 1.1 is a tenth more.",
        ),
        (
            list(policy.looks) == sorted(set(policy.looks)) and len(policy.looks) <= MOST_LOOKS,
            f"looks grow, at most {MOST_LOOKS} of them: [1, 2] reads a verdict at the plan and at twice its answers.",
        ),
        (
            bool(policy.looks) and policy.looks[0] > 0 and policy.looks[0] <= 1 <= policy.looks[-1] <= 10,
            "The first of the looks is above 0 and at most 1 (the planned answers), the last from 1 to 10 times them.",
        ),
        (policy.look_budget >= 0, "look_budget is 0 (no limit) or the candidates that may look at a suite."),
        (policy.minimum_clusters >= 2, "minimum_clusters is at least 2."),
        (policy.permutations >= 999, "permutations is at least 999, or the p-value is too coarse for alpha."),
    ]


def policy_from(config: Mapping[str, Any]) -> GatePolicy:
    """Parse a policy from JSON or YAML values; refused with the path of what is wrong."""
    try:
        return msgspec.convert(config, type=GatePolicy)
    except msgspec.ValidationError as error:
        raise Invalid("policy_invalid", f"This is not a gate policy: {error}", "policy") from error


def named(policy: GatePolicy) -> GatePolicy:
    """As somebody may put it into force: guards that an evaluation chose become guards that the policy names."""
    return replace(policy, guards=tuple(replace(guard, by_default=False) for guard in policy.guards))


def with_guards(policy: GatePolicy, available: Mapping[str, int]) -> GatePolicy:
    """The policy; where it names no guard, every suite that is no invariant is one, at the supporting margin.

    A suite whose items could, with MOST_ANSWERS answers each, not even show in every second case that nothing fell, is
    one that only a shown fall holds: it would keep good candidates back by chance, and say nothing. That hangs on how
    many items there are and on nothing that was ever answered: no candidate's own answers decide what is asked of it.
    """
    if policy.guards:
        return policy
    left = [suite for suite in sorted(available) if suite not in policy.invariants]
    plain = [Guard(suite, by_default=True) for suite in left]
    guards = (
        guard if _chance(policy, guard, available[guard.suite]) >= EVEN else replace(guard, passes="unless_worse")
        for guard in plain
    )
    return replace(policy, guards=tuple(guards))


def as_evaluated(policy: GatePolicy, evaluated: GatePolicy) -> GatePolicy:
    """Today's policy with the guards that the evaluation was given by default, where it names none itself."""
    if policy.guards:
        return policy
    return replace(policy, guards=tuple(guard for guard in evaluated.guards if guard.by_default))


def _chance(policy: GatePolicy, guard: Guard, items: int) -> float:
    """To pass the guard's plain margin with all of its items, where nothing but what the policy expects happened."""
    effect = policy.expected_guard_effect
    variance = UNKNOWN.spread.under(effect, UNKNOWN.mean).variance(MOST_ANSWERS)
    return power_at(variance, items, guard.allowed + effect, alpha=policy.look(policy.planned_look).alpha)


def plan_for(
    policy: GatePolicy,
    available: Mapping[str, int],
    *,
    known: Mapping[str, Known] | None = None,
    most_answers: int = MOST_ANSWERS,
) -> Plan:
    """K and n for the suites of a policy, at the level of the look that reads the whole plan.

    `available` counts sealed items; what is `known` of the champion comes from earlier evaluations.
    """
    known = known or {}
    demands = []
    if policy.target == OVERALL and OVERALL not in available:
        demands.append(_demand(policy, None, OVERALL, sum(available.values()), known))
    demands += [_demand(policy, policy.guard(suite), suite, count, known) for suite, count in sorted(available.items())]
    return plan(
        demands,
        alpha=policy.look(policy.planned_look).alpha,
        least_answers=policy.answers_per_item,
        most_answers=most_answers,
    )


def _demand(policy: GatePolicy, guard: Guard | None, suite: str, items: int, known: Mapping[str, Known]) -> Demand:
    """What must be told on the suite. One that is target and guard is planned for the smaller distance."""
    of_champion = known.get(suite, UNKNOWN)
    effect, distance, power = 0.0, math.inf, policy.power
    if guard is not None and guard.passes == "when_shown":
        effect = policy.expected_guard_effect
        distance = policy.margin_for(guard, of_champion.mean) + effect
        power = policy.guard_power
    if suite == policy.target and policy.expected_effect - policy.delta_min < distance:
        effect, distance = policy.expected_effect, policy.expected_effect - policy.delta_min
    spread = of_champion.spread.under(effect, of_champion.mean)
    return Demand(suite, items, distance, power, spread.between, spread.within)
