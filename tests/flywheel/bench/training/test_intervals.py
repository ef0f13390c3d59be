"""The training bench's statistics: intervals over seeds, and where a curve reaches a rate."""

import pytest

from flywheel.bench.training import intervals


def test_the_interval_of_a_mean_is_students():
    found = intervals.mean([1.0, 2.0, 3.0])

    assert found.value == 2
    assert found.high - found.value == pytest.approx(4.303 / 3**0.5, rel=1e-3)


def test_one_seed_has_no_interval():
    found = intervals.mean([5.0])

    assert (found.low, found.high, str(found)) == (5, 5, "1 seed")


def test_ratios_are_averaged_as_factors():
    found = intervals.mean_ratio([1.0, 4.0], [2.0, 2.0])

    assert found.value == pytest.approx(1)


def test_a_rate_is_reached_between_two_points_by_a_straight_line():
    assert intervals.reached([0, 100, 200], [0.2, 0.4, 0.8], 0.6) == 150


def test_the_first_time_at_a_rate_counts():
    assert intervals.reached([0, 100, 200, 300], [0.2, 0.6, 0.3, 0.9], 0.6) == 100


def test_a_rate_that_a_curve_starts_at_costs_nothing():
    assert intervals.reached([0, 100], [0.7, 0.8], 0.6) == 0


def test_a_rate_that_a_curve_does_not_reach_has_no_cost():
    assert intervals.reached([0, 100], [0.2, 0.5], 0.6) is None
