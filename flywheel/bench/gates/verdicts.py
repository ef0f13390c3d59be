"""How often the gate is wrong, and how often it sees what it was planned to see, beside what others do."""

from collections import Counter
from functools import partial

import numpy as np

from flywheel.bench.gates import draws, peers
from flywheel.bench.gates.simulate import CANDIDATES, at_most_with_error, error_of, share, simulated
from flywheel.bench.table import Measure, at_most, told
from trainer.evaluation.decision import Digests
from trainer.evaluation.gates import decide
from trainer.evaluation.planning import BIMODAL, items_needed
from trainer.evaluation.policy import GatePolicy, Guard
from trainer.evaluation.scoring import SuiteScores
from trainer.states import Verdict

SIZES = (164, 1_000, 5_000)  # items; the smallest is HumanEval's
MARGIN = 0.02
EFFECTS = (-0.05, -MARGIN, 0.0)
CLEAR = 0.2  # a gain on the target that no gate misses, where the guard is what is asked about
FAR = 400  # items of that target
POWERS = ((0.8, 0.02), (0.8, 0.05), (0.95, 0.02))  # planned power, distance from the threshold
TOLERANCE = 2.0  # points that the power may miss the plan by

Decided = tuple[Verdict, tuple[bool, ...]]  # the verdict, and what each peer's rule says


def verdict_of(policy: GatePolicy, suites: list[SuiteScores]) -> Verdict:
    digests = Digests(policy.digest(), "champion", "candidate", "simulated", {suite.suite: "" for suite in suites})
    decision = decide(policy, suites, expected=digests, found=digests)
    if decision.verdict is Verdict.INVALID:
        raise ValueError(decision.sentence)  # the simulation is wrong, not the candidate
    return decision.verdict


def on_target(n: int, answers: int, effect: float, rng: np.random.Generator) -> Decided:
    """A gate whose only suite is the target."""
    suite = draws.suite(rng, "target", n, answers, effect)
    verdict = verdict_of(GatePolicy(target="target", answers_per_item=answers), [suite])
    return verdict, tuple(rule(suite, 0.0) for rule in peers.RULES.values())


def on_guard(n: int, answers: int, effect: float, rng: np.random.Generator) -> Decided:
    """A target that clearly gains, and a guard with the true effect. A peer says whether its rule passes the guard."""
    target = draws.suite(rng, "target", FAR, 4, CLEAR)
    guard = draws.suite(rng, "guard", n, answers, effect)
    policy = GatePolicy(target="target", guards=(Guard("guard", margin=MARGIN),), answers_per_item=min(answers, 4))
    return verdict_of(policy, [target, guard]), tuple(rule(guard, -MARGIN) for rule in peers.RULES.values())


def false_promotions() -> list[Measure]:
    """At no effect on the target, and at exactly the margin (and beyond) on a guard."""
    measures = []
    for n in SIZES:
        found = simulated(partial(on_target, n, 1, 0.0), f"null-{n}")
        measures.append(_promoted(f"no gain on the target, {n:,} items: promoted", found))
    for n in SIZES:
        for effect in EFFECTS:
            found = simulated(partial(on_guard, n, 1, effect), f"guard-{n}-{effect}")
            name = f"guard {100 * effect:+.0f} pp, {n:,} items: promoted"
            measures.append(_promoted(name, found) if effect <= -MARGIN else _told(name, found))
    return measures


def _promoted(name: str, found: list[Decided]) -> Measure:
    rate = share([verdict is Verdict.PROMOTE for verdict, _ in found])
    return at_most(name, rate, "%", round(at_most_with_error(2.5), 2), _beside(found))


def _told(name: str, found: list[Decided]) -> Measure:
    return told(name, share([verdict is Verdict.PROMOTE for verdict, _ in found]), "%", _beside(found))


def _beside(found: list[Decided]) -> str:
    counts = Counter(verdict for verdict, _ in found)
    held, unsure = (100 * counts[verdict] / len(found) for verdict in (Verdict.HOLD, Verdict.INCONCLUSIVE))
    rules = ", ".join(
        f"{rule} {share([passes[at] for _, passes in found]):.1f} %" for at, rule in enumerate(peers.RULES)
    )
    return f"{rules}; ours holds {held:.1f} %, cannot tell {unsure:.1f} %"


def power() -> list[Measure]:
    """What the planner promises against what happens with as many items as it asks for."""
    measures = []
    for planned, distance in POWERS:
        for answers in (1, 4):
            n = items_needed(BIMODAL.under(distance).variance(answers), distance, power=planned) or 0
            name = f"power {100 * planned:.0f} % for {100 * distance:.0f} pp"
            target = simulated(partial(on_target, n, answers, distance), f"power-{planned}-{distance}-{answers}")
            rate = share([verdict is Verdict.PROMOTE for verdict, _ in target])
            measures.append(_missed(f"{name} of gain, {n:,} items × {answers}", rate, 100 * planned))
    for answers in (1, 4):
        n = items_needed(BIMODAL.variance(answers), MARGIN, power=0.95) or 0
        guard = simulated(partial(on_guard, n, answers, 0.0), f"power-guard-{answers}")
        rate = share([verdict is Verdict.PROMOTE for verdict, _ in guard])
        measures.append(_missed(f"power 95 % of an unchanged guard, {n:,} items × {answers}", rate, 95.0))
    return measures


def _missed(name: str, rate: float, planned: float) -> Measure:
    """Points away from the plan, less the simulation's own error."""
    allowed = round(TOLERANCE + 2 * error_of(planned), 2)
    return at_most(f"{name}: off by", abs(rate - planned), "points", allowed, f"{rate:.1f} % of {CANDIDATES:,}")
