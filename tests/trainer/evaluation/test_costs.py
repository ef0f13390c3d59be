"""Ratios of cost against a bootstrap, and what holds, passes and cannot be told."""

import numpy as np
import pytest

from trainer.contract import Score
from trainer.evaluation.costs import Cost, Lengths, judge, lengths_from, quantile_ratio_interval, ratio_interval
from trainer.evaluation.finding import Finding

N, K = 500, 4


def lengths(factor: float, *, cut: tuple[float, float] = (0.0, 0.0), n: int = N, seed: int = 1) -> Lengths:
    """The candidate's answers are so many times as long; shares (champion, candidate) of them are cut off."""
    rng = np.random.default_rng(seed)
    of_item = rng.gamma(4, 25, (n, 1))
    tokens = {side: np.ceil(of_item * times * rng.gamma(20, 1 / 20, (n, K))) for side, times in
              (("champion", 1.0), ("candidate", factor))}  # fmt: skip
    truncated = {side: (rng.random((n, K)) < share).astype(float) for side, share in zip(tokens, cut, strict=True)}
    return Lengths(tuple(f"i{item}" for item in range(n)), tokens, truncated)


def judged(*args: float, **how: object) -> dict[str, Cost]:
    return {cost.name: cost for cost in judge(lengths(*args, **how), limit=1.1, alpha=0.025)}


@pytest.mark.parametrize(
    ("factor", "finding"), [(1.0, Finding.PASS), (1.1, Finding.INCONCLUSIVE), (1.3, Finding.HOLD), (0.5, Finding.PASS)]
)
def test_tokens_are_held_against_the_limit(factor: float, finding: Finding):
    assert judged(factor)["tokens an answer"].finding is finding


def test_the_ratios_interval_is_that_of_a_bootstrap_over_clusters():
    rng = np.random.default_rng(5)
    clusters = [f"c{item // 5}" for item in range(400)]
    champion = rng.gamma(4, 25, 80).repeat(5) + rng.normal(0, 3, 400)
    candidate = champion * rng.normal(1.2, 0.3, 80).repeat(5)
    found = ratio_interval(candidate, champion, clusters, 0.025)
    pairs = np.stack([candidate, champion]).reshape(2, 80, 5).sum(axis=2)
    drawn = rng.integers(0, 80, (20_000, 80))
    ratios = pairs[0][drawn].sum(axis=1) / pairs[1][drawn].sum(axis=1)

    assert [found.low, found.high] == pytest.approx(np.quantile(ratios, [0.025, 0.975]), abs=0.012)


def paired_draw(rng: np.random.Generator, factor: float, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    of_item = rng.gamma(4, 25, (n, 1))
    champion, candidate = (of_item * times * rng.gamma(20, 1 / 20, (n, k)) for times in (1.0, factor))
    return candidate, champion


def test_the_interval_of_a_ratio_of_quantiles_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(6)
    clusters = [f"i{item}" for item in range(300)]
    held = [
        interval.low <= 1.2 <= interval.high
        for _ in range(600)
        for _, interval in [quantile_ratio_interval(*paired_draw(rng, 1.2, 300, 4), clusters, 0.95, 0.025)]
    ]

    assert np.mean(held) == pytest.approx(0.95, abs=0.03)


def test_pairing_makes_it_narrower_than_two_strangers_would_be():
    rng = np.random.default_rng(7)
    candidate, champion = paired_draw(rng, 1.0, 500, 4)
    clusters = [f"i{item}" for item in range(500)]

    paired = quantile_ratio_interval(candidate, champion, clusters, 0.95, 0.025)[1]
    strangers = quantile_ratio_interval(candidate, rng.permutation(champion), clusters, 0.95, 0.025)[1]

    assert paired.width < 0.75 * strangers.width


def test_the_longest_twentieth_is_held_against_the_limit():
    costs = [judged(factor)["length of the longest twentieth"].finding for factor in (1.0, 2.0)]

    assert costs == [Finding.PASS, Finding.HOLD]


def test_answers_cut_off_count_once_they_are_more_than_accidents():
    assert "answers cut off" not in judged(1.0, cut=(0.0, 0.002))
    assert judged(1.0, cut=(0.0, 0.08))["answers cut off"].finding is Finding.HOLD
    assert judged(1.0, cut=(0.1, 0.2))["answers cut off"].finding is Finding.HOLD
    assert judged(1.0, cut=(0.2, 0.1))["answers cut off"].finding is Finding.PASS


def test_a_side_that_says_nothing_breaks_nothing():
    spoken = lengths(1.0)
    silent = np.zeros((N, K))

    def of(champion: np.ndarray, candidate: np.ndarray) -> list[Cost]:
        tokens = {"champion": champion, "candidate": candidate}
        return judge(Lengths(spoken.clusters, tokens, spoken.truncated), limit=1.1, alpha=0.025)

    assert of(silent, spoken.tokens["candidate"]) == []
    assert {cost.finding for cost in of(spoken.tokens["champion"], silent)} == {Finding.PASS}


def test_lengths_come_from_the_scores_of_both_sides():
    def score(key: str, side: str, sample: int, tokens: int) -> Score:
        return Score("a", key, "", side, sample, "correct", 1.0, tokens, tokens > 8, "", "")

    lines = [
        score(key, side, k, 5 + k + (side == "candidate"))
        for key in "12"
        for side in ("champion", "candidate")
        for k in (0, 1)
    ]
    lines += [score("3", "champion", 0, 99), score("1", "anchor", 0, 99)]

    found = lengths_from(lines)

    assert found.clusters == ("1", "2")
    assert found.tokens["champion"].tolist() == [[5, 6], [5, 6]]
    assert found.tokens["candidate"].tolist() == [[6, 7], [6, 7]]
