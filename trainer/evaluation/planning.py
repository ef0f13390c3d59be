"""How many items and answers a comparison needs, said before anyone runs it.

n = (z_{1−α} + z_{1−β})² · Var(d) / (margin + true difference)²   (Chow, Shao & Wang, Sample Size Calculations in
Clinical Research, non-inferiority of a mean; for superiority over delta_min the margin is −delta_min).
Var(d) = ω² + (σ_B² + σ_C²)/K   (Miller 2024, arXiv 2411.00640): ω² is how much the true per-item difference varies, the
σ² are the spread of repeated answers to one item. So more answers per item buy precision until ω² is all that is left.
Alpha is one-sided. Differences are in score units: 0.02 is 2 percentage points (pp).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from scipy.stats import norm

from trainer.evaluation.scoring import CANDIDATE, CHAMPION, OVERALL, Reading, SuiteScores

ANSWER_CHOICES = (1, 2, 4, 8, 16)  # K that a plan may choose
FEWEST_ITEMS = 300  # a suite smaller than this cannot see a few points whatever K is
OUT_OF_REACH = 1_000_000  # items beyond which "more" is not advice
EVEN_MEAN = 0.5  # of a side of which nothing is known yet


@dataclass(frozen=True, slots=True)
class Spread:
    """Var(d) split into what more answers cannot reduce and what they can."""

    between: float  # ω²
    within: float  # σ_B² + σ_C²

    def variance(self, answers_per_item: int) -> float:
        return self.between + self.within / answers_per_item

    def under(self, effect: float, mean: float = EVEN_MEAN) -> "Spread":
        """What two equal sides have, once one is better by `effect`: planning with theirs promises too much power.

        Every failing answer is assumed to be repaired with the same chance λ = effect/(1 − mean), so that p becomes
        p + λ(1 − p); with a fall every right one is spoilt with λ = |effect|/mean. Then for w = σ² of one side
        σ'² = (1 − λ)(w + λ·E[(1 − p)²]) and ω² grows by λ²·Var(p), where E[(1 − p)²] = 1 − mean − w.
        `mean` is that of the side that is compared with, in score units.
        """
        room = 1 - mean if effect >= 0 else mean
        if not effect or room <= 0:
            return self
        share, one = min(abs(effect) / room, 1.0), self.within / 2
        changed = (1 - share) * (one + share * max(room - one, 0.0))
        return Spread(self.between + share**2 * max(mean * (1 - mean) - one, 0.0), one + changed)


# Bimodal item difficulty, most items nearly always or nearly never solved: what to assume before there is data.
# At K = 1 Var(d) is the discordance rate, here 28 %.
BIMODAL = Spread(between=0.0063, within=0.2708)


def _z_sum(alpha: float, power: float) -> float:
    return float(norm.isf(alpha) + norm.ppf(power))


def items_needed(variance: float, distance: float, *, alpha: float = 0.025, power: float = 0.8) -> int | None:
    """n for the lower bound to clear the threshold with this power. `distance` is margin + true difference.

    None where the distance is not positive: then no number of items helps.
    """
    if distance <= 0:
        return None
    return max(math.ceil(_z_sum(alpha, power) ** 2 * variance / distance**2 - 1e-9), 1)


def minimal_detectable_effect(variance: float, n: int, *, alpha: float = 0.025, power: float = 0.8) -> float:
    """The smallest true difference that n items would have seen: (z_{1−α} + z_{1−β}) · √(Var(d)/n)."""
    return _z_sum(alpha, power) * math.sqrt(variance / n) if n else math.inf


def power_at(variance: float, n: int, distance: float, *, alpha: float = 0.025) -> float:
    """Chance that the lower bound clears the threshold: Φ(distance/√(Var(d)/n) − z_{1−α})."""
    if n <= 0:
        return 0.0
    error = math.sqrt(variance / n)
    if error == 0:
        return 1.0 if distance > 0 else 0.0
    return float(norm.cdf(distance / error - norm.isf(alpha)))


def power_curve(
    spread: Spread, answers_per_item: int, distance: float, sizes: Sequence[int], *, alpha: float = 0.025
) -> list[tuple[int, float]]:
    variance = spread.variance(answers_per_item)
    return [(n, power_at(variance, n, distance, alpha=alpha)) for n in sizes]


def spread_of(suite: SuiteScores, reading: Reading, *, against: str = CHAMPION) -> Spread:
    """ω² and σ_B² + σ_C² from answers: the within part from repeated answers, the rest of Var(d) is between.

    With one answer an item nothing repeats: all of Var(d) is put down to `within`, as BIMODAL nearly does.
    """
    difference_n = suite.difference_n(reading, against=against)
    total = float(np.var(difference_n, ddof=1)) if suite.n > 1 else 0.0
    within = 0.0
    for name in (CANDIDATE, against):
        side = suite.sides[name]
        variance_n = side.within_variance_n(reading)
        if np.all(np.isnan(variance_n)):
            return Spread(between=0.0, within=total * suite.answers_per_item)
        within += float(np.nanmean(variance_n))
    return Spread(between=max(total - within / max(suite.answers_per_item, 1), 0.0), within=within)


@dataclass(frozen=True, slots=True)
class More:
    """What would settle an inconclusive comparison at the difference now observed; None where it is out of reach."""

    items: int | None  # further items at the same K
    answers_per_item: int | None  # K instead, on the same items

    def sentence(self, answers_now: int) -> str:
        ways = []
        if self.items is not None:
            ways.append(f"about {self.items:,} more items")
        if self.answers_per_item is not None:
            ways.append(f"{self.answers_per_item} answers per item instead of {answers_now}")
        if not ways:
            return "The difference lies so near its threshold that no affordable number of items would settle it."
        return f"{' or '.join(ways)} would settle it.".capitalize()


def more_to_settle(
    spread: Spread,
    *,
    n: int,
    answers_per_item: int,
    standard_error: float,
    distance: float,
    alpha: float = 0.025,
    power: float = 0.8,
) -> More:
    """Items or answers still missing when the truth is what was observed.

    `distance` is |observed difference − threshold|; `standard_error` the one behind the interval, which knows about
    clusters: the variance it implies, n·SE², replaces the sum of the spread's parts.
    """
    variance = standard_error**2 * n
    fixed = max(variance - spread.within / answers_per_item, 0.0)
    needed = items_needed(variance, distance, alpha=alpha, power=power)
    items = None if needed is None or needed > OUT_OF_REACH else max(needed - n, 1)
    room = n * (distance / _z_sum(alpha, power)) ** 2 - fixed
    answers = math.ceil(spread.within / room) if room > 0 and spread.within > 0 else 0
    usable = answers_per_item < answers <= 4 * ANSWER_CHOICES[-1]
    return More(items=items, answers_per_item=answers if usable else None)


class Demand(msgspec.Struct, frozen=True):
    """One comparison to plan: a suite, how many items it could have, and what it must be able to tell."""

    suite: str
    available: int  # sealed items there are
    # margin + expected true difference; for the target expected effect − delta_min; infinite: watched, not tested
    distance: float
    power: float = 0.8
    between: float = BIMODAL.between
    within: float = BIMODAL.within

    @property
    def spread(self) -> Spread:
        return Spread(self.between, self.within)


class PlannedSuite(msgspec.Struct, frozen=True):
    suite: str
    n: int
    answers_per_item: int
    power: float  # reached with n and K
    wanted_power: float
    minimal_effect: float
    needed: int | None  # items the formula asks for at this K
    enough: bool
    sentence: str


class Plan(msgspec.Struct, frozen=True):
    answers_per_item: int  # one K for the whole evaluation
    answers: int  # items × K, for each side
    enough: bool
    suites: list[PlannedSuite]
    sentences: list[str]


def plan(
    demands: Sequence[Demand],
    *,
    alpha: float = 0.025,
    least_answers: int = 1,
    most_answers: int = ANSWER_CHOICES[-1],
    fewest_items: int = FEWEST_ITEMS,
) -> Plan:
    """The smallest K at which every suite has items enough, then as few items as that K needs.

    A demand named `overall` is the union of the others: where it needs more than they do, they grow in proportion.
    Where no K suffices: the largest, on all items, and each sentence says the power that leaves.
    """
    choices = sorted({least_answers, *(k for k in ANSWER_CHOICES if least_answers <= k <= most_answers)})
    drafts = [_draft(demands, k, alpha, fewest_items) for k in choices]
    answers_per_item, suites = next(
        ((k, draft) for k, draft in zip(choices, drafts, strict=True) if all(suite.enough for suite in draft)),
        (choices[-1], drafts[-1]),
    )
    return Plan(
        answers_per_item=answers_per_item,
        answers=sum(suite.n for suite in suites if suite.suite != OVERALL or len(suites) == 1) * answers_per_item,
        enough=all(suite.enough for suite in suites),
        suites=suites,
        sentences=[suite.sentence for suite in suites],
    )


def _draft(demands: Sequence[Demand], answers_per_item: int, alpha: float, fewest_items: int) -> list[PlannedSuite]:
    union = [demand for demand in demands if demand.suite == OVERALL]
    parts = [demand for demand in demands if demand.suite != OVERALL]
    total = sum(demand.available for demand in parts)
    pooled_need = max((_needed(demand, answers_per_item, alpha) or total for demand in union), default=0)
    planned = []
    for demand in parts:
        floor = max(fewest_items, math.ceil(pooled_need * demand.available / max(total, 1)))
        needed = _needed(demand, answers_per_item, alpha) or demand.available
        planned.append(_planned(demand, answers_per_item, alpha, min(max(needed, floor), demand.available)))
    pooled_n = sum(suite.n for suite in planned)
    return [*(_planned(d, answers_per_item, alpha, pooled_n if parts else d.available) for d in union), *planned]


def _needed(demand: Demand, answers_per_item: int, alpha: float) -> int | None:
    return items_needed(demand.spread.variance(answers_per_item), demand.distance, alpha=alpha, power=demand.power)


def _planned(demand: Demand, answers_per_item: int, alpha: float, n: int) -> PlannedSuite:
    variance = demand.spread.variance(answers_per_item)
    needed = _needed(demand, answers_per_item, alpha)
    power = power_at(variance, n, demand.distance, alpha=alpha)
    effect = minimal_detectable_effect(variance, n, alpha=alpha, power=demand.power)
    enough = needed is not None and needed <= n
    return PlannedSuite(
        suite=demand.suite,
        n=n,
        answers_per_item=answers_per_item,
        power=power,
        wanted_power=demand.power,
        minimal_effect=effect,
        needed=needed,
        enough=enough,
        sentence=_plan_sentence(demand, n, answers_per_item, power, effect, needed),
    )


def _plan_sentence(demand: Demand, n: int, k: int, power: float, effect: float, needed: int | None) -> str:
    words = f"{demand.suite}: {n:,} items × {k} answers"
    if math.isinf(demand.distance):
        return f"{words}, counted in the pooled target; nothing has to be proved on it alone."
    words += (
        f" settle a difference {100 * demand.distance:.1f} pp from its threshold with power {100 * power:.0f} %; "
        f"the smallest effect they can see is {100 * effect:.1f} pp."
    )
    if needed is not None and needed <= n:
        return words
    remedy = "no number of items is enough" if needed is None else f"{needed:,} items would be enough"
    return f"{words} That is short of the {100 * demand.power:.0f} % asked for: {remedy}."
