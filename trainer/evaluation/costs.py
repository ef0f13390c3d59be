"""What the candidate's answers cost beside the champion's: tokens, the longest twentieth, answers cut off.

Each is a ratio with an interval, held against a limit (1.10: a tenth more). Means of tokens and not medians: tokens are
paid by the sum, and the ratio of two means of the same items has a known interval. Length stands for latency: a token
takes as long as any other, and no evaluation is timed like production is.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from trainer.contract import Score
from trainer.evaluation.finding import Finding
from trainer.evaluation.scoring import CANDIDATE, CHAMPION, FloatArray
from trainer.evaluation.stats import Interval, cluster_sums, clustered_standard_error, clustered_t

LONG = 0.95  # quantile of the lengths of single answers
FORGIVEN_SHARE = 0.01  # of answers cut off: below it a ratio of shares is a ratio of accidents


@dataclass(frozen=True, slots=True, eq=False)
class Lengths:
    """Tokens of every answer, n × K, and whether it was cut off at the limit, by side; items as in `clusters`."""

    clusters: tuple[str, ...]
    tokens: Mapping[str, FloatArray]
    truncated: Mapping[str, FloatArray]


class Cost(msgspec.Struct, frozen=True):
    name: str
    champion: float
    candidate: float
    ratio: float
    low: float
    high: float
    limit: float
    finding: Finding
    sentence: str


def lengths_from(scores: Iterable[Score]) -> Lengths:
    """Of the lines of scores.jsonl, by item of a suite; an answer that one side lacks is left out on both."""
    by_item: dict[tuple[str, str], dict[tuple[str, int], Score]] = {}
    for line in scores:
        if line.side in (CHAMPION, CANDIDATE):
            by_item.setdefault((line.suite, line.key), {})[line.side, line.sample] = line
    samples = 1 + max((sample for lines in by_item.values() for _, sample in lines), default=-1)
    pairs = {
        item: lines
        for item, lines in sorted(by_item.items())
        if all((side, sample) in lines for side in (CHAMPION, CANDIDATE) for sample in range(samples))
    }
    told = {
        side: [[lines[side, sample] for sample in range(samples)] for lines in pairs.values()]
        for side in (CHAMPION, CANDIDATE)
    }
    shape = (len(pairs), samples)
    return Lengths(
        clusters=tuple(next(iter(lines.values())).cluster or item[1] for item, lines in pairs.items()),
        tokens={
            s: np.array([[a.tokens for a in row] for row in rows], float).reshape(shape) for s, rows in told.items()
        },
        truncated={
            s: np.array([[a.truncated for a in row] for row in rows], float).reshape(shape) for s, rows in told.items()
        },
    )


def judge(lengths: Lengths, *, limit: float, alpha: float) -> list[Cost]:
    """HOLD where a ratio is provably above the limit, PASS where it is provably not, else INCONCLUSIVE."""
    mean_n = {side: tokens.mean(axis=1) for side, tokens in lengths.tokens.items()}
    if not mean_n[CHAMPION].any():
        return []  # a champion that says nothing costs nothing: there is no ratio to it
    interval = ratio_interval(mean_n[CANDIDATE], mean_n[CHAMPION], lengths.clusters, alpha)
    return [
        _cost("tokens an answer", _means(mean_n), interval, limit),
        _tail(lengths, limit, alpha),
        *_cut(lengths, limit, alpha),
    ]


def _tail(lengths: Lengths, limit: float, alpha: float) -> Cost:
    candidate, champion = (lengths.tokens[side] for side in (CANDIDATE, CHAMPION))
    ratio, interval = quantile_ratio_interval(candidate, champion, lengths.clusters, LONG, alpha)
    ends = [float(np.quantile(tokens, LONG)) for tokens in (champion, candidate)]
    return _judged("length of the longest twentieth", ends[0], ends[1], ratio, interval, limit)


def _cut(lengths: Lengths, limit: float, alpha: float) -> list[Cost]:
    """Nothing where next to none are cut off; a champion without any counts as if it had FORGIVEN_SHARE of them."""
    cut_n = {side: truncated.mean(axis=1) for side, truncated in lengths.truncated.items()}
    share = _means(cut_n)
    if share[CANDIDATE] <= FORGIVEN_SHARE:
        return []
    if share[CHAMPION] >= FORGIVEN_SHARE:
        interval = ratio_interval(cut_n[CANDIDATE], cut_n[CHAMPION], lengths.clusters, alpha)
        return [_cost("answers cut off", share, interval, limit)]
    own = clustered_t(cut_n[CANDIDATE], lengths.clusters, alpha)
    interval = Interval(own.low / FORGIVEN_SHARE, own.high / FORGIVEN_SHARE)
    return [_cost("answers cut off", {**share, CHAMPION: FORGIVEN_SHARE}, interval, limit)]


def _means(value_n: Mapping[str, FloatArray]) -> dict[str, float]:
    return {side: float(values.mean()) for side, values in value_n.items()}


def ratio_interval(candidate_n: FloatArray, champion_n: FloatArray, cluster_n: Sequence[str], alpha: float) -> Interval:
    """mean(candidate)/mean(champion) over the same items, by linearisation and on the log scale.

    SE(r)² = G/(G−1) · Σ_g (Σ_{i in g} (a_i − r·b_i))² / (Σ b_i)²  (Cochran, Sampling Techniques, 3rd ed. 1977, 6.4, the
    ratio estimator, with clusters as sampling units); the interval is r·exp(± t·SE/r) with G − 1 degrees of freedom.
    """
    total = float(champion_n.sum())
    ratio = float(candidate_n.sum()) / total
    sums_g = cluster_sums(candidate_n - ratio * champion_n, cluster_n)
    if sums_g.size < 2:
        return Interval(0.0, math.inf)
    if ratio == 0:
        return Interval(0.0, 0.0)
    error = math.sqrt(sums_g.size / (sums_g.size - 1) * float(sums_g @ sums_g)) / total
    reach = float(student.isf(alpha, sums_g.size - 1)) * error / ratio
    return Interval(ratio * math.exp(-reach), ratio * math.exp(reach))


def quantile_ratio_interval(
    candidate_n_k: FloatArray, champion_n_k: FloatArray, cluster_n: Sequence[str], share: float, alpha: float
) -> tuple[float, Interval]:
    """The ratio of a quantile of all answers, candidate to champion, over the same items.

    Each side's error is Woodruff's (1952, JASA 47, 635–646): the values at the ranks p ± z·SE(p), SE(p) that of the
    share of answers above the quantile, clustered; on the log scale, and less what the two sides have in common: the
    correlation of these shares by item.
    """
    z = float(norm.isf(alpha))
    (ours, our_error, our_n), (theirs, their_error, their_n) = (
        _quantile(values_n_k, cluster_n, share, z) for values_n_k in (candidate_n_k, champion_n_k)
    )
    alike = 0.0
    if our_error and their_error:
        alike = float(np.corrcoef(cluster_sums(our_n, cluster_n), cluster_sums(their_n, cluster_n))[0, 1])
    common = 2 * alike * our_error * their_error
    reach = z * math.sqrt(max(our_error**2 + their_error**2 - common, 0.0))
    ratio = ours / theirs
    return ratio, Interval(ratio * math.exp(-reach), ratio * math.exp(reach))


def _quantile(
    value_n_k: FloatArray, cluster_n: Sequence[str], share: float, z: float
) -> tuple[float, float, FloatArray]:
    """The quantile (at least 1 token), the standard error of its logarithm, and by item what lies above it, centred."""
    at = float(np.quantile(value_n_k, share))
    above_n = (value_n_k > at).mean(axis=1)
    error, _ = clustered_standard_error(above_n, cluster_n)
    ranks = np.clip([share - z * error, share + z * error], 0, 1)
    low, high = np.maximum(np.quantile(value_n_k, ranks), 1.0)
    return max(at, 1.0), math.log(high / low) / (2 * z), above_n - above_n.mean()


def _cost(name: str, mean: Mapping[str, float], interval: Interval, limit: float) -> Cost:
    return _judged(name, mean[CHAMPION], mean[CANDIDATE], mean[CANDIDATE] / mean[CHAMPION], interval, limit)


def _judged(name: str, champion: float, candidate: float, ratio: float, interval: Interval, limit: float) -> Cost:
    if interval.low > limit:
        finding, ending = Finding.HOLD, f"more than {limit:g} times as much"
    elif interval.high <= limit:
        finding, ending = Finding.PASS, f"at most {limit:g} times as much"
    else:
        finding, ending = Finding.INCONCLUSIVE, f"it cannot be told whether it is more than {limit:g} times as much"
    sentence = f"{name}: {ratio:.2f} times the champion's ({interval.low:.2f} to {interval.high:.2f}); {ending}."
    return Cost(name, champion, candidate, ratio, interval.low, interval.high, limit, finding, sentence)
