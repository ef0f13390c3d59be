"""Bases whose demonstrations are all right, merely short of steps or data: what was tried, what rewards win there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from flywheel.bench.table import FAST, Measure, told
from flywheel.bench.training import arms, intervals, jobs, subject
from flywheel.bench.training.arms import KEEP_EVERY, PLAIN, Curve

SEEDS = (1,) if FAST else (1, 2)
SHARE = 0.75  # of our gain: where completions are compared
PEER_RATES = (2e-4, 3e-4)  # of TRL; the better one of each seed counts
PEER_STEPS = 120


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    base: Mapping[str, Any]
    recipe: Mapping[str, Any] = field(default_factory=dict)


SETTINGS = (
    Setting("150 steps", {"steps": 150}),
    Setting("150 steps, half the learning rate", {"steps": 150}, {"learning_rate": 1.5e-4}),
    Setting("250 steps", {"steps": 250}),
    Setting("3,000 demonstrations", {"count": 3_000}),
    Setting("3,000 demonstrations, KL penalty 0.01", {"count": 3_000}, {"beta": 0.01}),
)

BySeed = dict[int, Curve]


def clean() -> list[Measure]:
    found = {setting.name: _curves(setting) for setting in (SETTINGS[:1] if FAST else SETTINGS)}
    jobs.record("clean", [row for n, cs in found.items() for seed, c in cs.items() for row in c.rows(arm=n, seed=seed)])
    measures = []
    for name, curves in found.items():
        start = fmean(100 * curve.pass_rates[0] for curve in curves.values())
        gain = intervals.mean([100 * curve.gain for curve in curves.values()])
        measures.append(told(f"unflawed base of {name}: gain", gain.value, "pp", f"from {start:.0f} %; {gain}"))
    best = max(SETTINGS[: len(found)], key=lambda setting: fmean(curve.gain for curve in found[setting.name].values()))
    return measures + ([] if FAST else _beside(best, found[best.name]))


def _models(setting: Setting) -> dict[int, str]:
    return arms.bases(SEEDS, flawed=False, **setting.base)


def _curves(setting: Setting) -> BySeed:
    models, planned = _models(setting), []
    how = {**setting.recipe, "save_every": KEEP_EVERY, "measure_every": 1000, **({"steps": 5} if FAST else {})}
    for seed in SEEDS:
        recipe = subject.recipe("flywheel", seed, validation=0, **how)
        planned.append(arms.ours(f"clean/{_slug(setting)}-{seed}", recipe, models[seed], validation=0))
    return _scored(_slug(setting), planned, models)


def _scored(name: str, planned: Sequence[jobs.Job], models: Mapping[int, str]) -> BySeed:
    trained = zip(SEEDS, jobs.perform(planned, at_once=2), strict=True)
    curves = arms.curves(f"clean-{name}", {(name, seed): directory for seed, directory in trained}, models)
    return {seed: curve for (_, seed), curve in curves.items()}


def _slug(setting: Setting) -> str:
    return setting.name.replace(" ", "-").replace(",", "")


def _beside(setting: Setting, ours: BySeed) -> list[Measure]:
    """Completions until three quarters of our gain are won, beside TRL's on the same bases."""
    costs = [_cost(ours[seed], ours[seed]) for seed in SEEDS]
    if min(curve.gain for curve in ours.values()) <= 0 or None in costs:
        return []
    by_rate = [_trl(setting, rate) for rate in PEER_RATES]
    ratio = intervals.mean_ratio(
        [cost for cost in costs if cost is not None],
        [min(_cost(c[seed], ours[seed]) or c[seed].points[-1].completions for c in by_rate) for seed in SEEDS],
    )
    best = fmean(max(100 * curves[seed].best for curves in by_rate) for seed in SEEDS)
    name = f"unflawed base of {setting.name}: completions to {SHARE:.0%} of our gain, ratio"
    beside = f"TRL, 4 answers, better of {len(PEER_RATES)} rates, at best {best:.0f} %; {ratio}"
    return [told(name, ratio.value, "×", beside)]


def _trl(setting: Setting, rate: float) -> BySeed:
    models, name = _models(setting), f"{_slug(setting)}-trl-{rate:g}"
    how = PLAIN | {"learning_rate": rate, "num_generations": 4, "max_steps": PEER_STEPS}
    return _scored(name, [arms.trl(f"clean/{name}-{seed}", models[seed], seed, **how) for seed in SEEDS], models)


def _cost(curve: Curve, ours: Curve) -> float | None:
    target = ours.pass_rates[0] + SHARE * ours.gain
    return intervals.reached([point.completions for point in curve.points], curve.pass_rates, target)
