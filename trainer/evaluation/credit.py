"""What a promotion did on one contributor's own held-out items. Numbers in, numbers out; positive means it got better.

Before and after on somebody's held-out rows say that the model changed there, not that their rows were the cause: every
row of the mixture had a part in it. Whoever shows these figures says so.
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from trainer.evaluation.claim import Claim
from trainer.evaluation.points import pp
from trainer.evaluation.scoring import FloatArray
from trainer.evaluation.slices import FALSE_SHARE
from trainer.evaluation.stats import (
    benjamini_hochberg,
    clustered_standard_error,
    clustered_t_p_value,
    paired_difference,
)

ALPHA = 0.025  # one-sided: intervals of 95 %
EXACT_DIGITS = 12  # what rounding adds to a difference of whole answers is taken off again


class Sum(msgspec.Struct, frozen=True, array_like=True):
    """Of one cluster's items."""

    items: int
    difference: float  # summed, not the mean


Sums = Mapping[str, Sum]  # by cluster


class Effect(msgspec.Struct, frozen=True):
    """Candidate − champion on some items, in score units. Several promotions: from the first champion to the last."""

    items: int  # of the promotion that had most
    clusters: int  # independent ones: near-duplicates count once
    before: float
    after: float
    difference: float
    low: float
    high: float
    p_value: float  # two-sided


def measured(
    champion_n: FloatArray, candidate_n: FloatArray, cluster_n: Sequence[str], *, answers_per_item: int
) -> Effect:
    """One promotion, with the interval that the gate gives its suites (stats.paired_difference)."""
    found = paired_difference(candidate_n - champion_n, cluster_n, alpha=ALPHA, answers_per_item=answers_per_item)
    return Effect(
        items=found.n,
        clusters=found.clusters,
        before=float(champion_n.mean()),
        after=float(candidate_n.mean()),
        difference=found.mean,
        low=found.interval.low,
        high=found.interval.high,
        p_value=clustered_t_p_value(found.mean, found.standard_error, found.clusters),
    )


def sums(champion_n: FloatArray, candidate_n: FloatArray, cluster_n: Sequence[str]) -> dict[str, Sum]:
    """What has to be remembered of a promotion, so that it can be added to others."""
    found: dict[str, Sum] = {}
    for cluster, difference in zip(cluster_n, candidate_n - champion_n, strict=True):
        before = found.get(cluster, Sum(0, 0.0))
        found[cluster] = Sum(before.items + 1, before.difference + float(difference))
    return found


def added(parts: Sequence[tuple[Effect, Sums]]) -> Effect:
    """The effects of promotions one after the other, oldest first: Σ mean_p, with an interval for the sum.

    The same items are asked at every promotion, so the means are not independent and their variances do not add. With
    r_g = Σ_p (s_gp − n_gp · mean_p) / n_p, what cluster g adds to the error of the sum over all promotions p,
    SE² = G/(G−1) · Σ_g r_g² (Liang & Zeger 1986, for the sum of the coefficients of a stacked regression with an
    intercept a promotion). One value sum + G · r_g a cluster has this mean and this error: the gate's interval is
    taken of these. Sums beyond ±1 are cut there, as differences of two scores are: whole lives go from 0 to 1.
    """
    if len(parts) == 1:
        return parts[0][0]
    total = float(np.clip(sum(effect.difference for effect, _ in parts), -1.0, 1.0))
    value_g, names = _linearised(parts, total)
    found = paired_difference(value_g, names, alpha=ALPHA, answers_per_item=2)
    return Effect(
        items=max(effect.items for effect, _ in parts),
        clusters=len(names),
        before=parts[0][0].before,
        after=parts[-1][0].after,
        difference=total,
        low=found.interval.low,
        high=found.interval.high,
        p_value=clustered_t_p_value(total, clustered_standard_error(value_g, names)[0], len(names)),
    )


def _linearised(parts: Sequence[tuple[Effect, Sums]], total: float) -> tuple[FloatArray, list[str]]:
    residuals: dict[str, float] = {}
    for _, by_cluster in parts:
        items = sum(one.items for one in by_cluster.values())
        mean = sum(one.difference for one in by_cluster.values()) / items
        for cluster, one in by_cluster.items():
            residuals[cluster] = residuals.get(cluster, 0.0) + (one.difference - one.items * mean) / items
    names = sorted(residuals)
    residual_g = np.array([residuals[name] for name in names])
    return np.round(total + len(names) * residual_g, EXACT_DIGITS), names


def claims(effects: Sequence[Effect], *, fewest: int) -> list[tuple[Claim, float]]:
    """What may be said of each of the effects that are shown together, and its p-value adjusted for all of them.

    Benjamini & Hochberg (1995) at 10 %, as for the slices of a report, among those with at least `fewest` clusters; and
    the interval of 95 % must leave 0 out, so that no claim stands beside an interval that contradicts it.
    """
    enough = [effect.clusters >= fewest for effect in effects]
    adjusted = iter(benjamini_hochberg([each.p_value for each, may in zip(effects, enough, strict=True) if may]))
    return [
        _claim(effect, next(adjusted)) if may else (Claim.TOO_FEW, 1.0)
        for effect, may in zip(effects, enough, strict=True)
    ]


def _claim(effect: Effect, p: float) -> tuple[Claim, float]:
    if p > FALSE_SHARE or effect.low <= 0 <= effect.high:
        return Claim.NOT_SHOWN, p
    return (Claim.BETTER if effect.difference > 0 else Claim.WORSE), p


def sentence(effect: Effect | None, claim: str, *, rows: int, version: str, whose: str, fewest: int) -> str:
    """“312 of your tasks were in shared/v7; on your 20 held-out tasks the score went from 55 % to 80 % (…)”."""
    began = f"{f'{rows:,}' if rows else 'None'} of {whose} tasks {'was' if rows == 1 else 'were'} in {version}"
    if effect is None:
        return f"{began}; none of {whose} tasks is held out, so nothing can be measured: {needs(0, fewest)}."
    asked = f"{effect.items:,} held-out {'task' if effect.items == 1 else 'tasks'}"
    went = f"on {whose} {asked} the score went from {share(effect.before)} to {share(effect.after)}"
    interval = f"{pp(effect.difference)} pp, 95 % CI {pp(effect.low)} to {pp(effect.high)}"
    if claim == Claim.TOO_FEW:
        return f"{began}; {went} ({interval}), which is too few to tell: {needs(effect.clusters, fewest)}."
    return f"{began}; {went} ({interval}): {claim}."


def needs(clusters: int, fewest: int) -> str:
    """What is missing before anything is said."""
    missing = max(fewest - clusters, 0)
    return f"{missing} more held-out {'task is' if missing == 1 else 'tasks are'} needed"


def share(value: float) -> str:
    return f"{100 * value:.1f}".removesuffix(".0") + " %"
