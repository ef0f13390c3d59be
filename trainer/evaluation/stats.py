"""Intervals and tests for paired differences. Arrays in, frozen values out; positive means the candidate is better.

Alpha is one-sided throughout: an interval at alpha 0.025 is the usual two-sided 95 % interval.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import norm
from scipy.stats import t as student
from statsmodels.stats.multitest import fdrcorrection  # type: ignore[import-untyped]
from statsmodels.stats.proportion import proportion_confint  # type: ignore[import-untyped]

from trainer.evaluation.scoring import FloatArray

Method = Literal["clustered t", "score", "clustered t and score"]
ENOUGH_SOURCES = 20  # source datasets needed before they are read as clusters
TINY = 1e-12  # a standard error that only rounding keeps from being 0
FEW_DISCORDANT = 50  # below it, with one answer an item, the normal theory of the mean is not to be trusted


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float

    def hull(self, other: "Interval") -> "Interval":
        return Interval(min(self.low, other.low), max(self.high, other.high))

    @property
    def width(self) -> float:
        return self.high - self.low


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference with everything a reader needs to doubt it."""

    n: int
    clusters: int
    mean: float
    standard_error: float
    interval: Interval
    method: Method
    discordant: int  # items with d ≠ 0
    by_source: bool = False  # the interval by source dataset was the wider one

    def effective_standard_error(self, alpha: float) -> float:
        """The standard error behind the interval: half its width in normal quantiles where theirs is the larger."""
        return max(self.standard_error, self.interval.width / 2 / float(norm.isf(alpha)))


def clustered_standard_error(d_n: FloatArray, cluster_n: Sequence[str]) -> tuple[float, int]:
    """Standard error of mean(d) when items of one cluster move together, and the number of clusters G.

    SE² = G/(G−1) · Σ_g (Σ_{i in g} (d_i − mean))² / n²  (Liang & Zeger 1986; Miller 2024, arXiv 2411.00640,
    with the usual small-sample factor G/(G−1)). With singletons it is the ordinary s/√n. For G < 2 it is 1, the
    largest that a mean within [−1, 1] can have.
    """
    sums_g = cluster_sums(d_n - d_n.mean(), cluster_n)
    clusters = sums_g.size
    if clusters < 2:
        return 1.0, clusters
    return math.sqrt(clusters / (clusters - 1) * float(sums_g @ sums_g)) / d_n.size, clusters


def clustered_t(d_n: FloatArray, cluster_n: Sequence[str], alpha: float) -> Interval:
    """Student's t with G − 1 degrees of freedom around mean(d)."""
    error, clusters = clustered_standard_error(d_n, cluster_n)
    if clusters < 2:
        return Interval(-1.0, 1.0)
    mean = float(d_n.mean())
    reach = float(student.isf(alpha, clusters - 1)) * error
    return Interval(max(mean - reach, -1.0), min(mean + reach, 1.0))


def clustered_t_p_value(mean: float, error: float, clusters: int) -> float:
    """Two-sided p-value of H0: the mean is 0, by the t of `clustered_t`. Without spread a mean of 0 says nothing."""
    return 2 * float(student.sf(abs(mean) / error, clusters - 1)) if error else float(mean == 0)


def paired_score_interval(gained: int, lost: int, n: int, alpha: float) -> Interval:
    """Tango's score interval for (gained − lost)/n, the difference of two paired proportions.

    Tango 1998, Statistics in Medicine 17, 891–908: all δ with |T(δ)| ≤ z, where
    T(δ) = (b − c − nδ) / √(n(2q + δ(1 − δ))), b gained, c lost, and q, the probability of a loss under δ, is the root
    of 2n q² + A q − c δ(1 − δ) = 0 with A = (2n − b + c)δ − b − c. At δ = 0 T² is McNemar's statistic.
    """
    if n <= 0 or gained < 0 or lost < 0 or gained + lost > n:
        raise ValueError("Counts must satisfy 0 ≤ gained + lost ≤ n with n > 0.")
    z = float(norm.isf(alpha))
    statistic = _tango_statistic(gained, lost, n)
    estimate, edge = (gained - lost) / n, 1 - 1e-12
    low = -1.0 if estimate <= -edge else _root(lambda d: statistic(d) - z, -edge, estimate)
    high = 1.0 if estimate >= edge else _root(lambda d: statistic(d) + z, estimate, edge)
    return Interval(low, high)


def _tango_statistic(gained: int, lost: int, n: int) -> Callable[[float], float]:
    def statistic(delta: float) -> float:
        a = (2 * n - gained + lost) * delta - gained - lost
        c = -lost * delta * (1 - delta)
        q = (math.sqrt(max(a * a - 8 * n * c, 0.0)) - a) / (4 * n)
        variance = n * (2 * q + delta * (1 - delta))
        gap = gained - lost - n * delta
        return gap / math.sqrt(variance) if variance > 1e-15 else math.copysign(math.inf, gap) if gap else 0.0

    return statistic


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """brentq on finite values; an end at which the function has no sign change is itself the bound."""
    at_low, at_high = (float(np.clip(function(x), -1e9, 1e9)) for x in (low, high))
    if at_low * at_high > 0:
        return low if abs(at_low) < abs(at_high) else high
    return float(brentq(lambda x: float(np.clip(function(x), -1e9, 1e9)), low, high, xtol=1e-12))


def paired_difference(
    d_n: FloatArray,
    cluster_n: Sequence[str],
    *,
    alpha: float,
    answers_per_item: int,
    source_n: Sequence[str] = (),
) -> Difference:
    """mean(d) with the interval that its data deserve.

    - clustered t, by near-duplicate family; by source dataset too where there are at least 20, the wider counting;
    - with one answer an item and fewer than 50 discordant items the score interval, and the wider of the two where
      families have several members (the score interval takes items as independent);
    - where no item differs from any other the standard error is 0, which is no evidence of certainty: the score
      interval again, whose bound ±z²/(n + z²) says what n equal items can still hide.
    """
    error, clusters = clustered_standard_error(d_n, cluster_n)
    interval = clustered_t(d_n, cluster_n, alpha)
    by_source = False
    if len(set(source_n)) >= ENOUGH_SOURCES:
        second = clustered_t(d_n, source_n, alpha)
        by_source = second.width > interval.width
        if by_source:
            interval, error = second, clustered_standard_error(d_n, source_n)[0]
    method: Method = "clustered t"
    discordant = int(np.count_nonzero(d_n))
    whole = bool(np.all(np.isin(d_n, (-1.0, 0.0, 1.0))))
    if whole and ((answers_per_item == 1 and discordant < FEW_DISCORDANT) or error < TINY):
        score = paired_score_interval(int((d_n > 0).sum()), int((d_n < 0).sum()), d_n.size, alpha)
        dependent = clusters < d_n.size or by_source
        interval = interval.hull(score) if dependent else score
        method = "clustered t and score" if dependent else "score"
    return Difference(d_n.size, clusters, float(d_n.mean()), error, interval, method, discordant, by_source)


def rate_interval(value_n: FloatArray, cluster_n: Sequence[str], alpha: float) -> Interval:
    """Interval of one side's mean: clustered t in [0, 1]; Wilson (1927) on the clusters where all pass or all fail."""
    error, clusters = clustered_standard_error(value_n, cluster_n)
    if error < TINY and value_n.min() in (0.0, 1.0):
        low, high = proportion_confint(int(value_n.min()) * clusters, clusters, alpha=2 * alpha, method="wilson")
        return Interval(float(low), float(high))
    around = clustered_t(value_n, cluster_n, alpha)
    return Interval(max(around.low, 0.0), min(around.high, 1.0))


def sign_flip_p_value(
    d_n: FloatArray, cluster_n: Sequence[str], *, at_most: float = 0.0, draws: int = 9_999, seed: int = 0
) -> float:
    """One-sided p-value of H0: mean(d) ≤ at_most, flipping the sign of whole clusters of d − at_most.

    p = (1 + #{T* ≥ T}) / (1 + draws) (Phipson & Smyth 2010), T the sum over clusters; the sign-flip test is Fisher's
    (Design of Experiments 1935, section 21). To test for a fall pass −d and −at_most.
    """
    sums_g = cluster_sums(d_n - at_most, cluster_n)
    total = _flipped(sums_g[sums_g != 0], draws, np.random.default_rng(seed))
    return (1 + int(np.count_nonzero(total >= float(sums_g.sum()) - 1e-9))) / (1 + draws)


def _flipped(sums_g: FloatArray, draws: int, rng: np.random.Generator) -> FloatArray:
    """Σ ±sum for `draws` sets of random signs.

    m clusters of one size v add v·(2·Binomial(m, ½) − m): where K answers an item leave few sizes, a draw costs as much
    as there are sizes, however many items there are.
    """
    size_v, count_v = np.unique(np.abs(sums_g).round(12), return_counts=True)
    if size_v.size <= sums_g.size / 8:
        heads_v_draws = rng.binomial(count_v[:, None], 0.5, (size_v.size, draws))
        return np.asarray(size_v @ (2.0 * heads_v_draws - count_v[:, None]))
    return _flipped_one_by_one(sums_g, draws, rng)


def _flipped_one_by_one(sums_g: FloatArray, draws: int, rng: np.random.Generator) -> FloatArray:
    """A random byte picks one of the 256 signed totals of eight clusters."""
    signs_256_8 = 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) - 1.0
    total = np.zeros(draws)
    for start in range(0, sums_g.size, 8):
        eight = sums_g[start : start + 8]
        picked = np.frombuffer(rng.bytes(draws), dtype=np.uint8)
        total += (signs_256_8[:, : eight.size] @ eight)[picked]
    return total


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm 1979: adjusted p-values that keep the chance of any false claim in the family at alpha.

    The j-th smallest of m is multiplied by m − j + 1, and none is smaller than one before it. Written out because
    statsmodels' multipletests collects garbage on every call, a tenth of a second in a large process.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.minimum(np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)), 1.0)
    return [float(value) for value in adjusted[np.argsort(order, kind="stable")]]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Benjamini & Hochberg 1995: adjusted p-values that keep the expected share of false claims at the level."""
    return [float(p) for p in fdrcorrection(list(p_values))[1]] if p_values else []


def cluster_sums(value_n: FloatArray, cluster_n: Sequence[str]) -> FloatArray:
    if len(set(cluster_n)) == value_n.size:
        return value_n
    code_n: npt.NDArray[np.intp] = np.unique(np.asarray(cluster_n), return_inverse=True)[1].reshape(-1)
    return np.bincount(code_n, weights=value_n).astype(np.float64)
