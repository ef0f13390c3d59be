"""Many simulated candidates on all cores, the same ones whatever the number of cores: each has a seed of its own."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from math import sqrt
from typing import Any

import numpy as np

from flywheel.bench.table import FAST

CANDIDATES = 60 if FAST else 2_000  # of a row of the table
SIMULATION_ERRORS = 2.0  # standard errors of the simulation itself that a promised rate may be missed by


def simulated(one: Callable[[np.random.Generator], Any], name: str, count: int = CANDIDATES) -> list[Any]:
    """`one` for so many generators that depend on the name and the number only. `one` must be picklable."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(partial(_seeded, one, name), range(count), chunksize=max(count // 64, 1)))


def _seeded(one: Callable[[np.random.Generator], Any], name: str, number: int) -> Any:
    return one(np.random.default_rng([number, *name.encode()]))


def share(found: Sequence[bool]) -> float:
    """In %."""
    return 100 * sum(found) / len(found)


def at_most_with_error(rate: float, count: int = CANDIDATES) -> float:
    """A promised rate (in %) and the simulation's own error above it."""
    return rate + SIMULATION_ERRORS * error_of(rate, count)


def error_of(rate: float, count: int = CANDIDATES) -> float:
    """Standard error of a simulated rate, both in %."""
    return 100 * sqrt(rate / 100 * (1 - rate / 100) / count)
