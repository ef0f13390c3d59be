"""Training runs: estimate, start on a mixture or on one dataset, clone, pause, resume, cancel."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from tasks.crash import crash_point
from tasks.errors import Conflict, Invalid
from tasks.graders import registry
from tasks.models import Dataset, DatasetVersion
from tasks.models.events import Subject, record
from tasks.services import datasets, pool, sealing
from tasks.services.access import require_role
from tasks.states import Role, Split
from trainer import estimating, presets
from trainer.launchers import protocol
from trainer.models import Line, Mixture, ModelVersion, Recipe, TrainingRun
from trainer.runspec import RunSpec
from trainer.services import lines, pace, recipes, training_data, usage, validation_evals, wake
from trainer.services.launching import path_of
from trainer.states import RUN_ENDED, AliasName, LinePurpose, RunState

BUDGETS = {"max_steps": "budget_steps", "max_minutes": "budget_minutes", "max_tokens": "budget_tokens"}  # → ending


class Estimate(msgspec.Struct, frozen=True):
    """What a run would do and take. `seconds` are the engine's; waiting for one is not in them."""

    seconds: float
    tokens: int
    steps: int
    rows: int
    spec: RunSpec
    reasons: Mapping[str, str]  # by knob, of those that were decided for the caller
    runs: int  # earlier runs that the pace was measured on
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
    second_grader: dict[str, Any] | None = None,
    start_from: ModelVersion | None = None,
) -> TrainingRun:
    """Queue a run of the line, from its champion or from `start_from`. One source: a recipe (mixed now), a built
    mixture, or a dataset."""
    require_role(actor, line.team, Role.OPERATOR, *_private_extra(line))
    usage.require_left(line.team)
    _require_own_source(line, recipe, mixture, dataset, start_from)
    origin = start_from or _champion(line)
    with transaction.atomic():
        _one_at_a_time(line)
        version: DatasetVersion | None = None
        if dataset is not None:
            sealing.lock_splits(line.team_id)
            version = datasets.freeze(dataset, actor=actor)
        elif recipe is not None:
            mixture = recipes.build(recipe, seed=seed, actor=actor)
        if mixture is not None:
            recipe = mixture.recipe
            preset, overrides = preset or recipe.preset, {**recipe.overrides, **(overrides or {})}
        estimated = _resolve(line, origin, mixture, version, preset or "few-shot", overrides, seed)
        return _queue(
            estimated,
            actor=actor,
            notes=_unmeasured(mixture),
            line=line,
            start=origin,
            mixture=mixture,
            dataset_version=version,
            grader=_checked(grader),
            second_grader=_checked(second_grader),
        )


def clone(
    run: TrainingRun, *, actor: Any, overrides: dict[str, Any] | None = None, seed: int | None = None
) -> TrainingRun:
    """Queue the run once more: the same frozen rows, the same start, the same settings but for the overrides."""
    _may(run, actor)
    usage.require_left(run.line.team)
    changes = {**(overrides or {}), **({} if seed is None else {"seed": seed})}
    settings = {**{name: value for name, value in run.spec.items() if name != "preset"}, **changes}
    if run.mixture_id is None and run.dataset_version_id is None:
        raise Conflict("not_validated", f"Run {run.pk} has not read its file: start another one on the file instead.")
    with transaction.atomic():
        preset = run.spec.get("preset", RunSpec().preset)
        if run.is_whole:
            rows, beside = (training_data.whole(of).count() for of in (run.dataset_version, run.validation_version))
            estimated = _estimate(run.start, preset, rows, beside, settings, None)
        else:
            _one_at_a_time(run.line)
            estimated = _resolve(run.line, run.start, run.mixture, run.dataset_version, preset, settings, None)
        inherited = {name: why for name, why in run.reasons.items() if name not in changes}
        made = _queue(
            msgspec.structs.replace(estimated, reasons=inherited | dict(estimated.reasons)),
            actor=actor,
            notes=[f"Cloned from run {run.pk}{_differing(run.spec, estimated.spec)}."],
            line=run.line,
            start=run.start,
            mixture=run.mixture,
            dataset_version=run.dataset_version,
            grader=run.grader,
            second_grader=run.second_grader,
            response_format=run.response_format,
            training_file=run.training_file,
            validation_file=run.validation_file,
            validation_version=run.validation_version,
            suffix=run.suffix,
            asked={"echo": run.asked["echo"]} if "echo" in run.asked else {},
            cloned_from=run,
        )
        if made.validation_file is not None:
            validation_evals.begin(made, actor=actor)
    return made


def _differing(old: Mapping[str, Any], spec: RunSpec) -> str:
    new = msgspec.to_builtins(spec)
    told = [f"{name} {new[name]} (was {old[name]})" for name in new if name in old and new[name] != old[name]]
    return f" with {', '.join(told)}" if told else ""


def _queue(estimated: Estimate, *, actor: Any, notes: Iterable[str], **source: Any) -> TrainingRun:
    run = TrainingRun.objects.create(
        started_by=actor,
        spec=msgspec.to_builtins(estimated.spec),
        reasons=dict(estimated.reasons),
        total_steps=estimated.spec.steps,
        estimated_seconds=estimated.seconds,
        estimated_tokens=estimated.tokens,
        notes=[estimated.sentence, *notes],
        state=RunState.VALIDATING,
        **source,
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
    second_grader: dict[str, Any] | None = None,
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
            second_grader=second_grader,
            start_from=start_from or newest(line),
        )


def estimate(
    dataset: Dataset,
    *,
    preset: str = "few-shot",
    overrides: dict[str, Any] | None = None,
    start_from: ModelVersion | None = None,
) -> Estimate:
    """What training an expert on this dataset would take. No row is written."""
    tasks = datasets.approved(dataset)
    rows = training_data.train_tasks(tasks, private=True).count()
    if not rows:
        raise Invalid("nothing_approved", "No task of this dataset is approved yet: there is nothing to train on.")
    validation = training_data.validation_tasks(tasks).count()
    line = Line.objects.filter(dataset=dataset).first()
    origin = start_from or (newest(line) if line else shared_champion())
    return _estimate(origin, preset, rows, validation, overrides, seed=None)


def estimate_recipe(
    recipe: Recipe,
    rows: int,
    *,
    preset: str = "",
    overrides: dict[str, Any] | None = None,
    start_from: ModelVersion | None = None,
) -> Estimate:
    """What a run on a mixture of this many rows would take; see recipes.preview. No row is written."""
    validation = pool.approved_tasks(recipe.line.team, Split.VALIDATION).count()
    wanted = {**recipe.overrides, **(overrides or {})}
    return _estimate(start_from or _champion(recipe.line), preset or recipe.preset, rows, validation, wanted, None)


def origins(line: Line | None, dataset: Dataset | None = None) -> Any:
    """Versions that a run of the line may start from, newest first. A dataset without a line yet: its expert's."""
    if line is not None and line.purpose == LinePurpose.SHARED:
        rows = line.versions.all()
    else:
        team = line.team_id if line is not None else dataset.team_id if dataset is not None else None
        rows = ModelVersion.objects.filter(Q(line__purpose=LinePurpose.SHARED) | Q(line__team=team))
    return rows.without_controls().select_related("line").order_by("-pk")


@transaction.atomic
def pause(run: TrainingRun, *, actor: Any) -> None:
    """Ask the engine to stop at a usable snapshot. It shows as pausing until the snapshot is there."""
    _may(run, actor)
    if not TrainingRun.objects.advance(run.pk, RunState.RUNNING, RunState.PAUSING, actor=actor):
        raise Conflict("not_running", f"Only a running run can be paused; this one is {run.state}.")
    transaction.on_commit(lambda: _ask(run, "pause"))


@transaction.atomic
def resume(run: TrainingRun, *, actor: Any, budgets: Mapping[str, Any] | None = None) -> None:
    """Go on from the snapshot. What a budget paused needs another budget: `budgets` by knob, 0 for no limit."""
    _may(run, actor)
    usage.require_left(run.line.team)
    if not run.is_whole:
        _one_at_a_time(run.line)
    run = TrainingRun.objects.select_for_update(of=("self",)).get(pk=run.pk)
    if run.state == RunState.PAUSED:
        _give(run, budgets or {}, actor)
    if not TrainingRun.objects.advance(
        run.pk, RunState.PAUSED, RunState.QUEUED, actor=actor, attempt=run.attempt, ending=None
    ):
        raise Conflict("not_paused", f"Only a paused run can be resumed; this one is {run.state}.")
    wake.supervisor()


def _give(run: TrainingRun, budgets: Mapping[str, Any], actor: Any) -> None:
    """Keep other budgets in the run's settings; refuse those that would pause it again at once."""
    for name in budgets:
        if name not in BUDGETS:
            raise Invalid("bad_budget", f"A budget is one of {', '.join(BUDGETS)}.", name)
    old = {name: run.spec.get(name, 0) for name in BUDGETS}
    new = {**old, **budgets}
    spec = _checked_spec(run.spec | new, run.start)
    for name in BUDGETS:
        _require_more(run, name, getattr(spec, name))
    if new != old:
        TrainingRun.objects.filter(pk=run.pk).update(spec=msgspec.to_builtins(spec))
        subject = Subject("trainingrun", str(run.pk))
        data = {"old": old, "new": {name: getattr(spec, name) for name in BUDGETS}}
        record("trainingrun.budgets", subject=subject, team=run.line.team_id, actor=actor, data=data)


def _checked_spec(settings: Mapping[str, Any], origin: ModelVersion) -> RunSpec:
    """Nothing is left to decide; what a knob does not take is refused by its name."""
    knobs = {name: value for name, value in settings.items() if name != "preset"}
    preset = settings.get("preset", RunSpec().preset)
    return presets.resolve(preset, rows=1, parameters=origin.parameters, overrides=knobs).spec


def spent(run: TrainingRun, name: str) -> float:
    """Of a budget, in its unit. What paused a run is spent at least."""
    measured = {
        "max_steps": run.step,
        "max_minutes": usage.seconds_of("run", run.pk) / 60,
        "max_tokens": run.tokens,
    }[name]
    paused_by = (run.ending or {}).get("code") == BUDGETS[name]
    return max(measured, run.spec.get(name, 0)) if paused_by else measured


def _require_more(run: TrainingRun, name: str, budget: float) -> None:
    used, unit = spent(run, name), name.removeprefix("max_")
    if budget and budget <= used:
        told = f"{used:,.2f}" if unit == "minutes" else f"{used:,.0f}"
        raise Invalid(
            "budget_spent",
            f"The run has used {told} {unit} already and would pause at once: give {name} more than that, or 0 for no "
            "limit.",
            name,
        )


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
    return line.versions.without_controls().order_by("-number").first() or _champion(line)


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

    The shared line goes on from its own versions only: an expert may have seen what the shared suites hold. An expert
    goes on from what its team may see: weights of another team's expert would carry that team's rows.
    """
    if sum(source is not None for source in (recipe, mixture, dataset)) != 1:
        raise Invalid("one_source", "Name one thing to train on: a recipe, a mixture or a dataset.", "recipe")
    mixed = mixture.recipe if mixture is not None else recipe
    if mixed is not None and mixed.line_id != line.pk:
        raise Invalid("other_line", f"The recipe belongs to another line than {line.name}.", "recipe")
    if dataset is not None and line.team_id not in (dataset.space_id, dataset.team_id):
        raise Invalid("other_team", "A line trains on datasets of its own team.", "dataset")
    if dataset is not None and dataset.held_out:
        raise Invalid("held_out", f"{dataset.name} is a held-out suite: nothing is trained on it.", "dataset")
    if start_from is not None and start_from.is_control:
        words = "a coin has trained it. Start from another version, or leave it to the line."
        raise Invalid("control_run", f"{start_from.name} comes of a control run: {words}", "start_from")
    if start_from is not None and not origins(line).filter(pk=start_from.pk).exists():
        whose = "its own versions" if line.purpose == LinePurpose.SHARED else "its team's versions and shared ones"
        raise Invalid("other_line", f"{line.name} goes on from {whose} only.", "start_from")


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
    resolved = presets.resolve(preset, rows=rows, parameters=origin.parameters, validation=validation, overrides=wanted)
    return forecast(resolved, origin.parameters, rows=rows)


def forecast(resolved: presets.Resolved, parameters: int, *, rows: int) -> Estimate:
    """What settings that nothing is left to decide in would take."""
    spec = resolved.spec
    found = estimating.forecast(spec, parameters=parameters, pace=pace.of(spec, parameters))
    return Estimate(
        seconds=found.seconds,
        tokens=found.tokens,
        steps=spec.steps,
        rows=rows,
        spec=spec,
        reasons=resolved.reasons,
        runs=found.runs,
        sentence=_told(spec, rows, found),
    )


def _told(spec: RunSpec, rows: int, forecast: estimating.Forecast) -> str:
    work = f"{rows:,} tasks, {spec.steps} steps of {spec.prompts_per_step} prompts × {spec.group_size} answers"
    runs = "the last run of its kind" if forecast.runs == 1 else f"the last {forecast.runs} runs of its kind"
    basis = f"at the pace of {runs} here" if forecast.runs else "good to a factor of two: no run of its kind ended here"
    return f"{work}: about {_minutes(forecast.seconds)} and {forecast.tokens:,} tokens, {basis}."


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
