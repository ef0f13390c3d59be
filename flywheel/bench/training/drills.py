"""Collapse on purpose: what the guard sees and does, and what becomes of the same run without it.

The thresholds are trainer/alarms.py. A drill counts as caught where an alarm that fits its cause rolled the run back or
ended it. A run that goes on ends within two points of the healthy run of its seed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, variance
from typing import Any

import msgspec

from flywheel.bench.table import FAST, Measure, at_least, at_most, told
from flywheel.bench.training import arms, jobs, subject
from flywheel.bench.training.arms import SEEDS, START
from flywheel.bench.training.jobs import Do, Job
from flywheel.bench.training.subject import Item
from trainer.contract import Alarm, Result

HEALTHY_SEEDS = range(1, 2 if FAST else 21)
ALONE_STEPS = 30  # of an unguarded run whose fault is there from the start: it needs no more to show what it does
WITHIN = 2.0  # percentage points
SCORED, ANSWERS = (60, 2) if FAST else (1_200, 4)  # held-out items, answers to each: two points are small
FLIPPED_FROM, FLIPPED_STEPS = 20, 20  # the sign is wrong for so many steps after this one
TOO_FAR = {"not_finite", "entropy_low", "entropy_high", "gradient_norm", "kl", "clipped", "truncated", "length"}
LOST = {"reward_lost", "below_start", "below_best"}
# A program: the declarative graders give an empty answer 0 whatever they look for.
ALWAYS_RIGHT = {"type": "python", "source": "def grade(sample, item):\n    return 1.0\n"}


@dataclass(frozen=True, slots=True)
class Drill:
    name: str
    fitting: frozenset[str]  # kinds of alarm that name the cause
    recipe: Mapping[str, Any]
    grader: dict[str, Any] | None = None
    flipped: bool = False


DRILLS = (
    Drill("learning rate × 30", frozenset(TOO_FAR | LOST), {"learning_rate": 30 * 3e-4}),
    Drill("reward sign flipped for 20 steps", frozenset(LOST), {}, flipped=True),
    Drill("grader that always says 1", frozenset({"zero_spread"}), {}, grader=ALWAYS_RIGHT),
    Drill("temperature 3", frozenset({"sampling_noise", "truncated", "entropy_high"}), {"temperature": 3.0}),
)


def drills() -> list[Measure]:
    models = arms.bases(SEEDS)
    chosen = DRILLS[2:3] if FAST else DRILLS
    plan = {("healthy", seed, True): _healthy(seed, models[base_of(seed)]) for seed in HEALTHY_SEEDS}
    for drill in chosen:
        for seed in SEEDS:
            for guard in (True,) if FAST else (True, False):
                plan[drill.name, seed, guard] = _drilled(drill, seed, models[seed], guard)
    found = dict(zip(plan, map(_ran, jobs.perform(list(plan.values()), at_once=2)), strict=True))
    rates = _pass_rates(found, models)
    jobs.record("drills", [_row(key, ran, rates.get(key)) for key, ran in found.items()])
    return [*_of_the_healthy(found, rates), *(m for drill in chosen for m in _measures(drill, found, rates))]


Key = tuple[str, int, bool]  # (drill, seed, guarded)


@dataclass(frozen=True, slots=True)
class Ran:
    directory: Path
    result: Result
    alarms: list[Alarm]

    @property
    def acted(self) -> list[Alarm]:
        """Alarms that rolled the run back or ended it."""
        return [alarm for alarm in self.alarms if alarm.action != "none"]

    @property
    def stopped(self) -> bool:
        return self.result.status == "failed" or (self.result.ending is not None and self.result.ending.code == "alarm")

    @property
    def last_weights(self) -> str | None:
        """What the run would have ended with, had nobody looked at validation."""
        newest = max((self.directory / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]), default=None)
        return str(newest) if newest else None

    @property
    def published(self) -> str | None:
        """Its best weights; None: it was ended before any checkpoint, so that its line keeps what it has."""
        return str(self.directory / "model") if (self.directory / "model").is_dir() else None


def _ran(directory: Path) -> Ran:
    path = directory / "alarms.jsonl"
    lines = path.read_bytes().splitlines() if path.is_file() else []
    return Ran(directory, jobs.result_of(directory), [msgspec.json.decode(line, type=Alarm) for line in lines])


# -- the runs ----------------------------------------------------------------------------------------------------------


def _steps() -> dict[str, int]:
    return {"steps": 3} if FAST else {}


def _healthy(seed: int, model: str) -> Job:
    return jobs.engine_job(
        f"drills/healthy-{seed}", subject.training(subject.recipe("flywheel", seed, **_steps()), model)
    )


def _drilled(drill: Drill, seed: int, model: str, guard: bool) -> Job:
    steps = {} if guard or drill.flipped else {"steps": ALONE_STEPS}
    recipe = subject.recipe("flywheel", seed, **(_steps() | steps | {"guard": guard} | dict(drill.recipe)))
    files = subject.training(recipe, model, grader=drill.grader)
    if drill.flipped:
        files["flipped.jsonl"] = subject.lines(map(flipped, subject.items(seed, subject.ROWS, subject.TRAINING)))
    do: Do = _with_flipped_sign if drill.flipped else partial(jobs.engine, may_fail=True)
    name = drill.name.replace(" ", "-").replace("×", "x")
    return Job(f"drills/{name}-{'guarded' if guard else 'alone'}-{seed}", files, do)


def flipped(item: Item) -> Item:
    """The same task with a grader that gives 1 for what earns 0."""
    grader = {"type": "multi", "graders": {"right": item["grader"]}, "calculate_output": "1 - right"}
    return {**item, "grader": grader}


def _with_flipped_sign(directory: Path) -> None:
    """A fault in time: three attempts, the middle one of 20 steps with graders that say the opposite.

    A run that goes back meets the right graders again, as it would where somebody has repaired them meanwhile.
    """
    spec, right = (directory / "spec.json").read_bytes(), (directory / "train.jsonl").read_bytes()
    wrong = (directory / "flipped.jsonl").read_bytes()

    def enough(directory: Path) -> None:
        drawn = sum(line.attempt == 2 for line in jobs.metrics(directory))
        if drawn >= FLIPPED_STEPS and not (directory / "result.json").is_file():
            jobs.stop(directory)

    last = FLIPPED_FROM + FLIPPED_STEPS
    turns: Sequence[tuple[bytes, int, Callable[[Path], None] | None]] = (
        (right, FLIPPED_FROM, None),
        (wrong, last, enough),
        (right, 0, None),
    )
    for attempt, (rows, max_steps, meanwhile) in enumerate(turns, start=1):
        (directory / "train.jsonl").write_bytes(rows)
        (directory / "spec.json").write_bytes(subject.replaced(spec, attempt=attempt, max_steps=max_steps))
        jobs.engine(directory, meanwhile=meanwhile, may_fail=True)
        if jobs.result_of(directory).status in ("succeeded", "failed"):
            return


# -- what became of them -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rates:
    """Held-out pass rates, in %."""

    start: float
    published: float
    last: float


def base_of(seed: int) -> int:
    """The seed of the base that a run of this seed starts from: there are as many bases as seeds of the drills."""
    return (seed - 1) % len(SEEDS) + 1


def _pass_rates(found: Mapping[Key, Ran], models: Mapping[int, str]) -> dict[Key, Rates]:
    """One process a base, with one noise for all that was trained on it."""
    asked = []
    for base, model in models.items():
        named = {START: model}
        for key, ran in found.items():
            if base_of(key[1]) == base:
                named[_side(key, "published")] = ran.published or model
                named[_side(key, "last")] = ran.last_weights or model
        files = subject.scoring(named, answers=ANSWERS, count=SCORED)
        asked.append(jobs.engine_job(f"scores/drills-{base}", files))
    scored = dict(zip(models, map(jobs.scores, jobs.perform(asked, at_once=2)), strict=True))
    return {
        key: Rates(
            *(
                100 * scored[base_of(key[1])][side].pass_rate
                for side in (START, _side(key, "published"), _side(key, "last"))
            )
        )
        for key in found
    }


def _side(key: Key, which: str) -> str:
    name, seed, guard = key
    return f"{name}/{seed}/{'guarded' if guard else 'alone'}/{which}"


def _of_the_healthy(found: Mapping[Key, Ran], rates: Mapping[Key, Rates]) -> list[Measure]:
    runs = [ran for (name, _, _), ran in found.items() if name == "healthy"]
    stops = sum(any(alarm.level == "stop" for alarm in ran.alarms) or ran.stopped for ran in runs)
    warnings = [alarm for ran in runs for alarm in ran.alarms if alarm.level == "warn"]
    kinds = ", ".join(f"{kind} {sum(a.kind == kind for a in warnings)}" for kind in sorted({a.kind for a in warnings}))
    ends = [rate.published for (name, _, _), rate in rates.items() if name == "healthy"]
    return [
        at_most(f"healthy runs that raise a stop, of {len(runs)}", stops, "runs", 0),
        told("warnings of a healthy run", len(warnings) / len(runs), "warnings", kinds),
        told("healthy runs end at", fmean(ends), "%", _all(ends)),
        told("healthy runs of one base differ by (standard deviation)", _spread(rates), "pp", "of what they publish"),
    ]


def _spread(rates: Mapping[Key, Rates]) -> float:
    """Within bases: what two runs that differ in their seed alone are apart."""
    by_base: dict[int, list[float]] = {}
    for (name, seed, _), rate in rates.items():
        if name == "healthy":
            by_base.setdefault(base_of(seed), []).append(rate.published)
    return fmean(variance(ends) if len(ends) > 1 else 0.0 for ends in by_base.values()) ** 0.5


def _healthy_of(base: int, rates: Mapping[Key, Rates]) -> float:
    """The mean over the healthy runs of a base."""
    return fmean(
        rate.published for (name, seed, _), rate in rates.items() if name == "healthy" and base_of(seed) == base
    )


def _measures(drill: Drill, found: Mapping[Key, Ran], rates: Mapping[Key, Rates]) -> list[Measure]:
    guarded = {seed: found[drill.name, seed, True] for seed in SEEDS}
    caught = [ran for ran in guarded.values() if any(alarm.kind in drill.fitting for alarm in ran.acted)]
    measures = [
        at_least(
            f"{drill.name}: caught by a fitting alarm, of {len(SEEDS)}", len(caught), "runs", len(SEEDS), _told(guarded)
        ),
    ]
    on = [seed for seed, ran in guarded.items() if not ran.stopped]
    if on:
        short = [rates["healthy", seed, True].published - rates[drill.name, seed, True].published for seed in on]
        name = f"{drill.name}: below the healthy run, worst of the {len(on)} that went on"
        measures.append(at_most(name, max(short), "pp", WITHIN, _all(short)))
        usual = [_healthy_of(seed, rates) - rates[drill.name, seed, True].published for seed in on]
        measures.append(
            told(f"{drill.name}: below the mean of the healthy runs of its base", max(usual), "pp", _all(usual))
        )
    kept = [rates[drill.name, seed, True].published for seed in SEEDS]
    measures.append(told(f"{drill.name}: weights that the guarded runs publish", fmean(kept), "%", _all(kept)))
    alone = [rates[drill.name, seed, False].last for seed in SEEDS if (drill.name, seed, False) in rates]
    if alone:
        starts = [rates[drill.name, seed, False].start for seed in SEEDS]
        beside = f"{_all(alone)}; starts at {fmean(starts):.0f} %"
        measures.append(told(f"{drill.name}: without guard ends at", fmean(alone), "%", beside))
    return measures


def _told(runs: Mapping[int, Ran]) -> str:
    """Seed by seed: what was done at which step because of which alarm."""
    return "; ".join(
        f"{seed}: " + (", ".join(f"{a.kind} {a.action} at {a.step}" for a in ran.acted) or "nothing")
        for seed, ran in runs.items()
    )


def _all(values: Sequence[float]) -> str:
    return "seed by seed " + ", ".join(f"{value:.1f}" for value in values)


def _row(key: Key, ran: Ran, rates: Rates | None) -> dict[str, Any]:
    name, seed, guard = key
    return {
        "drill": name,
        "seed": seed,
        "guard": guard,
        "status": ran.result.status,
        "ending": ran.result.ending.sentence if ran.result.ending else None,
        "error": ran.result.error.sentence if ran.result.error else None,
        "kept_step": ran.result.kept_step,
        "step": ran.result.step,
        "alarms": [msgspec.to_builtins(alarm) for alarm in ran.alarms],
        "start": rates.start if rates else None,
        "published": rates.published if rates else None,
        "last": rates.last if rates else None,
    }
