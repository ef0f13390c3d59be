"""The arm that compares costs to a pass rate: who is chosen, and who never arrives."""

import pytest

from flywheel.bench.training import speed
from flywheel.bench.training.arms import Curve
from flywheel.bench.training.jobs import Point
from flywheel.bench.training.speed import Search


def _curve(*pass_rates: float, a_step: int = 100) -> Curve:
    return Curve([Point(n, n * a_step, n * 2.0, n * 1.0) for n in range(len(pass_rates))], list(pass_rates))


def _found(ours: Curve, trl: Curve) -> speed.Curves:
    return {(arm, seed): curve for seed in speed.SEEDS for arm, curve in (("ours", ours), ("TRL, 8 answers", trl))}


def test_the_rate_that_reaches_the_target_with_the_fewest_completions_is_the_best():
    search = Search(8, {1e-4: _curve(0.3, 0.5, 0.8), 3e-4: _curve(0.3, 0.76, 0.8), 1e-3: _curve(0.3, 0.2, 0.9)})

    assert search.best == 3e-4


def test_where_no_rate_reaches_the_target_the_one_that_comes_nearest_is_the_best():
    search = Search(8, {1e-4: _curve(0.3, 0.5), 3e-4: _curve(0.3, 0.7), 1e-3: _curve(0.3, 0.1)})

    assert search.best == 3e-4


def test_half_of_the_peers_completions_hold_the_target():
    found = _found(ours=_curve(0.3, speed.TARGET), trl=_curve(0.3, 0.5, speed.TARGET))

    ratio = next(measure for measure in speed._ratios(found) if measure.name.startswith("completions"))

    assert (ratio.value, ratio.holds) == (pytest.approx(0.5), True)


def test_a_peer_that_never_arrives_counts_with_all_that_it_spent():
    found = _found(ours=_curve(0.3, speed.TARGET), trl=_curve(0.3, 0.4, 0.5, 0.5, 0.6))

    ratio = next(measure for measure in speed._ratios(found) if measure.name.startswith("completions"))

    assert ratio.value == pytest.approx(1 / 4)
    assert f"{len(speed.SEEDS)} of TRL's not within" in ratio.peer


def test_a_run_of_ours_that_never_arrives_misses_the_target():
    found = _found(ours=_curve(0.3, 0.5), trl=_curve(0.3, speed.TARGET))

    assert {(measure.value, measure.holds) for measure in speed._ratios(found)} == {(0, False)}
