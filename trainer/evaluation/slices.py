"""Where a candidate gained and lost: by domain, difficulty, dataset, family, field of a structured answer.

Slices are looked at after the fact and many at once, so what is said of one is adjusted for all of them: Benjamini &
Hochberg (1995) at 10 %, as in the report. They explain a verdict and decide nothing.
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from trainer.evaluation.scoring import FloatArray
from trainer.evaluation.stats import benjamini_hochberg, clustered_standard_error, clustered_t, clustered_t_p_value

FALSE_SHARE = 0.10  # of what is claimed of slices, in expectation
FEWEST = 20  # clusters: fewer are shown as "too few to tell"


class Slice(msgspec.Struct, frozen=True):
    """One value of one label. Differences are candidate − champion in score units."""

    label: str  # domain, difficulty, …
    value: str
    n: int
    clusters: int
    champion: float
    candidate: float
    difference: float
    low: float
    high: float
    adjusted_p: float  # two-sided, over all slices of the report that have clusters enough
    changed: bool  # claimed: adjusted_p is at most FALSE_SHARE
    too_few: bool


def slices(
    champion_n: FloatArray,
    candidate_n: FloatArray,
    cluster_n: Sequence[str],
    labels: Mapping[str, Sequence[str]],
    *,
    alpha: float,
) -> list[Slice]:
    """For every label (one word an item, "" for none) a slice of each of its values, the largest first.

    An item without a number on either side (NaN) is left out. Nothing is claimed yet: `adjusted` does, of all slices
    that are shown together.
    """
    known_n = ~(np.isnan(champion_n) | np.isnan(candidate_n))
    cluster_array = np.asarray(cluster_n, dtype=object)
    found: list[Slice] = []
    for label, words in labels.items():
        word_n = np.asarray(words, dtype=object)
        values, counts = np.unique([word for word in words if word], return_counts=True)
        for value in values[np.lexsort((values, -counts))]:
            at = known_n & (word_n == value)
            if at.any():
                found.append(_slice(label, str(value), champion_n[at], candidate_n[at], list(cluster_array[at]), alpha))
    return found


def _slice(
    label: str, value: str, champion_n: FloatArray, candidate_n: FloatArray, cluster_n: Sequence[str], alpha: float
) -> Slice:
    d_n = candidate_n - champion_n
    error, clusters = clustered_standard_error(d_n, cluster_n)
    interval = clustered_t(d_n, cluster_n, alpha)
    mean = float(d_n.mean())
    return Slice(
        label=label,
        value=value,
        n=d_n.size,
        clusters=clusters,
        champion=float(champion_n.mean()),
        candidate=float(candidate_n.mean()),
        difference=mean,
        low=interval.low,
        high=interval.high,
        adjusted_p=clustered_t_p_value(mean, error, clusters) if clusters >= FEWEST else 1.0,
        changed=False,
        too_few=clusters < FEWEST,
    )


def adjusted(found: Sequence[Slice]) -> list[Slice]:
    """The same slices with p-values adjusted for all of them, and what may be claimed."""
    told = [one for one in found if not one.too_few]
    p_values = iter(benjamini_hochberg([one.adjusted_p for one in told]))
    return [one if one.too_few else _claimed(one, next(p_values)) for one in found]


def _claimed(one: Slice, p: float) -> Slice:
    return msgspec.structs.replace(one, adjusted_p=p, changed=p <= FALSE_SHARE)


def difficulty(champion_n: FloatArray) -> list[str]:
    """The champion's own pass rate as a band: what it never, seldom, often and always solves.

    Read with care: an item that the champion solved by luck is in a better band than it deserves and can only fall
    (regression to the mean), so bands of equal models differ too.
    """
    names = ("never", "seldom", "often", "always")
    at = np.where(champion_n <= 0, 0, np.where(champion_n < 0.5, 1, np.where(champion_n < 1, 2, 3)))
    return [names[band] for band in at]
