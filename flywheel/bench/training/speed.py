"""What it costs to stand at a held-out pass rate, beside TRL at the best of five learning rates and TRL as it comes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from flywheel.bench.table import FAST, Measure, at_least, at_most, told
from flywheel.bench.training import arms, intervals, jobs, subject
from flywheel.bench.training.arms import KEEP_EVERY, PLAIN, SEEDS, Curve, Curves

TARGET, OTHERS = 0.75, (0.65, 0.80)  # of the answers; fixed before the first run
RATIO = 0.6
RATES = (1e-4, 2e-4, 3e-4, 5e-4, 1e-3)
GROUPS = (8, 4)  # answers to a prompt: TRL's default, and ours
STEPS = 5 if FAST else 120  # of TRL; the preset says how many are ours
DEFAULT_STEPS = 60
COSTS = {"completions": "completions drawn", "cpu_seconds": "CPU seconds", "seconds": "wall seconds"}
DEFAULTS = "TRL's defaults"


def speed() -> list[Measure]:
    models = arms.bases(SEEDS)
    searches = [] if FAST else [_search(group, models[1]) for group in GROUPS]
    rates = {search.group: search.best for search in searches} or {GROUPS[0]: RATES[-1]}
    found = arms.curves("speed", _trained(models, rates), models)
    jobs.record("speed", [row for (arm, seed), curve in found.items() for row in curve.rows(arm=arm, seed=seed)])
    return [
        *(measure for search in searches for measure in search.measures()),
        *_costs(found, [TARGET, *OTHERS]),
        *_ratios(found),
        *_defaults(found),
    ]


# -- the peer's search -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Search:
    """TRL at every rate on the first seed."""

    group: int
    curves: Mapping[float, Curve]

    @property
    def best(self) -> float:
        """The rate that reaches the target with the fewest completions; where none does, the one that comes nearest."""

        def rank(rate: float) -> tuple[float, float]:
            cost = _cost(self.curves[rate], "completions", TARGET)
            return (float("inf") if cost is None else cost), -self.curves[rate].best

        return min(self.curves, key=rank)

    def measures(self) -> list[Measure]:
        spent = sum(curve.points[-1].cpu_seconds for curve in self.curves.values())
        arm = f"TRL, {self.group} answers"
        tried = ", ".join(f"{rate:g}: {100 * curve.best:.0f} %" for rate, curve in self.curves.items())
        return [
            told(f"{arm}: best learning rate of {len(self.curves)}", self.best, "", f"best pass rate of {tried}"),
            told(f"{arm}: cost of that search", spent, "CPU s"),
        ]


def _search(group: int, model: str) -> Search:
    """Two at a time, because only completions decide; the best one's run is made again alone, for its time."""
    trained = jobs.perform([_trl(f"speed/search-{group}-{rate:g}", model, 1, group, rate) for rate in RATES], at_once=2)
    by_name = {(f"{rate:g}", 1): directory for rate, directory in zip(RATES, trained, strict=True)}
    curves = arms.curves(f"search-{group}", by_name, {1: model})
    jobs.record(
        f"search-{group}", [row for (rate, _), curve in curves.items() for row in curve.rows(rate=rate, seed=1)]
    )
    return Search(group, dict(zip(RATES, curves.values(), strict=True)))


def _trl(name: str, model: str, seed: int, group: int, rate: float) -> jobs.Job:
    return arms.trl(name, model, seed, num_generations=group, learning_rate=rate, max_steps=STEPS, **PLAIN)


# -- the arms ----------------------------------------------------------------------------------------------------------


def _trained(models: Mapping[int, str], rates: Mapping[int, float]) -> arms.Trained:
    """One process at a time, seed by seed: their times are compared."""
    planned = {}
    for seed, model in models.items():
        planned["ours", seed] = _ours(seed, model)
        for group, rate in rates.items():
            planned[f"TRL, {group} answers", seed] = _trl(f"speed/trl-{group}-{seed}", model, seed, group, rate)
    trained = dict(zip(planned, jobs.perform(list(planned.values())), strict=True))
    return trained if FAST else trained | _by_default(models)


def _by_default(models: Mapping[int, str]) -> arms.Trained:
    """Two at a time: they arrive nowhere, so that no time is compared."""
    planned = [
        arms.trl(f"speed/defaults-{seed}", model, seed, max_steps=DEFAULT_STEPS) for seed, model in models.items()
    ]
    trained = jobs.perform(planned, at_once=2)
    return {(DEFAULTS, seed): directory for seed, directory in zip(models, trained, strict=True)}


def _ours(seed: int, model: str) -> jobs.Job:
    """The preset as it is; it measures nothing in between, and keeps its weights as often as the peer."""
    fast = {"steps": STEPS} if FAST else {}
    recipe = subject.recipe("flywheel", seed, validation=0, save_every=KEEP_EVERY, measure_every=1000, **fast)
    return arms.ours(f"speed/ours-{seed}", recipe, model, validation=0)


def _cost(curve: Curve, unit: str, target: float) -> float | None:
    return intervals.reached([getattr(point, unit) for point in curve.points], curve.pass_rates, target)


def _costs(found: Curves, targets: Sequence[float]) -> list[Measure]:
    """What each arm spent until it stood at each rate; a seed that never did is left out and counted."""
    measures = []
    for target in targets:
        for arm in dict.fromkeys(arm for arm, _ in found if arm != DEFAULTS):
            curves = [curve for (name, _), curve in found.items() if name == arm]
            for unit, called in COSTS.items():
                spent = [cost for curve in curves if (cost := _cost(curve, unit, target)) is not None]
                seeds = f"{len(spent)} of {len(curves)} seeds reached it"
                if spent:
                    mean = intervals.mean(spent)
                    measures.append(told(f"{called} to {target:.0%}, {arm}", mean.value, "", f"{seeds}; {mean}"))
                elif unit == "completions":
                    best = fmean(curve.best for curve in curves)
                    measures.append(told(f"best rate of {arm}: never at {target:.0%}", 100 * best, "%", seeds))
    return measures


def _ratios(found: Curves) -> list[Measure]:
    """Ours by the peer's, seed by seed. A peer that does not arrive counts with all that it spent, in its favour."""
    measures = []
    for arm in dict.fromkeys(arm for arm, _ in found if arm.startswith("TRL, ")):
        for unit, called in COSTS.items():
            name = f"{called} to {TARGET:.0%}: ours by {arm}'s"
            costs = [
                (_cost(found["ours", seed], unit, TARGET), _cost(found[arm, seed], unit, TARGET)) for seed in SEEDS
            ]
            ours = [cost for cost, _ in costs if cost is not None]
            if len(ours) < len(SEEDS):
                measures.append(at_least(f"{name}: ours that arrived", len(ours), "runs", len(SEEDS), arm))
                continue
            spent = [getattr(found[arm, seed].points[-1], unit) for seed in SEEDS]
            missed = sum(cost is None for _, cost in costs)
            late = f"; {missed} of TRL's not within {STEPS} steps, counted as if they were" if missed else ""
            theirs = [whole if cost is None else cost for (_, cost), whole in zip(costs, spent, strict=True)]
            ratio = intervals.mean_ratio(ours, theirs)
            measures.append(at_most(name, ratio.value, "×", RATIO, f"best rate of {len(RATES)}; {ratio}{late}"))
    return measures


def _defaults(found: Curves) -> list[Measure]:
    gains = [100 * (curve.pass_rates[-1] - curve.pass_rates[0]) for (arm, _), curve in found.items() if arm == DEFAULTS]
    if not gains:
        return []
    mean = intervals.mean(gains)
    return [told(f"gain of {DEFAULTS} in {DEFAULT_STEPS} steps (rate 1e-6, linear decay)", mean.value, "pp", str(mean))]
