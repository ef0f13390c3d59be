"""/ops/runs: a run as it goes, and the button that starts one on a dataset."""

import json
from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from tasks.errors import FlywheelError, Invalid
from tasks.models import Dataset
from tasks.views import live
from tasks.views.listing import exported, whole
from tasks.views.scope import signed_in
from trainer import alarms
from trainer.forms import FEW_SHOT, BudgetsForm, CloneForm, KnobsForm, TrainForm
from trainer.models import Line, RunSample, TrainingRun
from trainer.presets import AUTO
from trainer.services import hacking, runs, usage
from trainer.states import RUN_ENDED, RunState
from trainer.views import file_runs, findings, settings
from trainer.views.scope import may_operate, no_supervisor

TABLE_ROWS = 20


def find(request: HttpRequest, pk: int) -> TrainingRun:
    rows = TrainingRun.objects.for_user(request.user).select_related(
        "line__team",
        "start__line",
        "mixture__recipe",
        "dataset_version__dataset__team",
        "started_by",
        "version__line",
        "cloned_from",
        "training_file__dataset__team",
        "validation_file",
    )
    found: TrainingRun = get_object_or_404(rows, pk=pk)
    return found


@login_required
@require_safe
def run_page(request: HttpRequest, pk: int) -> HttpResponse:
    run = find(request, pk)
    steps = _steps(run)
    if reply := exported(request, _flat(steps), name=f"run-{pk}-metrics"):
        return reply
    context = {
        **_status(run, request.user),
        "groups": findings.groups(steps, _situation(run)),
        "metrics": findings.rows(steps, _situation(run)),
        "table": _thinned(steps),
        "measured": len(steps),
        **_samples(request, run),
        **hacking.shown(run, request.user),
        **file_runs.shown(run),
        "may_operate": may_operate(request.user, run.line),
        "sees_prompts": run.line.shows_rows_to(request.user),
        "settings": settings.rows(run.spec, run.reasons),
        "clone_form": CloneForm(
            only=settings.asked_for(run.spec, run.reasons),
            initial={name: settings.shown(value) for name, value in run.spec.items()},
        ),
    }
    return render(request, "trainer/run.html", context)


def _situation(run: TrainingRun) -> findings.Situation:
    return findings.Situation(
        ended=run.state in RUN_ENDED,
        measure_every=run.spec.get("measure_every", 0),
        validation_prompts=run.spec.get("validation_prompts", 0),
    )


def _alarms(run: TrainingRun) -> list[dict[str, Any]]:
    """Oldest first. A warning that comes again at the next steps is one row with its first and last step."""
    found: list[dict[str, Any]] = []
    open_rows: dict[str, dict[str, Any]] = {}
    for alarm in run.alarms.all():
        action = alarm.data.get("action", "none")
        row = open_rows.get(alarm.kind)
        if action == "none" and row is not None and 0 <= alarm.step - row["last"] <= 1:
            row |= {"last": alarm.step, "times": row["times"] + 1, "sentence": alarm.data["sentence"]}
            continue
        kind = alarms.KINDS.get(alarm.kind)
        title = kind.title if kind else alarm.kind.replace("_", " ")
        row = {
            "step": alarm.step,
            "last": alarm.step,
            "times": 1,
            "title": title,
            "action": action,
            **_told(alarm.data),
        }
        found.append(row)
        if action == "none":
            open_rows[alarm.kind] = row
        else:
            open_rows.clear()  # the steps behind it are trained again
    return found


def _told(data: dict[str, Any]) -> dict[str, Any]:
    does = {"rolled_back": "rolled_back", "stopped": "stopped"}.get(data.get("action", ""), data.get("level", "warn"))
    return {"sentence": data.get("sentence", ""), "badge": does, "kind": data.get("kind", "")}


def _steps(run: TrainingRun) -> list[dict[str, Any]]:
    return [{**data, "step": step} for step, data in run.metrics.values_list("step", "data")]


def _thinned(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most TABLE_ROWS steps: every nth, every one with a measurement, and the last."""
    every = max(len(steps) // TABLE_ROWS, 1)
    last = len(steps) - 1
    return [step for n, step in enumerate(steps) if n % every == 0 or n == last or step.get("kl")][-2 * TABLE_ROWS :]


def _flat(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    drawn = findings.columns(steps)
    for number, step in enumerate(steps):
        yield {"step": step["step"], **{name: values[number] for name, values in drawn.items()}}


def _samples(request: HttpRequest, run: TrainingRun) -> dict[str, Any]:
    """Rollouts of one step (?step=), else of the newest that has some."""
    known = list(RunSample.objects.filter(run=run).order_by("-step").values_list("step", flat=True).distinct()[:200])
    asked = whole(request.GET.get("step"))
    step = asked if asked in known else (known[0] if known else None)
    rows = RunSample.objects.filter(run=run, step=step)[:24] if step is not None else []
    spots = sorted({known[n * (len(known) - 1) // 7] for n in range(8)}) if known else []
    return {"samples": rows, "sample_step": step, "sample_steps": spots}


@login_required
@require_safe
def run_status(request: HttpRequest, pk: int) -> HttpResponse:
    run = find(request, pk)
    ended = run.state in RUN_ENDED
    return live.fragment(request, "trainer/_run_status.html", _status(run, request.user), finished=ended)


@login_required
@require_safe
def run_metrics(request: HttpRequest, pk: int) -> HttpResponse:
    """The curves as columns. The same bytes while no step has ended, so 304 while nothing is new."""
    run = find(request, pk)
    steps = _steps(run)
    marks = run.alarms.exclude(data__action="none").values_list("step", "data__action")
    body = {
        "steps": [step["step"] for step in steps],
        "columns": findings.columns(steps),
        "labels": findings.labels(steps),
        "marks": [{"step": step, "action": action} for step, action in marks],
    }
    return live.numbers(request, {**body, "finished": run.state in RUN_ENDED})


def _status(run: TrainingRun, user: Any) -> dict[str, Any]:
    seconds = usage.seconds_of("run", run.pk)  # of engines: pauses and waiting are not in it
    if not seconds and run.started_at:
        seconds = ((run.finished_at or timezone.now()) - run.started_at).total_seconds()
    seen = _alarms(run)
    share = run.step / run.total_steps if run.total_steps else 0.0
    going = run.state not in RUN_ENDED
    return {
        "run": run,
        "seconds": seconds,
        "share": share,
        "left": seconds * (1 - share) / share if going and share > 0.03 else None,
        "ended": not going,
        "waiting": no_supervisor(user) if going else "",
        "version": getattr(run, "version", None),
        "pausable": run.state == RunState.RUNNING,
        "resumable": run.state == RunState.PAUSED,
        "budgets": BudgetsForm(initial={name: run.spec.get(name, 0) for name in runs.BUDGETS}),
        "alarms": seen,
        "went_back": [alarm for alarm in seen if alarm["action"] == "rolled_back"],
        "stopped": [alarm for alarm in seen if alarm["action"] == "stopped"],
        "comparison": _comparison(run, seconds) if not going else None,
        "halved": run.learning_rate is not None and run.learning_rate < run.spec.get("learning_rate", 0),
    }


def _comparison(run: TrainingRun, seconds: float) -> dict[str, Any] | None:
    """What was estimated against what it took, for the steps that the run made. 1.00: as estimated."""
    if not (run.step and run.total_steps and run.estimated_seconds):
        return None
    share = run.step / run.total_steps
    expected, tokens = share * run.estimated_seconds, share * run.estimated_tokens
    return {
        "seconds": expected,
        "tokens": round(tokens),
        "time_ratio": seconds / expected,
        "token_ratio": run.tokens / tokens if tokens else None,
        "early": share < 1,
    }


@login_required
@require_POST
def steer(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    run = find(request, pk)
    match verb:
        case "pause":
            runs.pause(run, actor=request.user)
            messages.success(request, "The run stops at its next snapshot.")
        case "resume":
            runs.resume(run, actor=request.user, budgets=_valid(BudgetsForm(request.POST)).budgets())
            messages.success(request, "The run goes on from its last snapshot.")
        case "clone":
            return _clone(request, run)
        case _:
            runs.cancel(run, actor=request.user)
            messages.success(request, "The run is cancelled; what it has written stays here.")
    return redirect("run", pk)


@login_required
@require_POST
def offer(request: HttpRequest, pk: int) -> HttpResponse:
    """Offer the rows of a run on a file to the shared wheel."""
    upload = file_runs.offer(find(request, pk), request.POST, actor=request.user)
    messages.success(request, f"The rows are on their way into review as {upload.dataset}.")
    return redirect("run", pk)


def _clone(request: HttpRequest, run: TrainingRun) -> HttpResponse:
    """Only what differs from the run is an override; a field that was emptied leaves its knob to the preset."""
    asked = settings.asked_for(run.spec, run.reasons)
    form = _valid(CloneForm(request.POST, only=asked))
    given = form.overrides()
    emptied = {name: AUTO for name in asked if name in request.POST and name not in given}
    changed = {name: value for name, value in given.items() if value != run.spec.get(name)}
    clone = runs.clone(run, actor=request.user, overrides=changed | emptied)
    messages.success(request, f"Run {clone.pk} is queued: {clone.notes[-1]}")
    return redirect("run", clone.pk)


def _valid(form: Any) -> Any:
    if not form.is_valid():
        name, errors = next(iter(form.errors.items()))
        where = "" if name == "__all__" else f"{name}: "
        raise Invalid("settings_invalid", f"{where}{' '.join(errors)}", None if not where else name)
    return form


@login_required
def train(request: HttpRequest, team: str, slug: str) -> HttpResponse:
    """An expert on a dataset: the estimate first, then the button. Nothing is written before the button."""
    rows = Dataset.objects.for_user(request.user).select_related("team", "space")
    dataset = get_object_or_404(rows, team__slug=team, slug=slug)
    origins = runs.origins(Line.objects.filter(dataset=dataset).first(), dataset)
    given = request.POST if request.method == "POST" else (request.GET or None)
    form = TrainForm(origins, given)
    chosen: dict[str, Any] = {"preset": FEW_SHOT, "overrides": {}, "start_from": None}
    estimate, refusal = None, ""
    if request.method == "POST":
        _valid(form)
    if form.is_bound and form.is_valid():
        taken = form.cleaned_data
        chosen = {"preset": taken["preset"], "overrides": form.overrides(), "start_from": taken["start_from"]}
    if request.method == "POST":
        run = runs.train_expert(dataset, actor=request.user, **chosen)
        messages.success(request, f"Run {run.pk} is queued: its curves appear here as it goes.")
        return redirect("run", run.pk)
    try:
        estimate = runs.estimate(dataset, **chosen)
    except FlywheelError as refused:
        refusal = refused.sentence
    shown = form if form.is_bound else TrainForm(origins, initial={"preset": FEW_SHOT})
    context = {
        "dataset": dataset,
        "form": shown,
        "given": given_of(request.GET),
        "estimate": estimate,
        "refusal": refusal,
        "settings": estimate and settings.rows(estimate.spec, estimate.reasons, fields_of(shown)),
        "body": _body(dataset, chosen),
        "may_train": dataset.team_id in signed_in(request).team_ids(),
    }
    return render(request, "trainer/train.html", context)


def fields_of(form: KnobsForm) -> dict[str, Any]:
    """Bound fields by name, for the table of settings."""
    return {field.name: field for field in form}


def given_of(parameters: Any) -> list[tuple[str, str]]:
    """What was filled in, to be handed on by the button that starts."""
    return [(name, value) for name, value in parameters.items() if value]


def _body(dataset: Dataset, chosen: dict[str, Any]) -> str:
    body = {"dataset": str(dataset), "preset": chosen["preset"]}
    if chosen["overrides"]:
        body["overrides"] = chosen["overrides"]
    if chosen["start_from"]:
        body["start_from"] = chosen["start_from"].pk
    return json.dumps(body)
