"""/ops/runs: a run as it goes, and the button that starts one on a dataset."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
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
from trainer.forms import FEW_SHOT, TrainForm
from trainer.models import RunSample, TrainingRun
from trainer.services import runs
from trainer.states import RUN_ENDED, RunState
from trainer.views import findings
from trainer.views.scope import may_operate, no_supervisor

TABLE_ROWS = 20


def _find(request: HttpRequest, pk: int) -> TrainingRun:
    rows = TrainingRun.objects.for_user(request.user).select_related(
        "line__team", "start__line", "mixture__recipe", "dataset_version__dataset__team", "started_by", "version__line"
    )
    found: TrainingRun = get_object_or_404(rows, pk=pk)
    return found


@login_required
@require_safe
def run_page(request: HttpRequest, pk: int) -> HttpResponse:
    run = _find(request, pk)
    steps = _steps(run)
    if reply := exported(request, _flat(steps), name=f"run-{pk}-metrics"):
        return reply
    context = {
        **_status(run, request.user),
        "charts": _charts(steps),
        "table": _thinned(steps),
        "measured": len(steps),
        **_samples(request, run),
        "may_operate": may_operate(request.user, run.line),
        "sees_prompts": run.line.shows_rows_to(request.user),
    }
    return render(request, "trainer/run.html", context)


def _charts(steps: list[dict[str, Any]]) -> list[dict[str, str]]:
    sentences = findings.sentences(steps)
    return [
        {"name": name, "title": title, "curves": curves, "bands": bands, "finding": sentences[name]}
        for name, title, curves, bands in findings.CHARTS
    ]


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
    run = _find(request, pk)
    ended = run.state in RUN_ENDED
    return live.fragment(request, "trainer/_run_status.html", _status(run, request.user), finished=ended)


@login_required
@require_safe
def run_metrics(request: HttpRequest, pk: int) -> HttpResponse:
    """The curves as columns. The same bytes while no step has ended, so 304 while nothing is new."""
    run = _find(request, pk)
    steps = _steps(run)
    body = {"steps": [step["step"] for step in steps], "columns": findings.columns(steps)}
    return live.numbers(request, {**body, "finished": run.state in RUN_ENDED})


def _status(run: TrainingRun, user: Any) -> dict[str, Any]:
    seconds = 0.0
    if run.started_at:
        seconds = ((run.finished_at or timezone.now()) - run.started_at).total_seconds()
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
    }


@login_required
@require_POST
def steer(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    verbs = {
        "pause": (runs.pause, "The run stops at its next snapshot."),
        "resume": (runs.resume, "The run goes on from its last snapshot."),
        "cancel": (runs.cancel, "The run is cancelled; what it has written stays here."),
    }
    act, sentence = verbs[verb]
    act(_find(request, pk), actor=request.user)
    messages.success(request, sentence)
    return redirect("run", pk)


@login_required
def train(request: HttpRequest, team: str, slug: str) -> HttpResponse:
    """An expert on a dataset: the estimate first, then the button. Nothing is written before the button."""
    rows = Dataset.objects.for_user(request.user).select_related("team", "space")
    dataset = get_object_or_404(rows, team__slug=team, slug=slug)
    given = request.POST if request.method == "POST" else (request.GET or None)
    form = TrainForm(given)
    preset, overrides, estimate, refusal = FEW_SHOT, {}, None, ""
    if form.is_bound and not form.is_valid() and request.method == "POST":
        raise Invalid("settings_invalid", " ".join(str(e) for errors in form.errors.values() for e in errors))
    if form.is_bound and form.is_valid():
        preset, overrides = form.cleaned_data["preset"], form.overrides()
    if request.method == "POST":
        run = runs.train_expert(dataset, actor=request.user, preset=preset, overrides=overrides)
        messages.success(request, f"Run {run.pk} is queued: its curves appear here as it goes.")
        return redirect("run", run.pk)
    try:
        estimate = runs.estimate(dataset, preset=preset, overrides=overrides)
    except FlywheelError as refused:
        refusal = refused.sentence
    context = {
        "dataset": dataset,
        "form": form if form.is_bound else TrainForm(initial={"preset": preset}),
        "estimate": estimate,
        "refusal": refusal,
        "spec": estimate and msgspec.to_builtins(estimate.spec),
        "body": json.dumps(
            {"dataset": str(dataset), "preset": preset, **({"overrides": overrides} if overrides else {})}
        ),
        "may_train": dataset.team_id in signed_in(request).team_ids(),
    }
    return render(request, "trainer/train.html", context)
