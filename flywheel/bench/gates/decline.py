"""Slow decline: twenty candidates in a row, each half a point worse on a guard than the champion of its day.

Each step is too small for its guard to see. The anchor is the last version that a person approved, here the first.
"""

from statistics import fmean

import numpy as np

from flywheel.bench.gates import draws
from flywheel.bench.gates.simulate import simulated
from flywheel.bench.gates.verdicts import verdict_of
from flywheel.bench.table import FAST, Measure, at_most, told
from trainer.evaluation.decision import Digests
from trainer.evaluation.gates import decide
from trainer.evaluation.policy import GatePolicy, Guard
from trainer.evaluation.scoring import ANCHOR, CANDIDATE, CHAMPION, SuiteScores
from trainer.states import Verdict

STEPS = 20
STEP = -0.005
MARGIN = 0.01  # of a critical guard
ITEMS, ANSWERS = 5_000, 4
CHAINS = 10 if FAST else 200


def decline() -> list[Measure]:
    """True change on the guard after twenty candidates, mean over chains, in points."""
    ends = simulated(_chains, "decline", CHAINS)
    plain, anchored, point = (100 * fmean(end[at] for end in ends) for at in range(3))
    beside = f"champion only {plain:.2f} pp, point rule {point:.2f} pp; {ITEMS:,} items × {ANSWERS}, {CHAINS} chains"
    return [
        told("20 candidates of −0.5 pp, without anchor end at", plain, "pp", f"{STEPS * 100 * STEP:.0f} pp were tried"),
        at_most(
            "20 candidates of −0.5 pp, with anchor: lost of what is lost without",
            anchored / min(plain, -1e-9),
            "×",
            0.8,
            beside,
        ),
    ]


def _chains(rng: np.random.Generator) -> tuple[float, float, float]:
    return _chain(rng, "plain"), _chain(rng, "anchored"), _chain(rng, "point")


def _chain(rng: np.random.Generator, rule: str) -> float:
    """The champion's true change at the end. Every candidate clearly gains on the target and falls on the guard."""
    policy = GatePolicy(target="target", guards=(Guard("guard", margin=MARGIN),))
    level = 0.0
    for _ in range(STEPS):
        items = draws.truth(rng, ITEMS)
        rates = {
            CHAMPION: draws.shifted(items.base_n, level),
            CANDIDATE: draws.candidate_n(items, level + STEP),
            ANCHOR: items.base_n,
        }
        sides = {side: draws.answered(rng, rate_n, ANSWERS) for side, rate_n in rates.items()}
        guard = draws.of_sides("guard", items, sides)
        if _passes(policy, rule, draws.suite(rng, "target", 200, 4, 0.3), guard):
            level += STEP
    return level


def _passes(policy: GatePolicy, rule: str, target: SuiteScores, guard: SuiteScores) -> bool:
    if rule == "point":
        return float(guard.difference_n("score").mean()) > -MARGIN
    if rule == "plain":
        return verdict_of(policy, [target, guard]) is Verdict.PROMOTE
    with_anchor = SuiteScores(
        target.suite, target.keys, target.clusters, target.sources, {**target.sides, ANCHOR: target.sides[CHAMPION]}
    )
    suites = [with_anchor, guard]
    digests = Digests(
        policy.digest(), "champion", "candidate", "simulated", {suite.suite: "" for suite in suites}, anchor="anchor"
    )
    return decide(policy, suites, expected=digests, found=digests).verdict is Verdict.PROMOTE
