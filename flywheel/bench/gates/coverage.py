"""How often a 95 % interval holds the truth where items come in families, beside one that takes them for strangers."""

import math
from functools import partial

import numpy as np
from scipy.stats import norm

from flywheel.bench.gates import draws
from flywheel.bench.gates.simulate import error_of, share, simulated
from flywheel.bench.table import Measure, at_least
from trainer.evaluation.stats import paired_difference

SHAPES = ((60, 5), (200, 5), (200, 1), (30, 20))  # families, items of a family
EFFECT = 0.03
ANSWERS = 4


def coverage() -> list[Measure]:
    measures = []
    for families, size in SHAPES:
        found = simulated(partial(_held, families, size), f"coverage-{families}-{size}")
        ours, naive = (share([held[at] for held in found]) for at in (0, 1))
        name = f"{families} families of {size}: 95 % interval holds the truth"
        least = round(95 - 2 * error_of(95.0), 2)
        measures.append(at_least(name, ours, "%", least, f"as if independent {naive:.1f} %"))
    return measures


def _held(families: int, size: int, rng: np.random.Generator) -> tuple[bool, bool]:
    suite = draws.suite(rng, "suite", families * size, ANSWERS, EFFECT, family=size)
    d_n = suite.difference_n("score")
    interval = paired_difference(d_n, suite.clusters, alpha=0.025, answers_per_item=ANSWERS).interval
    reach = float(norm.isf(0.025)) * float(d_n.std(ddof=1)) / math.sqrt(d_n.size)
    return interval.low <= EFFECT <= interval.high, abs(float(d_n.mean()) - EFFECT) <= reach
