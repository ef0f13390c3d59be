"""The simulated truth is the one that the table says it is."""

import numpy as np
import pytest

from flywheel.bench.gates import draws, peers
from trainer.evaluation.planning import BIMODAL
from trainer.evaluation.scoring import SuiteScores


def suite(n: int, answers: int, effect: float, family: int = 1) -> SuiteScores:
    return draws.suite(np.random.default_rng(3), "suite", n, answers, effect, family=family)


@pytest.mark.parametrize("effect", [-0.05, 0.0, 0.03])
def test_the_mean_difference_is_the_effect(effect: float):
    assert suite(200_000, 4, effect).difference_n("score").mean() == pytest.approx(effect, abs=0.003)


@pytest.mark.parametrize("answers", [1, 4, 16])
def test_differences_vary_as_planning_assumes(answers: int):
    variance = suite(200_000, answers, 0.0).difference_n("score").var()

    assert variance == pytest.approx(BIMODAL.variance(answers), rel=0.03)


def test_items_of_a_family_share_their_difficulty():
    one = draws.truth(np.random.default_rng(3), 10, family=5)

    assert [np.unique(part).size for part in (one.base_n[:5], one.base_n[5:], one.base_n)] == [1, 1, 2]
    assert len(set(one.cluster_n)) == 2


def passes(rule: peers.Rule, n: int, effect: float) -> float:
    """Share of 200 candidates that a rule lets through with a margin of two points."""
    rng = np.random.default_rng(5)
    return float(np.mean([rule(draws.suite(rng, "suite", n, 1, effect), -0.02) for _ in range(200)]))


def test_each_peer_errs_as_its_name_says():
    assert passes(peers.point_rule, 1_000, -0.02) == pytest.approx(0.5, abs=0.12)
    assert passes(peers.not_significant, 60, -0.05) > 0.8
    assert passes(peers.unpaired_interval, 3_000, 0.0) < 0.8 * passes(peers.point_rule, 3_000, 0.0)
