"""Means over seeds with their intervals, and where a curve reaches a rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import fmean, stdev

from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Mean:
    """Of independent seeds; the interval assumes that they scatter like a normal distribution (Student's t)."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        seeds = f"{self.n} seed{'s' if self.n > 1 else ''}"
        return f"{CONFIDENCE:.0%}: {self.low:.3g} to {self.high:.3g}, {seeds}" if self.n > 1 else seeds


def mean(values: Sequence[float]) -> Mean:
    middle = fmean(values)
    if len(values) < 2:
        return Mean(middle, middle, middle, len(values))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stdev(values) / sqrt(len(values))
    return Mean(middle, middle - half, middle + half, len(values))


def mean_ratio(ours: Sequence[float], others: Sequence[float]) -> Mean:
    """Geometric mean of the ratios seed by seed."""
    logs = mean([log(one / other) for one, other in zip(ours, others, strict=True)])
    return Mean(exp(logs.value), exp(logs.low), exp(logs.high), logs.n)


def reached(costs: Sequence[float], rates: Sequence[float], target: float) -> float | None:
    """What it cost until the rate first stood at the target, between two points by a straight line; None: never."""
    for at, rate in enumerate(rates):
        if rate < target:
            continue
        if at == 0:
            return costs[0]
        share = (target - rates[at - 1]) / (rate - rates[at - 1])
        return costs[at - 1] + share * (costs[at] - costs[at - 1])
    return None
