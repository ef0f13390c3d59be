"""Looking before all answers are in, without raising the chance of a false claim.

Naive looks do: twenty looks at a one-sided 0.025 claim something false in one case of eight. Two rules that do not:

- planned looks: a part of alpha is spent at each, by a spending function (Lan & DeMets). The looks need not be evenly
  spaced, nor their number be known before: what later looks need depends on earlier ones only;
- a confidence sequence: an interval that holds at all sizes at once, so that anybody may look at any time.

Alpha is one-sided throughout, as everywhere in trainer/evaluation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from trainer.evaluation.scoring import FloatArray

GRID = 1_001  # points that carry a density from one look to the next
FAR = 9.0  # standard deviations beyond which a normal density is nothing
NEVER = 12.0  # a boundary beyond all evidence: what is spent at such a look is less than floating point can tell


Spending = Literal["late", "even", "early"]
EARLY = 0.3  # exponent of the early spending: four fifths of alpha at half of the evidence


def spent(information: float, alpha: float, spending: Spending = "late") -> float:
    """Share of alpha that may be spent once `information` (0 to 1) of the planned evidence is in.

    late   α(t) = 2 − 2Φ(z_{α/2}/√t), nearly O'Brien & Fleming's (1979) boundaries: looks on the way cost next to no
           power at the end
    even   α(t) = α·ln(1 + (e − 1)t), nearly Pocock's (1977)
    early  α(t) = α·t^0.3 (Kim & DeMets 1987, Biometrika 74, 149–154): most at the first look, a rest for going on
    The first two: Lan & DeMets 1983, Biometrika 70, 659–663.
    """
    if information <= 0:
        return 0.0
    share = min(information, 1.0)
    if spending == "even":
        return alpha * math.log1p((math.e - 1) * share)
    if spending == "early":
        return float(alpha * share**EARLY)
    return float(2 * norm.sf(norm.isf(alpha / 2) / math.sqrt(share)))


@dataclass(frozen=True, slots=True)
class Look:
    """One planned look: `alpha` is the one-sided level of the interval that may be read at it."""

    information: float  # share of the planned evidence, 0 to 1
    z: float  # what a statistic must exceed
    alpha: float  # Φ(−z)
    spent: float  # of the whole alpha, this look included


def looks(information: Sequence[float], alpha: float, spending: Spending = "late") -> list[Look]:
    """What may be read at each of the shares of the evidence, which grow and end at 1 or before.

    P(Z₁ < b₁, …, Z_{k−1} < b_{k−1}, Z_k ≥ b_k) = α(t_k) − α(t_{k−1}) under no effect, with cov(Z_i, Z_j) = √(t_i/t_j);
    solved by recursive integration (Armitage, McPherson & Rowe 1969, JRSS A 132, 235–244).
    Raises ValueError where the shares do not grow or leave (0, 1].
    """
    if (
        not information
        or list(information) != sorted(set(information))
        or not 0 < information[0] <= information[-1] <= 1
    ):
        raise ValueError("Shares of the evidence must grow, from above 0 to at most 1.")
    found: list[Look] = []
    carried: tuple[FloatArray, FloatArray] | None = None  # score values not stopped yet, and their density × width
    before, used = 0.0, 0.0
    for share in information:
        total = spent(share, alpha, spending)
        z = _boundary(carried, share - before, share, total - used)
        found.append(Look(share, z, float(norm.sf(z)), total))
        carried = _on(carried, share - before, z * math.sqrt(share))
        before, used = share, total
    return found


def _boundary(carried: tuple[FloatArray, FloatArray] | None, step: float, share: float, wanted: float) -> float:
    """z such that a score which was not stopped before and grows by N(0, step) is above z·√share with `wanted`."""
    root = math.sqrt(share)

    def excess(z: float) -> float:
        if carried is None:
            return float(norm.sf(z)) - wanted
        score, weight = carried
        return float(weight @ norm.sf((z * root - score) / math.sqrt(step))) - wanted

    return NEVER if excess(NEVER) >= 0 else float(brentq(excess, -NEVER, NEVER, xtol=1e-10))


@cache
def _points() -> tuple[FloatArray, FloatArray]:
    """Of a third of a second's work."""
    nodes, weights = np.polynomial.legendre.leggauss(GRID)
    return nodes, weights


def _on(carried: tuple[FloatArray, FloatArray] | None, step: float, stop: float) -> tuple[FloatArray, FloatArray]:
    """The density of the score below `stop` after one more step, on Gauss–Legendre points."""
    reach = FAR * math.sqrt(step)
    low = -reach if carried is None else float(carried[0][0]) - reach
    high = min(stop, reach if carried is None else float(carried[0][-1]) + reach)
    nodes, weights = _points()
    score = low + (nodes + 1) * (high - low) / 2
    if carried is None:
        density = norm.pdf(score / math.sqrt(step)) / math.sqrt(step)
    else:
        old, weight = carried
        density = (norm.pdf((score[:, None] - old[None, :]) / math.sqrt(step)) @ weight) / math.sqrt(step)
    return score, density * weights * (high - low) / 2


def anytime_reach(units: int, alpha: float, *, tightest_at: int) -> float:
    """How many standard errors of the mean an interval must reach to hold at all numbers of units at once.

    √(2 (tρ² + 1)/(tρ²) · log(√(tρ² + 1)/(2α))), the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha,
    Kennedy & Ramdas 2024 (Annals of Statistics 52, theorem 2.2; Robbins's normal mixture), t the number of independent
    units, with ρ chosen so that the interval is tightest at `tightest_at` of them (their appendix B.2).
    """
    if units < 2:
        return math.inf
    two_sided = 2 * alpha
    rho_square = (-2 * math.log(two_sided) + math.log(-2 * math.log(two_sided) + 1)) / tightest_at
    grown = units * rho_square + 1
    return math.sqrt(2 * grown / (units * rho_square) * math.log(math.sqrt(grown) / two_sided))


def anytime_alpha(units: int, alpha: float, *, tightest_at: int) -> float:
    """The one-sided level whose ordinary interval is the confidence sequence's at this many units."""
    reach = anytime_reach(units, alpha, tightest_at=tightest_at)
    return 0.0 if math.isinf(reach) else float(norm.sf(reach))
