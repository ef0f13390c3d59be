"""Boundaries against published tables, and both rules against a simulation with a fixed seed."""

import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from trainer.evaluation.sequential import anytime_alpha, anytime_reach, looks, spent


def evenly(count: int) -> list[float]:
    return [(number + 1) / count for number in range(count)]


# Planned looks


@pytest.mark.parametrize(
    ("count", "published"),
    [
        (1, [1.960]),
        (2, [2.963, 1.969]),
        (3, [3.710, 2.511, 1.993]),
        (4, [4.333, 2.963, 2.359, 2.014]),
        (5, [4.877, 3.357, 2.680, 2.290, 2.031]),
    ],
)
def test_boundaries_are_those_of_the_published_tables(count: int, published: list[float]):
    """Spending of O'Brien–Fleming's type, one-sided 0.025 (DeMets & Lan 1994; Proschan, Lan & Wittes 2006, ch. 5)."""
    assert [look.z for look in looks(evenly(count), 0.025)] == pytest.approx(published, abs=2e-3)


def test_unevenly_spaced_looks_agree_with_scipys_multivariate_normal():
    shares = [0.3, 0.45, 0.8, 1.0]
    found = looks(shares, 0.025)
    correlation = [[math.sqrt(min(a, b) / max(a, b)) for a in shares] for b in shares]

    never = multivariate_normal(cov=correlation).cdf([look.z for look in found], rng=np.random.default_rng(1))

    assert 1 - never == pytest.approx(0.025, abs=2e-5)


def test_all_of_alpha_is_spent_at_the_end_and_none_at_the_start():
    assert (spent(0, 0.025), spent(1, 0.025)) == pytest.approx((0, 0.025))


def test_what_a_look_needs_does_not_depend_on_later_ones():
    few, many = looks([0.25, 0.5], 0.025), looks([0.25, 0.5, 0.6, 0.7, 1.0], 0.025)

    assert [look.z for look in few] == pytest.approx([look.z for look in many[:2]])


def test_a_look_at_next_to_nothing_can_claim_nothing():
    first, last = looks([0.001, 1.0], 0.025)

    assert (first.z, last.z) == (12.0, pytest.approx(1.96, abs=1e-3))


@pytest.mark.parametrize("shares", [[], [0.5, 0.5], [0.6, 0.4], [0, 1], [0.5, 1.2]])
def test_shares_that_do_not_grow_within_the_plan_are_refused(shares: list[float]):
    with pytest.raises(ValueError, match="must grow"):
        looks(shares, 0.025)


def test_five_looks_raise_no_more_false_claims_than_one_while_naive_looks_do():
    z_draws_5 = walks(40_000, 5)
    boundaries = np.array([look.z for look in looks(evenly(5), 0.025)])

    assert (z_draws_5 > boundaries).any(axis=1).mean() == pytest.approx(0.025, abs=0.003)
    assert (z_draws_5 > norm.isf(0.025)).any(axis=1).mean() > 0.06


def walks(draws: int, count: int) -> np.ndarray:
    steps = np.random.default_rng(7).normal(size=(draws, count))
    return steps.cumsum(axis=1) / np.sqrt(np.arange(1, count + 1))


# The confidence sequence


def test_a_confidence_sequence_holds_at_every_size_at_once():
    sizes = np.arange(50, 2_001)
    reach = np.array([anytime_reach(int(n), 0.025, tightest_at=500) for n in sizes])
    draws = np.random.default_rng(8).choice([-1.0, 0.0, 1.0], p=[0.15, 0.7, 0.15], size=(1_000, 2_000))
    means = draws.cumsum(axis=1) / np.arange(1, 2_001)
    errors = np.sqrt((draws**2).cumsum(axis=1) / np.arange(1, 2_001) - means**2) / np.sqrt(np.arange(1, 2_001))

    above = (means[:, 49:] > reach * errors[:, 49:]).any(axis=1).mean()

    assert above < 0.025 + 3 * math.sqrt(0.025 * 0.975 / 1_000)
    assert (means[:, 49:] > 1.96 * errors[:, 49:]).any(axis=1).mean() > 0.1


def test_it_is_tightest_where_it_was_asked_to_be():
    """The width at t for several choices: the choice of t itself is the best of them, nearly."""
    widths = {at: anytime_reach(1_000, 0.025, tightest_at=at) for at in (100, 300, 1_000, 3_000, 10_000)}

    assert min(widths, key=lambda at: widths[at]) == 1_000


def test_it_costs_about_half_as_much_width_again_as_one_look():
    assert anytime_reach(1_000, 0.025, tightest_at=1_000) / norm.isf(0.025) == pytest.approx(1.45, abs=0.1)


def test_one_unit_tells_nothing():
    assert (anytime_reach(1, 0.025, tightest_at=100), anytime_alpha(1, 0.025, tightest_at=100)) == (math.inf, 0.0)


def test_its_level_gives_the_same_interval():
    level = anytime_alpha(400, 0.025, tightest_at=300)

    assert norm.isf(level) == pytest.approx(anytime_reach(400, 0.025, tightest_at=300))
