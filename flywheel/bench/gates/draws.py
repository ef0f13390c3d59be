"""Simulated evaluations with a known truth: items of bimodal difficulty, answered K times by both sides.

An item's pass rate is p ~ Beta(A, A), nearly always or nearly never solved, for both sides; a share C of the items is
drawn anew for the candidate, so that single items change and their mean does not. A and C give the variances that
planning assumes before there is data (trainer.evaluation.planning.BIMODAL). On top the true effect: every pass rate
moves by the same share of its way to 1, or to 0. Items of a family share their rates.
"""

from dataclasses import dataclass

import numpy as np

from trainer.evaluation.planning import BIMODAL
from trainer.evaluation.scoring import CANDIDATE, CHAMPION, FloatArray, SideScores, SuiteScores

# 2·E[p(1 − p)] = A/(2A + 1) must be BIMODAL.within; C·Var(q − p) = C/(2(2A + 1)) must be BIMODAL.between.
A = BIMODAL.within / (1 - 2 * BIMODAL.within)
C = 2 * (2 * A + 1) * BIMODAL.between


@dataclass(frozen=True, slots=True)
class Truth:
    """Pass rates of the items of a suite, for as many sides as are asked for."""

    base_n: FloatArray
    changed_n: FloatArray  # of a candidate without effect
    cluster_n: tuple[str, ...]


def truth(rng: np.random.Generator, n: int, *, family: int = 1) -> Truth:
    clusters = -(-n // family)
    base_c, other_c = rng.beta(A, A, (2, clusters))
    changed_c = np.where(rng.random(clusters) < C, other_c, base_c)
    names = tuple(f"f{item // family}" for item in range(n))
    return Truth(base_c.repeat(family)[:n], changed_c.repeat(family)[:n], names)


def candidate_n(items: Truth, effect: float) -> FloatArray:
    """True pass rates of a candidate whose mean differs by `effect` (0.02: 2 pp) from the champion's."""
    return shifted(items.changed_n, effect)


def shifted(rates_n: FloatArray, effect: float) -> FloatArray:
    """Every rate moves by the same share of its way to 1 (to 0 where the effect is negative); their mean is 1/2."""
    return rates_n + 2 * effect * (1 - rates_n) if effect >= 0 else rates_n * (1 + 2 * effect)


def answered(rng: np.random.Generator, rates_n: FloatArray, answers: int) -> SideScores:
    correct_n = rng.binomial(answers, rates_n).astype(np.float64)
    n = rates_n.size
    nothing, asked_n = np.zeros(n, dtype=np.int64), np.full(n, answers, dtype=np.int64)
    return SideScores(asked_n, nothing, correct_n, correct_n, correct_n)


def suite(rng: np.random.Generator, name: str, n: int, answers: int, effect: float, *, family: int = 1) -> SuiteScores:
    items = truth(rng, n, family=family)
    sides = {
        CHAMPION: answered(rng, items.base_n, answers),
        CANDIDATE: answered(rng, candidate_n(items, effect), answers),
    }
    return of_sides(name, items, sides)


def of_sides(name: str, items: Truth, sides: dict[str, SideScores]) -> SuiteScores:
    keys = tuple(f"{name}/{item}" for item in range(items.base_n.size))
    clusters = keys if len(set(items.cluster_n)) == len(keys) else tuple(f"{name}/{c}" for c in items.cluster_n)
    return SuiteScores(name, keys, clusters, ("",) * len(keys), sides)
