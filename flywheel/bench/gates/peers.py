"""What others do with the same answers: the rules that ours is measured beside."""

import math
from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from trainer.evaluation.scoring import CANDIDATE, CHAMPION, SuiteScores

Rule = Callable[[SuiteScores, float], bool]


def point_rule(suite: SuiteScores, threshold: float) -> bool:
    """The estimate alone: "not more than the margin down"."""
    return float(suite.difference_n("score").mean()) > threshold


def not_significant(suite: SuiteScores, threshold: float) -> bool:
    """ "No significant fall", which small suites can never show: a paired test at two-sided 5 %."""
    d_n = suite.difference_n("score")
    error = d_n.std(ddof=1) / math.sqrt(d_n.size)
    return float(d_n.mean()) > -float(norm.isf(0.025)) * float(error)


def unpaired_interval(suite: SuiteScores, threshold: float) -> bool:
    """The right question with twice the noise: two proportions as if of different items, normal interval at 95 %."""
    sides = [suite.sides[side].mean_n("score") for side in (CANDIDATE, CHAMPION)]
    error = math.sqrt(sum(float(np.var(side, ddof=1)) / side.size for side in sides))
    return float(sides[0].mean() - sides[1].mean()) - float(norm.isf(0.025)) * error > threshold


RULES: dict[str, Rule] = {
    "point rule": point_rule,
    "not significant": not_significant,
    "unpaired interval": unpaired_interval,
}
