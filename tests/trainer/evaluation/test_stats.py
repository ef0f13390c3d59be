"""Every formula against a published example, an independent implementation, or a simulation with a fixed seed."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import binomtest, permutation_test, ttest_1samp
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from trainer.evaluation.stats import (
    benjamini_hochberg,
    clustered_standard_error,
    clustered_t,
    holm,
    paired_difference,
    paired_score_interval,
    rate_interval,
    sign_flip_p_value,
)


def singles(n: int) -> list[str]:
    return [f"item{number}" for number in range(n)]


def families(n: int, size: int) -> list[str]:
    return [f"family{number // size}" for number in range(n)]


def clustered_draw(rng: np.random.Generator, clusters: int, size: int) -> np.ndarray:
    shared = rng.normal(0, 0.3, clusters).repeat(size)
    return shared + rng.normal(0, 0.2, clusters * size)


# Clustered standard error and t interval


def test_singletons_give_the_standard_error_of_the_mean():
    d = np.random.default_rng(1).normal(size=200)

    assert clustered_standard_error(d, singles(200))[0] == pytest.approx(d.std(ddof=1) / math.sqrt(200))


def test_singletons_give_scipys_one_sample_t_interval():
    d = np.random.default_rng(2).uniform(-0.5, 0.5, 60)
    expected = ttest_1samp(d, 0).confidence_interval(0.95)

    found = clustered_t(d, singles(60), 0.025)

    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_families_give_the_cluster_robust_error_of_statsmodels():
    """OLS on a constant: its factor is G/(G−1) · (n−1)/(n−k), and with k = 1 the second part is 1."""
    d = clustered_draw(np.random.default_rng(3), 40, 5)
    groups = np.arange(40).repeat(5)
    expected = sm.OLS(d, np.ones(200)).fit(cov_type="cluster", cov_kwds={"groups": groups}).bse[0]

    assert clustered_standard_error(d, families(200, 5))[0] == pytest.approx(expected)


def test_copies_of_an_item_in_one_family_add_no_evidence():
    d = np.random.default_rng(4).normal(size=100)

    tripled = clustered_standard_error(d.repeat(3), families(300, 3))[0]

    assert tripled == pytest.approx(clustered_standard_error(d, singles(100))[0])


def test_the_clustered_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(5)
    names = families(160, 4)

    intervals = [clustered_t(clustered_draw(rng, 40, 4), names, 0.025) for _ in range(1000)]

    assert np.mean([i.low <= 0 <= i.high for i in intervals]) == pytest.approx(0.95, abs=0.025)


def test_an_interval_that_ignores_families_covers_too_rarely():
    rng = np.random.default_rng(6)
    names = singles(160)

    intervals = [clustered_t(clustered_draw(rng, 40, 4), names, 0.025) for _ in range(500)]

    assert np.mean([i.low <= 0 <= i.high for i in intervals]) < 0.85


def test_one_cluster_knows_nothing():
    interval = clustered_t(np.array([0.1, 0.2]), ["same", "same"], 0.025)

    assert (interval.low, interval.high) == (-1.0, 1.0)


# Tango's score interval for paired proportions


def test_the_score_interval_gives_the_published_airway_example():
    """Bentur et al. 2009 as analysed by Fagerland, Lydersen & Laake 2014: (1, 1; 7, 12) gives −0.517 to −0.026."""
    interval = paired_score_interval(1, 7, 21, 0.025)

    assert (round(interval.low, 3), round(interval.high, 3)) == (-0.517, -0.026)


def test_the_score_interval_gives_the_value_of_r_propcis():
    """PropCIs::scoreci.mp(25, 28, 618) at 90 % estimates (28 − 25)/618: −0.0148 to 0.0247."""
    interval = paired_score_interval(28, 25, 618, 0.05)

    assert (round(interval.low, 4), round(interval.high, 4)) == (-0.0148, 0.0247)


@pytest.mark.parametrize(("gained", "lost", "n"), [(12, 2, 50), (40, 20, 160), (9, 1, 44), (21, 10, 1000)])
def test_at_mcnemars_p_value_the_score_interval_ends_at_zero(gained, lost, n):
    p = mcnemar([[0, gained], [lost, n - gained - lost]], exact=False, correction=False).pvalue

    assert paired_score_interval(gained, lost, n, p / 2).low == pytest.approx(0, abs=1e-7)


def test_the_score_interval_solves_tangos_equation_as_the_closed_form_does():
    """With no discordant pair the bound is ±z²/(n + z²)."""
    z2 = 1.959963984540054**2

    assert paired_score_interval(0, 0, 300, 0.025).high == pytest.approx(z2 / (300 + z2))


def test_swapping_the_sides_mirrors_the_score_interval():
    there, back = paired_score_interval(9, 3, 80, 0.025), paired_score_interval(3, 9, 80, 0.025)

    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_every_pair_gained_reaches_up_to_one():
    assert paired_score_interval(80, 0, 80, 0.025).high == 1.0


def test_the_score_interval_covers_with_few_discordant_pairs():
    rng = np.random.default_rng(7)
    draws = rng.multinomial(200, [0.06, 0.04, 0.90], size=1500)

    covered = [
        i.low <= 0.02 <= i.high for b, c, _ in draws for i in [paired_score_interval(int(b), int(c), 200, 0.025)]
    ]

    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="Counts must satisfy"):
        paired_score_interval(6, 6, 10, 0.025)


# Which interval counts


def test_one_answer_and_few_discordant_items_take_the_score_interval():
    d = np.array([1.0] * 6 + [0.0] * 94)

    found = paired_difference(d, singles(100), alpha=0.025, answers_per_item=1)

    assert found.interval == paired_score_interval(6, 0, 100, 0.025)


def test_one_answer_and_fifty_discordant_items_take_the_t_interval():
    d = np.array([1.0] * 30 + [-1.0] * 20 + [0.0] * 50)

    assert paired_difference(d, singles(100), alpha=0.025, answers_per_item=1).method == "clustered t"


def test_several_answers_take_the_t_interval():
    d = np.array([0.25] * 6 + [0.0] * 94)

    assert paired_difference(d, singles(100), alpha=0.025, answers_per_item=4).method == "clustered t"


def test_equal_items_with_several_answers_are_not_taken_for_certainty():
    found = paired_difference(np.zeros(300), singles(300), alpha=0.025, answers_per_item=4)

    assert found.interval == paired_score_interval(0, 0, 300, 0.025)


def test_families_of_several_items_take_the_wider_of_both_intervals():
    d = np.array([1.0] * 8 + [0.0] * 92)

    found = paired_difference(d, families(100, 4), alpha=0.025, answers_per_item=1)

    assert found.interval.width >= max(
        clustered_t(d, families(100, 4), 0.025).width, paired_score_interval(8, 0, 100, 0.025).width
    )


def test_twenty_source_datasets_widen_the_interval_where_they_move_together():
    d = clustered_draw(np.random.default_rng(8), 25, 8)

    found = paired_difference(d, singles(200), alpha=0.025, answers_per_item=4, source_n=families(200, 8))

    assert found.by_source
    assert found.interval == clustered_t(d, families(200, 8), 0.025)


def test_fewer_than_twenty_source_datasets_are_not_read_as_clusters():
    d = clustered_draw(np.random.default_rng(9), 10, 8)

    assert not paired_difference(d, singles(80), alpha=0.025, answers_per_item=4, source_n=families(80, 8)).by_source


# One side's rate


def test_a_rate_with_no_failure_has_the_wilson_interval():
    expected = proportion_confint(40, 40, alpha=0.05, method="wilson")

    found = rate_interval(np.ones(40), singles(40), 0.025)

    assert (found.low, found.high) == pytest.approx(expected)


def test_a_rate_stays_within_zero_and_one():
    found = rate_interval(np.array([1.0] * 29 + [0.0]), singles(30), 0.025)

    assert 0 <= found.low < found.high <= 1


# Sign flips


def test_the_sign_flip_test_agrees_with_the_exact_sign_test():
    """Differences of one size only: the sign-flip test is the binomial test of gains among discordant items."""
    d = np.array([1.0] * 18 + [-1.0] * 7 + [0.0] * 50)
    expected = binomtest(18, 25, alternative="greater").pvalue

    assert sign_flip_p_value(d, singles(75), draws=99_999) == pytest.approx(expected, abs=0.002)


def test_the_sign_flip_test_agrees_with_scipys_permutation_test():
    d = np.random.default_rng(10).normal(0.3, 1, 30)
    expected = permutation_test(
        (d,),
        np.mean,
        permutation_type="samples",
        alternative="greater",
        n_resamples=20_000,
        rng=1,
        vectorized=True,
        axis=0,
    ).pvalue

    assert sign_flip_p_value(d, singles(30), draws=20_000) == pytest.approx(expected, abs=0.012)


def test_few_sizes_of_differences_give_the_p_value_that_sizes_of_their_own_give():
    """Differences of answers come in few sizes, drawn together; a trace of noise makes each a size of its own."""
    d = np.random.default_rng(11).choice([-0.25, 0.0, 0.25, 0.5], p=[0.26, 0.4, 0.2, 0.14], size=800)
    own = d + np.random.default_rng(12).normal(0, 1e-6, 800)

    together, apart = (sign_flip_p_value(x, singles(800), at_most=0.03, draws=40_000) for x in (d, own))

    assert 0.02 < together < 0.98
    assert together == pytest.approx(apart, abs=0.01)


def test_the_sign_flip_test_agrees_with_the_t_test_on_many_items():
    d = np.random.default_rng(11).normal(0.06, 1, 900)
    expected = ttest_1samp(d, 0.0, alternative="greater").pvalue

    assert sign_flip_p_value(d, singles(900), draws=20_000) == pytest.approx(expected, abs=0.01)


def test_the_sign_flip_test_agrees_with_the_t_test_on_heavy_tails():
    d = np.random.default_rng(15).standard_t(3, 3000) * 0.1 + 0.004

    assert sign_flip_p_value(d, singles(3000)) == pytest.approx(
        ttest_1samp(d, 0, alternative="greater").pvalue, abs=0.015
    )


def test_whole_families_flip_together():
    """Ten families of ten copies are ten independent facts: 2⁻¹⁰, not 2⁻¹⁰⁰."""
    p = sign_flip_p_value(np.ones(100), families(100, 10), draws=99_999)

    assert p == pytest.approx(2**-10, abs=0.0005)


def test_the_sign_flip_test_rejects_a_true_null_as_often_as_alpha():
    rng = np.random.default_rng(12)
    names = families(120, 3)

    p = [sign_flip_p_value(clustered_draw(rng, 40, 3), names, draws=999, seed=at) for at in range(800)]

    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.025)


def test_a_shifted_null_asks_about_the_margin():
    d = np.random.default_rng(13).normal(-0.005, 0.1, 600)

    assert sign_flip_p_value(d, singles(600), at_most=-0.02) < 0.01


def test_no_difference_at_all_gives_p_one():
    assert sign_flip_p_value(np.zeros(50), singles(50)) == 1.0


def test_the_same_seed_gives_the_same_p_value():
    d = np.random.default_rng(14).normal(0.1, 1, 40)

    assert sign_flip_p_value(d, singles(40), seed=3) == sign_flip_p_value(d, singles(40), seed=3)


# Several tests at once


def test_holm_gives_the_textbook_adjustment():
    """0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, kept non-decreasing."""
    assert holm([0.01, 0.04, 0.03, 0.02]) == pytest.approx([0.04, 0.06, 0.06, 0.06])


def test_benjamini_hochberg_makes_the_four_discoveries_of_the_1995_paper():
    """Fifteen p-values of the 1995 paper's example; at 0.05 the procedure rejects exactly the first four."""
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]

    assert sum(adjusted <= 0.05 for adjusted in benjamini_hochberg(p)) == 4


def test_holm_makes_the_three_discoveries_of_the_same_example():
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]

    assert sum(adjusted <= 0.05 for adjusted in holm(p)) == 3


@pytest.mark.parametrize("seed", range(5))
def test_both_adjustments_agree_with_statsmodels(seed):
    p = np.random.default_rng(seed).beta(0.5, 2, 12)

    expected = [multipletests(p, method=method)[1] for method in ("holm", "fdr_bh")]

    assert [holm(list(p)), benjamini_hochberg(list(p))] == [pytest.approx(e) for e in expected]


def test_adjusting_nothing_gives_nothing():
    assert holm([]) == []
