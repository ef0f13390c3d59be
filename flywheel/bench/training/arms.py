"""The trainings that several arms share: the base of a seed, the preset's run, bare TRL."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flywheel.bench.table import FAST
from flywheel.bench.training import jobs, subject
from flywheel.bench.training.jobs import Job, Point, Scored
from flywheel.bench.training.subject import Item
from trainer.contract import TrainSpec, decode_spec
from trainer.runspec import RunSpec

SEEDS = (1,) if FAST else (1, 2, 3, 4, 5)
COMPLETIONS = 128  # a step
START = "start"  # the side of the base, when arms are scored
KEEP_EVERY = 5  # steps between the weights that are scored
BARE_TRL = ("flywheel/bench/training/beside/bare_trl.py",)
PLAIN: dict[str, Any] = {
    "gradient_checkpointing": False,
    "lr_scheduler_type": "constant",
}  # suits a tiny model


def bases(seeds: Sequence[int], **how: Any) -> dict[int, str]:
    """Seed → path of its base."""
    name = "-".join(["base/base", *(f"{key}-{value}" for key, value in how.items())])
    made = jobs.perform(
        [Job(f"{name}-{seed}", subject.base(seed, **how), jobs.engine, jobs.BASE) for seed in seeds], at_once=2
    )
    return {seed: str(directory / "model") for seed, directory in zip(seeds, made, strict=True)}


def ours(name: str, recipe: RunSpec, model: str, **how: Any) -> Job:
    """A run of the engine whose weights are kept every few steps."""
    return Job(name, subject.training(recipe, model, **how), partial(jobs.engine, meanwhile=jobs.keeper(KEEP_EVERY)))


def trl(name: str, model: str, seed: int, rows: Sequence[Item] | None = None, **grpo: Any) -> Job:
    """Bare TRL at our batch, on the same prompts in the same order."""
    settings = {
        "model": model,
        "keep_every": KEEP_EVERY,
        "grpo": {
            "per_device_train_batch_size": COMPLETIONS,
            "max_completion_length": 48,
            "shuffle_dataset": False,
            "seed": seed,
            **grpo,
        },
    }
    rows = subject.items(seed, subject.ROWS, subject.TRAINING) if rows is None else rows
    files = {"settings.json": json.dumps(settings).encode(), "train.jsonl": subject.lines(rows)}
    return Job(name, files, partial(jobs.script, "bare_trl.py"), BARE_TRL)


@dataclass(frozen=True, slots=True)
class Curve:
    """A training's cost and its held-out pass rate, at the start and wherever weights were kept."""

    points: list[Point]
    pass_rates: list[float]

    @property
    def best(self) -> float:
        return max(self.pass_rates)

    @property
    def gain(self) -> float:
        return self.pass_rates[-1] - self.pass_rates[0]

    def rows(self, **labels: Any) -> list[Mapping[str, Any]]:
        return [
            {
                **labels,
                "step": point.step,
                "completions": point.completions,
                "seconds": round(point.seconds, 3),
                "cpu_seconds": round(point.cpu_seconds, 3),
                "pass_rate": rate,
            }
            for point, rate in zip(self.points, self.pass_rates, strict=True)
        ]


Trained = dict[tuple[str, int], Path]  # (arm, seed) → directory of a training
Curves = dict[tuple[str, int], Curve]


def curves(name: str, trained: Trained, models: Mapping[int, str]) -> Curves:
    """Score what was kept of every training, after the trainings: a process a seed, one noise for all its weights."""
    asked = [_scoring(f"scores/{name}-{seed}", seed, trained, model) for seed, model in models.items()]
    scored = dict(zip(models, map(jobs.scores, jobs.perform(asked, at_once=2)), strict=True))
    return {(arm, seed): _curve(directory, arm, scored[seed]) for (arm, seed), directory in trained.items()}


def _scoring(name: str, seed: int, trained: Trained, model: str) -> Job:
    sides = {START: model}
    for (arm, of_seed), directory in trained.items():
        if of_seed == seed:
            sides |= {f"{arm}/{step}": path for step, path in jobs.kept(directory).items()}
    return jobs.engine_job(name, subject.scoring(sides))


def _curve(directory: Path, arm: str, scored: Mapping[str, Scored]) -> Curve:
    names = {point.step: f"{arm}/{point.step}" if point.step else START for point in points_of(directory)}
    points = [point for point in points_of(directory) if names[point.step] in scored]
    return Curve(points, [scored[names[point.step]].pass_rate for point in points])


def points_of(directory: Path) -> list[Point]:
    if (directory / "steps.jsonl").is_file():
        return jobs.trained_beside(directory)
    return jobs.trained_by_us(directory, recipe_of(directory).group_size)


def recipe_of(directory: Path) -> RunSpec:
    spec = decode_spec((directory / "spec.json").read_bytes())
    assert isinstance(spec, TrainSpec)
    return spec.recipe
