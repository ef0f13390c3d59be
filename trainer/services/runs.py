"""Training runs: start on a mixture or on one dataset, pause, resume, cancel, and the engine's side of them."""

from pathlib import Path
from typing import Any

import msgspec
from django.db import transaction
from django.utils import timezone

from tasks.crash import crash_point
from tasks.errors import Conflict, Invalid
from tasks.graders import registry
from tasks.models import Dataset, DatasetVersion
from tasks.services import datasets
from tasks.services.access import require_role
from tasks.states import Role
from trainer import estimating, presets
from trainer.launchers import protocol
from trainer.models import Line, Mixture, ModelVersion, Recipe, TrainingRun
from trainer.runspec import RunSpec
from trainer.services import lines, recipes, training_data, wake
from trainer.services.launching import path_of
from trainer.states import RUN_ENDED, AliasName, LinePurpose, RunState


class Estimate(msgspec.Struct, frozen=True):
    seconds: float
    steps: int
    rows: int
    spec: RunSpec
    sentence: str


def start(
    line: Line,
    *,
    actor: Any,
    recipe: Recipe | None = None,
    mixture: Mixture | None = None,
    dataset: Dataset | None = None,
    preset: str = "",
    overrides: dict[str, Any] | None = None,
    seed: int | None = None,
    grader: dict[str, Any] | None = None,
    start_from: ModelVersion | None = None,
) -> TrainingRun:
    """Queue a run of the line, from its champion. One source: a recipe (mixed now), a built mixture, or a dataset."""
    require_role(actor, line.team, Role.OPERATOR, *_private_extra(line))
    _require_own_source(line, recipe, mixture, dataset, start_from)
    origin = start_from or _champion(line)
    with transaction.atomic():
        _one_at_a_time(line)
        version: DatasetVersion | None = None
        if dataset is not None:
            version = datasets.freeze(dataset, actor=actor)
        elif recipe is not None:
            mixture = recipes.build(recipe, seed=seed, actor=actor)
        if mixture is not None:
            recipe = mixture.recipe
            preset, overrides = preset or recipe.preset, {**recipe.overrides, **(overrides or {})}
        estimated = _resolve(line, origin, mixture, version, preset or "few-shot", overrides, seed)
        run = TrainingRun.objects.create(
            line=line,
            started_by=actor,
            start=origin,
            mixture=mixture,
            dataset_version=version,
            spec=msgspec.to_builtins(estimated.spec),
            grader=_checked(grader),
            total_steps=estimated.spec.steps,
            estimated_seconds=estimated.seconds,
            notes=[estimated.sentence, *_unmeasured(mixture)],
            state=RunState.VALIDATING,
        )
        TrainingRun.objects.advance(run.pk, RunState.VALIDATING, RunState.QUEUED, actor=actor)
        run.refresh_from_db()
        crash_point("run.before_commit")
        wake.supervisor()
    return run


def train_expert(
    dataset: Dataset,
    *,
    actor: Any,
    preset: str = "few-shot",
    overrides: dict[str, Any] | None = None,
    start_from: ModelVersion | None = None,
    seed: int | None = None,
    grader: dict[str, Any] | None = None,
) -> TrainingRun:
    """Train the team's expert on this dataset. Its line is made on first use and goes on from there afterwards."""
    require_role(actor, dataset.team, Role.CONTRIBUTOR, Role.OPERATOR)
    with transaction.atomic():
        line = Line.objects.filter(dataset=dataset).first()
        if line is None:
            base = start_from or shared_champion()
            line = lines.create_expert(dataset.team, dataset.name, base, actor=actor, dataset=dataset)
        return start(
            line,
            actor=actor,
            dataset=dataset,
            preset=preset,
            overrides=overrides,
            seed=seed,
            grader=grader,
            start_from=start_from or newest(line),
        )


def estimate(dataset: Dataset, *, preset: str = "few-shot", overrides: dict[str, Any] | None = None) -> Estimate:
    """What training an expert on this dataset would take. No row is written."""
    tasks = datasets.approved(dataset)
    rows = training_data.train_tasks(tasks, private=True).count()
    if not rows:
        raise Invalid("nothing_approved", "No task of this dataset is approved yet: there is nothing to train on.")
    validation = training_data.validation_tasks(tasks).count()
    return _estimate(shared_champion(), preset, rows, validation, overrides, seed=None)


@transaction.atomic
def pause(run: TrainingRun, *, actor: Any) -> None:
    """Ask the engine to stop at a usable snapshot. It shows as pausing until the snapshot is there."""
    _may(run, actor)
    if not TrainingRun.objects.advance(run.pk, RunState.RUNNING, RunState.PAUSING, actor=actor):
        raise Conflict("not_running", f"Only a running run can be paused; this one is {run.state}.")
    transaction.on_commit(lambda: _ask(run, "pause"))


@transaction.atomic
def resume(run: TrainingRun, *, actor: Any) -> None:
    _may(run, actor)
    if not TrainingRun.objects.advance(run.pk, RunState.PAUSED, RunState.QUEUED, actor=actor, attempt=run.attempt):
        raise Conflict("not_paused", f"Only a paused run can be resumed; this one is {run.state}.")
    wake.supervisor()


@transaction.atomic
def cancel(run: TrainingRun, *, actor: Any) -> None:
    """End the run now. What it has written stays on its page; nothing is registered."""
    _may(run, actor)
    for state in RunState:
        if state not in RUN_ENDED and TrainingRun.objects.advance(
            run.pk, state, RunState.CANCELLED, actor=actor, finished_at=timezone.now()
        ):
            transaction.on_commit(lambda: _ask(run, "cancel"))
            wake.supervisor()
            return
    raise Conflict("already_ended", f"This run has ended already: it is {run.state}.")


def shared_champion() -> ModelVersion:
    line = lines.shared_line()
    champion = line.alias(AliasName.CHAMPION) if line else None
    if champion is None:
        raise Conflict("no_base", "There is no shared model yet: its base is still being built. Try again in a minute.")
    return champion


def newest(line: Line) -> ModelVersion:
    return line.versions.order_by("-number").first() or _champion(line)


def _champion(line: Line) -> ModelVersion:
    champion = line.alias(AliasName.CHAMPION)
    if champion is None:
        raise Conflict("no_base", f"{line.name} has no version yet: its base is still being built.")
    return champion


def _private_extra(line: Line) -> tuple[Role, ...]:
    return (Role.CONTRIBUTOR,) if line.purpose == LinePurpose.EXPERT else ()


def _may(run: TrainingRun, actor: Any) -> None:
    require_role(actor, run.line.team, Role.OPERATOR, *_private_extra(run.line))


def _require_own_source(
    line: Line,
    recipe: Recipe | None,
    mixture: Mixture | None,
    dataset: Dataset | None,
    start_from: ModelVersion | None,
) -> None:
    """One source, and of this line: another line's mixture would show its rows to this line's team.

    The shared line goes on from its own versions only: an expert may have seen what the shared suites hold.
    """
    if sum(source is not None for source in (recipe, mixture, dataset)) != 1:
        raise Invalid("one_source", "Name one thing to train on: a recipe, a mixture or a dataset.", "recipe")
    mixed = mixture.recipe if mixture is not None else recipe
    if mixed is not None and mixed.line_id != line.pk:
        raise Invalid("other_line", f"The recipe belongs to another line than {line.name}.", "recipe")
    if dataset is not None and line.team_id not in (dataset.space_id, dataset.team_id):
        raise Invalid("other_team", "A line trains on datasets of its own team.", "dataset")
    if start_from is not None and start_from.line_id != line.pk and line.purpose == LinePurpose.SHARED:
        raise Invalid("other_line", f"{line.name} goes on from its own versions only.", "start_from")


def _one_at_a_time(line: Line) -> None:
    """Two requests at once meet at the row lock of the line; the second one sees the first one's run."""
    Line.objects.select_for_update().get(pk=line.pk)
    busy = line.runs.exclude(state__in=[*RUN_ENDED, RunState.PAUSED]).order_by("pk").first()
    if busy is not None:
        raise Conflict("line_busy", f"Run {busy.pk} of {line.name} is {busy.state}: wait for it, pause or cancel it.")


def _checked(grader: dict[str, Any] | None) -> dict[str, Any] | None:
    if grader is not None:
        registry.parse(grader)
    return grader


def _resolve(
    line: Line,
    origin: ModelVersion,
    mixture: Mixture | None,
    version: DatasetVersion | None,
    preset: str,
    overrides: dict[str, Any] | None,
    seed: int | None,
) -> Estimate:
    private = line.purpose == LinePurpose.EXPERT
    tasks = training_data.version_tasks(version)
    rows = mixture.size if mixture else training_data.train_tasks(tasks, private=private).count()
    if not rows:
        raise Invalid("nothing_approved", "No approved task is in the training split: there is nothing to train on.")
    validation = training_data.validation_rows(mixture, version)
    return _estimate(origin, preset, rows, validation, overrides, seed)


def _estimate(
    origin: ModelVersion, preset: str, rows: int, validation: int, overrides: dict[str, Any] | None, seed: int | None
) -> Estimate:
    wanted = {**(overrides or {}), **({} if seed is None else {"seed": seed})}
    spec = presets.resolve(
        preset, rows=rows, parameters=origin.parameters, validation=validation, overrides=wanted
    ).spec
    seconds = estimating.forecast(spec, parameters=origin.parameters).seconds
    sentence = (
        f"{rows:,} tasks, {spec.steps} steps of {spec.prompts_per_step} prompts × {spec.group_size} answers: "
        f"about {_minutes(seconds)}."
    )
    return Estimate(seconds=seconds, steps=spec.steps, rows=rows, spec=spec, sentence=sentence)


def _unmeasured(mixture: Mixture | None) -> list[str]:
    """What the person who starts should know: of how many tasks nobody can say whether they teach."""
    counts = (mixture.by_difficulty if mixture else None) or {}
    if not counts.get("unknown"):
        return []
    band = (mixture.body.get("difficulty") or {}) if mixture else {}
    kept = "train all the same" if band.get("unknown") == "keep" else "are left out"
    words = f"{counts['unknown']:,} tasks have no pass rate for {counts['model'] or 'the champion'} and {kept}"
    return [f"{words}: measure them on the recipe's page first, so that each step teaches more."]


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def _ask(run: TrainingRun, action: Any) -> None:
    """A request by file; the engine looks at each step. Without a directory there is no engine to ask."""
    directory: Path = path_of(run.directory)
    if run.directory and directory.is_dir():
        protocol.ask(directory, action)
