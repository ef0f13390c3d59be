"""Sample sizes: the design's own table, statsmodels, and simulation."""

import math

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from trainer.evaluation.planning import (
    BIMODAL,
    Demand,
    More,
    Spread,
    items_needed,
    minimal_detectable_effect,
    more_to_settle,
    plan,
    power_at,
    power_curve,
    spread_of,
)
from trainer.evaluation.scoring import side_of, suite_of


def simulated(n: int, k: int, *, omega: float, seed: int):
    """Items with a true rate, answers drawn from it; the candidate's rate differs by ±omega an item."""
    rng = np.random.default_rng(seed)
    rate = rng.uniform(0.3, 0.7, n)
    shifted = rate + omega * rng.choice([-1, 1], n)
    sides = {
        "champion": side_of((rng.random((n, k)) < rate[:, None]).astype(float)),
        "candidate": side_of((rng.random((n, k)) < shifted[:, None]).astype(float)),
    }
    return suite_of("s", [str(at) for at in range(n)], sides)


def test_a_one_point_margin_needs_about_21746_items_with_one_answer():
    assert items_needed(BIMODAL.variance(1), 0.01) == pytest.approx(21_746, rel=0.002)


def test_a_one_point_margin_needs_about_3150_items_with_eight_answers():
    assert items_needed(BIMODAL.variance(8), 0.01) == pytest.approx(3_150, rel=0.002)


def test_a_two_point_guard_passes_a_quarter_of_the_time_at_300_items_and_four_answers():
    assert power_at(BIMODAL.variance(4), 300, 0.02) == pytest.approx(0.25, abs=0.01)


def test_a_two_point_guard_passes_four_times_in_five_at_1450_items():
    assert power_at(BIMODAL.variance(4), 1450, 0.02) == pytest.approx(0.80, abs=0.01)


def test_the_table_of_5000_items_with_one_answer_passes_77_percent():
    assert power_at(BIMODAL.variance(1), 5000, 0.02) == pytest.approx(0.77, abs=0.01)


def test_items_needed_agrees_with_statsmodels_on_a_large_t_test():
    effect = 0.02 / math.sqrt(0.25)
    expected = TTestPower().solve_power(effect_size=effect, alpha=0.025, power=0.9, alternative="larger")

    assert items_needed(0.25, 0.02, power=0.9) == pytest.approx(expected, rel=0.002)


def test_the_planned_power_is_what_simulation_finds():
    rng = np.random.default_rng(1)
    n = items_needed(0.3, 0.05, power=0.8)
    means = rng.normal(0.05, math.sqrt(0.3 / n), 4000)

    assert np.mean(means - 1.96 * math.sqrt(0.3 / n) > 0) == pytest.approx(0.8, abs=0.025)


def test_the_minimal_effect_of_the_items_needed_is_the_distance():
    assert minimal_detectable_effect(0.3, items_needed(0.3, 0.02)) == pytest.approx(0.02, rel=1e-3)


def test_no_number_of_items_shows_what_is_not_there():
    assert items_needed(0.3, 0.0) is None


def test_a_power_curve_rises_with_the_items():
    powers = [power for _, power in power_curve(BIMODAL, 4, 0.02, [100, 300, 1000, 3000])]

    assert powers == sorted(powers)


def test_more_answers_reduce_only_the_within_part():
    assert Spread(between=0.01, within=0.2).variance(10) == pytest.approx(0.03)


def test_the_within_part_is_recovered_from_answers():
    """Two sides of p(1 − p) each; p uniform on 0.3 to 0.7 and shifted by nothing: 2 · (0.25 − 0.4²/12)."""
    spread = spread_of(simulated(4000, 4, omega=0.0, seed=2), "score")

    assert spread.within == pytest.approx(2 * (0.25 - 0.4**2 / 12), abs=0.01)


def test_the_between_part_is_recovered_from_answers():
    assert spread_of(simulated(6000, 4, omega=0.25, seed=3), "score").between == pytest.approx(0.0625, abs=0.01)


def test_the_parts_add_up_to_the_variance_of_the_differences():
    suite = simulated(2000, 4, omega=0.2, seed=4)

    assert spread_of(suite, "score").variance(4) == pytest.approx(np.var(suite.difference_n("score"), ddof=1))


def test_one_answer_puts_all_of_the_variance_within():
    assert spread_of(simulated(500, 1, omega=0.2, seed=5), "score").between == 0.0


def more(distance: float, spread: Spread) -> More:
    error = math.sqrt(spread.variance(4) / 300)
    return more_to_settle(spread, n=300, answers_per_item=4, standard_error=error, distance=distance)


def test_more_items_complete_what_the_formula_asks_for():
    assert more(0.02, BIMODAL).items == items_needed(BIMODAL.variance(4), 0.02) - 300


def test_more_answers_reach_the_same_power_on_the_same_items():
    wanted = more(0.03, BIMODAL).answers_per_item

    assert power_at(BIMODAL.variance(wanted), 300, 0.03) >= 0.8 > power_at(BIMODAL.variance(wanted - 1), 300, 0.03)


def test_answers_are_no_advice_where_the_items_themselves_differ_too_much():
    assert more(0.03, Spread(between=0.3, within=0.1)).answers_per_item is None


def test_a_difference_on_its_threshold_is_out_of_reach():
    assert more(0.00001, BIMODAL) == More(items=None, answers_per_item=None)


def test_out_of_reach_is_said():
    assert "no affordable number" in More(None, None).sentence(4)


def test_a_plan_takes_the_fewest_answers_at_which_every_suite_has_items_enough():
    found = plan([Demand("add", 2000, 0.02), Demand("sub", 1000, 0.02)])

    assert found.answers_per_item == 8


def test_a_plan_takes_no_more_items_than_it_needs():
    found = plan([Demand("add", 5000, 0.02)], least_answers=8)

    assert found.suites[0].n == items_needed(BIMODAL.variance(8), 0.02)


def test_a_plan_takes_at_least_three_hundred_items():
    assert plan([Demand("add", 5000, 0.2)]).suites[0].n == 300


def test_a_plan_that_cannot_reach_its_power_says_what_would():
    found = plan([Demand("add", 100, 0.02)])

    assert not found.enough
    assert "items would be enough" in found.sentences[0]


def test_a_pooled_target_is_the_sum_of_its_suites():
    found = plan([Demand("overall", 2000, 0.05), Demand("add", 1000, 0.05), Demand("sub", 1000, 0.05)])

    assert found.suites[0].n == found.suites[1].n + found.suites[2].n


def test_a_pooled_target_that_needs_more_grows_its_suites():
    alone = plan([Demand("add", 5000, 0.1), Demand("sub", 5000, 0.1)], least_answers=4, most_answers=4)
    pooled = plan(
        [Demand("overall", 10_000, 0.02), Demand("add", 5000, 0.1), Demand("sub", 5000, 0.1)],
        least_answers=4,
        most_answers=4,
    )

    assert sum(s.n for s in alone.suites) == 600
    assert pooled.suites[0].n >= items_needed(BIMODAL.variance(4), 0.02)


def test_answers_are_counted_once_though_the_pool_repeats_its_suites():
    found = plan([Demand("overall", 600, 0.05), Demand("add", 300, 0.05), Demand("sub", 300, 0.05)], least_answers=4)

    assert found.answers == 600 * found.answers_per_item


def test_a_watched_suite_never_makes_a_plan_fall_short():
    assert plan([Demand("add", 50, math.inf)]).enough


# A true effect changes how much differences vary


@pytest.mark.parametrize("effect", [-0.05, 0.02, 0.05, 0.2])
def test_the_spread_under_an_effect_is_that_of_answers_drawn_with_it(effect: float):
    rng = np.random.default_rng(7)
    a = BIMODAL.within / (1 - 2 * BIMODAL.within)  # p ~ Beta(a, a) has E[2p(1 − p)] = BIMODAL.within
    p_n = rng.beta(a, a, 400_000)
    share = 2 * abs(effect)
    q_n = p_n + share * (1 - p_n) if effect > 0 else p_n * (1 - share)
    d_n = rng.binomial(1, q_n) - rng.binomial(1, p_n).astype(float)

    assert Spread(0.0, BIMODAL.within).under(effect).variance(1) == pytest.approx(float(d_n.var()), rel=0.01)


def test_no_effect_leaves_the_spread_as_it_is():
    assert BIMODAL.under(0.0) == BIMODAL


def test_where_nothing_can_be_gained_a_gain_adds_nothing():
    assert Spread(0.0, 0.0).under(0.05, mean=1.0) == Spread(0.0, 0.0)
