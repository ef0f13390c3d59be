"""Slices tell where, and claim no more than so many of them allow."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from trainer.evaluation.slices import FALSE_SHARE, adjusted, difficulty, slices

N = 600


def draws(gains: dict[str, float], n: int = N, seed: int = 1):
    """Both sides' scores of items whose domain decides how much the candidate gains."""
    rng = np.random.default_rng(seed)
    domains = [list(gains)[item % len(gains)] for item in range(n)]
    champion = rng.uniform(0.2, 0.8, n)
    candidate = champion + np.array([gains[domain] for domain in domains]) + rng.normal(0, 0.1, n)
    return champion, candidate, [f"i{item}" for item in range(n)], {"domain": domains}


def test_a_domain_that_fell_is_claimed_and_one_that_did_not_is_not():
    found = {one.value: one for one in adjusted(slices(*draws({"add": 0.0, "sub": -0.1}), alpha=0.025))}

    assert (found["sub"].changed, found["add"].changed) == (True, False)
    assert found["sub"].low < -0.1 < found["sub"].high


def test_without_clusters_the_p_value_is_that_of_the_paired_t_test():
    champion, candidate, clusters, _ = draws({"add": 0.005})

    (found,) = slices(champion, candidate, clusters, {"all": ["all"] * N}, alpha=0.025)

    assert found.adjusted_p == pytest.approx(ttest_rel(candidate, champion).pvalue)


def test_a_hundred_slices_of_nothing_claim_next_to_nothing():
    champion, candidate, clusters, _ = draws({"add": 0.0}, n=5_000)
    labels = {"bucket": [f"b{item % 100}" for item in range(5_000)]}

    found = adjusted(slices(champion, candidate, clusters, labels, alpha=0.025))

    naive = sum(one.low > 0 or one.high < 0 for one in found)
    assert (len(found), sum(one.changed for one in found) <= 1, naive >= 2) == (100, True, True)


def test_too_few_items_are_shown_and_never_claimed():
    champion, candidate, clusters, _ = draws({"add": 0.5})
    labels = {"dataset": ["small"] * 10 + ["large"] * (N - 10)}

    large, small = adjusted(slices(champion, candidate, clusters, labels, alpha=0.025))

    assert (small.value, small.n, small.too_few, small.changed) == ("small", 10, True, False)
    assert large.changed


def test_items_of_one_family_count_as_one():
    champion, candidate, _, labels = draws({"add": 0.02})

    (alone,) = slices(champion, candidate, [f"i{n}" for n in range(N)], labels, alpha=0.025)
    (together,) = slices(champion, candidate, [f"f{n // 30}" for n in range(N)], labels, alpha=0.025)

    assert (alone.clusters, together.clusters) == (N, N // 30)


def test_an_item_without_a_label_or_a_number_is_in_no_slice():
    champion, candidate, clusters, _ = draws({"add": 0.0})
    champion[0] = np.nan

    (found,) = slices(champion, candidate, clusters, {"domain": ["add"] * (N - 1) + [""]}, alpha=0.025)

    assert found.n == N - 2


def test_a_change_that_is_the_same_everywhere_is_certain():
    champion = np.full(40, 0.5)

    (found,) = adjusted(slices(champion, champion + 0.25, [f"i{n}" for n in range(40)], {"d": ["x"] * 40}, alpha=0.025))

    assert (found.adjusted_p, found.changed) == (0.0, True)
    assert found.adjusted_p <= FALSE_SHARE


def test_what_is_shown_together_is_adjusted_together():
    """A change that alone would be claimed is not, once it stands among fifty of nothing."""
    one = slices(*draws({"add": 0.012}, seed=4), alpha=0.025)
    others = slices(*draws({f"d{n}": 0.0 for n in range(50)}, n=5_000, seed=5), alpha=0.025)

    assert adjusted(one)[0].changed
    assert not adjusted([*one, *others])[0].changed


def test_difficulty_is_what_the_champion_makes_of_an_item():
    assert difficulty(np.array([0.0, 0.25, 0.5, 0.75, 1.0])) == ["never", "seldom", "often", "often", "always"]
