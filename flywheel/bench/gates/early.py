"""Stopping early: answers saved at the same chance of a false claim, beside looking without a rule."""

from functools import partial
from statistics import fmean

import numpy as np

from flywheel.bench.gates import draws
from flywheel.bench.gates.simulate import at_most_with_error, share, simulated
from flywheel.bench.table import Measure, at_least, at_most, told
from trainer.evaluation.planning import BIMODAL, items_needed
from trainer.evaluation.sequential import anytime_alpha, looks
from trainer.evaluation.stats import clustered_t

ANSWERS = 4
EFFECT = 0.02
LOOKS = tuple((number + 1) / 5 for number in range(5))
MANY = tuple((number + 1) / 20 for number in range(20))
PLANNED = {look.information: look.alpha for look in looks(LOOKS, 0.025)}


def early() -> list[Measure]:
    n = items_needed(BIMODAL.under(EFFECT).variance(ANSWERS), EFFECT, power=0.95) or 0
    null = simulated(partial(_ends, n, 0.0), "early-null")
    real = simulated(partial(_ends, n, EFFECT), "early-real")
    double = simulated(partial(_ends, n, 2 * EFFECT), "early-double")
    claims = [[end[rule][0] for end in null] for rule in range(4)]
    allowed = round(at_most_with_error(2.5), 2)
    fixed = share([end[0][0] for end in real])
    planned = share([end[1][0] for end in real])
    return [
        at_most("five planned looks, no effect: false claims", share(claims[1]), "%", allowed, _one(claims[0])),
        at_most(
            "confidence sequence, 20 looks, no effect: false claims", share(claims[2]), "%", allowed, _one(claims[0])
        ),
        told("20 looks without a rule, no effect: false claims", share(claims[3]), "%", _one(claims[0])),
        at_most(
            "power that five planned looks cost", fixed - planned, "points", 3.0, f"{planned:.1f} against {fixed:.1f} %"
        ),
        at_least(
            "answers saved by five planned looks, effect as planned",
            _saved(real, 1),
            "%",
            20.0,
            f"{n:,} items × {ANSWERS}",
        ),
        told("answers saved by five planned looks, twice the effect", _saved(double, 1), "%"),
        told("answers saved by the confidence sequence, effect as planned", _saved(real, 2), "%", _power(real, 2)),
        told("answers saved by the confidence sequence, twice the effect", _saved(double, 2), "%", _power(double, 2)),
    ]


def _one(claims: list[bool]) -> str:
    return f"one look at the end {share(claims):.1f} %"


def _power(ends: list["Ends"], rule: int) -> str:
    return f"power {share([end[rule][0] for end in ends]):.1f} %, one look {share([end[0][0] for end in ends]):.1f} %"


def _saved(ends: list["Ends"], rule: int) -> float:
    return 100 * (1 - fmean(end[rule][1] for end in ends))


Ends = list[tuple[bool, float]]  # of each rule: whether it claimed a gain, and the share of the answers by then


def _ends(n: int, effect: float, rng: np.random.Generator) -> Ends:
    suite = draws.suite(rng, "suite", n, ANSWERS, effect)
    d_n = suite.difference_n("score")

    def until(shares: tuple[float, ...], alpha_at: dict[float, float]) -> tuple[bool, float]:
        for part in shares:
            some = d_n[: round(part * n)]
            if clustered_t(some, suite.clusters[: some.size], alpha_at[part]).low > 0:
                return True, part
        return False, 1.0

    anytime = {part: anytime_alpha(round(part * n), 0.025, tightest_at=n // 2) for part in MANY}
    return [
        until((1.0,), {1.0: 0.025}),
        until(LOOKS, PLANNED),
        until(MANY, anytime),
        until(MANY, dict.fromkeys(MANY, 0.025)),
    ]
