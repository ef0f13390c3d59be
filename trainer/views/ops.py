"""/ops: what runs, what waits, what failed and what comes next."""

from datetime import datetime
from typing import Any

import msgspec
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from tasks.models import Upload
from tasks.models.uploads import WITHDRAWN
from tasks.states import UploadState
from tasks.views import live
from tasks.views.listing import exported, facts_of, page_of
from trainer.evaluation.exposure import Exposure
from trainer.models import BaseBuild, DifficultyCheck, Evaluation, GateReport, Line, Schedule, TrainingRun, Webhook
from trainer.services import known_answers, schedules
from trainer.states import RUN_ENDED, AliasName, EvaluationState, RunState, Verdict
from trainer.views.history import champion_scores
from trainer.views.scope import no_supervisor

WAITING = (EvaluationState.QUEUED, EvaluationState.RUNNING)


@login_required
@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    lines = Line.objects.for_user(request.user)
    rows = TrainingRun.objects.for_user(request.user).select_related("line", "version__line", "started_by")
    if state := request.GET.get("state"):
        rows = rows.filter(state=state)
    if line := request.GET.get("line"):
        rows = rows.filter(line__slug=line)
    if reply := exported(request, facts_of(rows[:10_000], _facts), name="runs"):
        return reply
    context = {
        "page": page_of(request, rows, size=20),
        "states": list(RunState),
        "lines": lines.order_by("purpose", "slug")[:50],
        "strip": [_champion(line) for line in lines.order_by("-purpose", "pk")[:6]],
        "reports": GateReport.objects.for_user(request.user).select_related("evaluation__candidate__line", "line")[:5],
        "alarms": _alarms(request.user, lines),
        "next": _next_firing(lines),
        **_queue(request.user),
    }
    return render(request, "trainer/ops.html", context)


def _facts(run: TrainingRun) -> dict[str, Any]:
    version = getattr(run, "version", None)
    return {
        "id": run.pk,
        "line": run.line.slug,
        "state": run.state,
        "step": run.step,
        "total_steps": run.total_steps,
        "attempt": run.attempt,
        "version": version.name if version else "",
        "started_by": run.started_by.username if run.started_by else "a schedule",
        "created_at": run.created_at.isoformat(),
    }


@login_required
@require_safe
def queue(request: HttpRequest) -> HttpResponse:
    return live.fragment(request, "trainer/_queue.html", _queue(request.user))


def _queue(user: Any) -> dict[str, Any]:
    lines = Line.objects.for_user(user)
    runs = TrainingRun.objects.filter(line__in=lines).exclude(state__in=[*RUN_ENDED, RunState.PAUSED])
    evaluations = Evaluation.objects.filter(line__in=lines, state__in=WAITING)
    builds = BaseBuild.objects.filter(line__in=lines, state__in=WAITING)
    checks = DifficultyCheck.objects.filter(line__in=lines, state__in=WAITING)
    return {
        "going_runs": runs.select_related("line").order_by("pk"),
        "going_evaluations": evaluations.select_related("line", "candidate__line", "champion__line").order_by("pk"),
        "going_checks": checks.select_related("line", "version__line", "recipe").order_by("pk"),
        "going_builds": builds.select_related("line").order_by("pk"),
        "waiting": no_supervisor(user),
    }


def _champion(line: Line) -> dict[str, Any]:
    scores = champion_scores(line)
    champion = line.alias(AliasName.CHAMPION)
    score = next((s for s in reversed(scores) if champion and s.name == champion.name), None)
    return {"line": line, "champion": champion, "score": score}


_WORK = (
    ("run", TrainingRun),
    ("evaluation", Evaluation),
    ("difficulty check", DifficultyCheck),
    ("base build", BaseBuild),
)


def _alarms(user: Any, lines: Any) -> list[dict[str, Any]]:
    """What ended badly, newest first: each with its sentence and the page that says more."""
    alarms: list[dict[str, Any]] = []
    failed = {"state": EvaluationState.FAILED, "line__in": lines}
    for kind, model in _WORK:
        alarms += [
            {"kind": kind, "pk": work.pk, "line": work.line, "at": work.finished_at or work.created_at, **_fault(work)}
            for work in model._default_manager.filter(**failed).select_related("line").order_by("-pk")[:5]
        ]
    for upload in Upload.objects.for_user(user).filter(state=UploadState.FAILED).exclude(failure=WITHDRAWN)[:5]:
        at = upload.finished_at or upload.created_at
        alarms.append({"kind": "upload", "pk": upload.pk, "at": at, "sentence": upload.failure, "boundary": "import"})
    for report in GateReport.objects.filter(line__in=lines, verdict=Verdict.INVALID)[:5]:
        alarms.append({"kind": "gate", "pk": report.pk, "at": report.created_at, "sentence": report.sentence})
    for hook in Webhook.objects.for_user(user).filter(deleted_at=None, failing_since__isnull=False)[:5]:
        sentence = hook.off_because or "Nothing has arrived since then."
        alarms.append(
            {"kind": "webhook", "pk": hook.pk, "name": hook.name, "at": hook.failing_since, "sentence": sentence}
        )
    return sorted(alarms, key=lambda alarm: alarm["at"], reverse=True)[:8]


def _fault(work: Any) -> dict[str, str]:
    fault = work.error or {}
    return {"sentence": fault.get("sentence", "No reason was recorded."), "boundary": fault.get("boundary", "")}


def _next_firing(lines: Any) -> tuple[datetime, Schedule] | None:
    enabled = Schedule.objects.filter(line__in=lines, enabled=True).select_related("line", "recipe")
    times = [(times[0], s.pk, s) for s in enabled if (times := schedules.next_fire_times(s, n=1))]
    return (min(times)[0], min(times)[2]) if times else None


@login_required
@require_safe
def evaluation_page(request: HttpRequest, pk: int) -> HttpResponse:
    evaluation = _evaluation(request, pk)
    exposure = msgspec.convert(evaluation.exposure, list[Exposure])
    over = [one.warning for one in exposure if one.warning]
    known = known_answers.told(evaluation)
    told = {"plan": evaluation.plan, "exposure": exposure, "over_budget": over, "known": known}
    context = {**_evaluation_status(evaluation, request.user), **told}
    return render(request, "trainer/evaluation.html", context)


@login_required
@require_safe
def evaluation_status(request: HttpRequest, pk: int) -> HttpResponse:
    context = _evaluation_status(_evaluation(request, pk), request.user)
    return live.fragment(request, "trainer/_evaluation_status.html", context, finished=context["finished"])


def _evaluation(request: HttpRequest, pk: int) -> Evaluation:
    rows = Evaluation.objects.for_user(request.user).select_related(
        "line__team", "candidate__line", "champion__line", "anchor__line", "requested_by", "report"
    )
    found: Evaluation = get_object_or_404(rows, pk=pk)
    return found


def _evaluation_status(evaluation: Evaluation, user: Any) -> dict[str, Any]:
    report = getattr(evaluation, "report", None)
    over = evaluation.state in (EvaluationState.FAILED, EvaluationState.CANCELLED)
    waiting = "" if over or report else no_supervisor(user)
    return {"evaluation": evaluation, "report": report, "finished": over or report is not None, "waiting": waiting}
