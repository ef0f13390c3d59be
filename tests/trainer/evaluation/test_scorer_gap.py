"""A policy that pleases its grader, and one that has learned."""

import numpy as np
import pytest

from tasks.errors import Invalid
from trainer.evaluation.finding import Finding
from trainer.evaluation.scorer_gap import ScorerGap, judge
from trainer.evaluation.scoring import SuiteScores, side_of, suite_of

ITEMS = 400


def suite(rng: np.random.Generator, *, gain: float) -> SuiteScores:
    keys = [f"i{number}" for number in range(ITEMS)]
    chance = {"champion": 0.4, "candidate": 0.4 + gain}
    return suite_of("a", keys, {s: side_of(rng.binomial(1, p, (ITEMS, 4)).astype(float)) for s, p in chance.items()})


def judged(gain: float, independent: float) -> ScorerGap:
    rng = np.random.default_rng(2)
    return judge(suite(rng, gain=gain), suite(rng, gain=independent), limit=0.02, alpha=0.025)


def test_a_gain_that_only_the_training_grader_sees_holds():
    found = judged(0.3, 0.05)

    assert (found.finding, "it pleases its grader" in found.sentence) == (Finding.HOLD, True)
    assert found.gap == pytest.approx(0.25, abs=0.05)


def test_a_gain_that_both_see_passes():
    assert judged(0.3, 0.3).finding is Finding.PASS


def test_a_gain_that_the_independent_grader_sees_more_of_passes():
    assert judged(0.1, 0.3).finding is Finding.PASS


def test_the_same_answers_graded_alike_have_no_gap():
    one = suite(np.random.default_rng(3), gain=0.1)

    found = judge(one, one, limit=0.02, alpha=0.025)

    assert (found.gap, found.finding) == (0.0, Finding.PASS)


def test_other_items_cannot_be_compared():
    one = suite(np.random.default_rng(3), gain=0.1)
    fewer = suite_of("a", one.keys[:-1], {s: side_of(np.ones((ITEMS - 1, 1))) for s in ("champion", "candidate")})

    with pytest.raises(Invalid, match="other items"):
        judge(one, fewer, limit=0.02, alpha=0.025)
