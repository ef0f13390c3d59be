"""Another look: contributors ask on the task's or the upload's page, reviewers answer under /review/appeals."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from tasks.errors import FlywheelError, Invalid
from tasks.forms import teams_with
from tasks.models import Appeal, RowIssue, Task, Upload
from tasks.services import appeals, rejections
from tasks.states import AppealState, Role
from tasks.views import examples
from tasks.views.found import facts
from tasks.views.listing import page_of, whole
from tasks.views.records import record_of
from tasks.views.scope import signed_in

SHOWN_CHARACTERS = 20_000  # of a refused row


@login_required
@require_safe
def queue(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    open_ones, everything = appeals.queue(user), appeals.visible_to(user)
    state = request.GET.get("state", AppealState.OPEN.value)
    rows = open_ones if state == AppealState.OPEN else everything.filter(state=state)
    context = {
        "page": page_of(request, rows.select_related("task", "upload__dataset__team", "asked_by", "answered_by")),
        "state": state,
        "states": [
            (one.value, _count(open_ones if one == AppealState.OPEN else everything, one)) for one in AppealState
        ],
        "reviews": teams_with(user, Role.REVIEWER).exists(),
        "example": examples.ROW,
    }
    return render(request, "tasks/appeals.html", context)


def _count(rows: Any, state: AppealState) -> int:
    return int(rows.filter(state=state).count())


@login_required
@require_safe
def appeal_page(request: HttpRequest, pk: int) -> HttpResponse:
    user = signed_in(request)
    appeal = _find(request, pk)
    waiting = appeals.queue(user).exclude(pk=pk)
    reviews_here = teams_with(user, Role.REVIEWER).filter(pk=appeal.space_id).exists()
    context = {
        "appeal": appeal,
        "next": waiting.filter(pk__lt=pk).first(),
        "previous": waiting.filter(pk__gt=pk).order_by("pk").first(),
        "left": waiting.count(),
        "may_answer": reviews_here and appeal.state == AppealState.OPEN,
        "may_review": reviews_here,
        "let_in": appeals.let_in_by(appeal),
        **(_of_task(appeal.task, user) if appeal.task else _of_row(appeal)),
    }
    return render(request, "tasks/appeal.html", context)


def _of_task(task: Task, user: Any) -> dict[str, Any]:
    visible = Task.objects.for_user(user).filter(pk=task.pk).exists()
    return record_of(task, user) if visible else {}


def _of_row(appeal: Appeal) -> dict[str, Any]:
    """The row as it stands in the file, and everything that was said against it."""
    assert appeal.upload is not None
    issues = RowIssue.objects.filter(upload=appeal.upload, line=appeal.line)
    try:
        raw = rejections.row_at(appeal.upload, appeal.line)
    except FlywheelError as gone:
        return {"issues": _told(issues), "gone": gone.sentence}
    return {"issues": _told(issues), "row": (raw or b"").decode(errors="replace")[:SHOWN_CHARACTERS]}


def _told(issues: Any) -> list[tuple[RowIssue, list[tuple[str, str]]]]:
    return [(issue, facts(issue.evidence)) for issue in issues]


def _find(request: HttpRequest, pk: int) -> Appeal:
    rows = appeals.visible_to(signed_in(request)).select_related(
        "task__grader", "task__space", "upload__dataset__team", "upload__dataset__space", "space", "asked_by"
    )
    found: Appeal = get_object_or_404(rows, pk=pk)
    return found


@login_required
@require_POST
def ask_for_task(request: HttpRequest, pk: int) -> HttpResponse:
    task = get_object_or_404(Task.objects.for_user(request.user), pk=pk)
    appeals.ask_for_task(task, note=request.POST.get("note", ""), actor=signed_in(request))
    messages.success(request, "Asked. The answer will stand here.")
    return redirect("task", pk)


@login_required
@require_POST
def ask_for_row(request: HttpRequest, pk: int) -> HttpResponse:
    upload = get_object_or_404(Upload.objects.for_user(request.user).select_related("dataset__team"), pk=pk)
    line = whole(request.POST.get("line"))
    if line is None:
        raise Invalid("line_missing", "Say which line: give its number.", "line")
    appeals.ask_for_row(upload, line, note=request.POST.get("note", ""), actor=signed_in(request))
    messages.success(request, f"Asked about line {line:,}. The answer will stand here.")
    return redirect("upload", pk)


@login_required
@require_POST
def grant(request: HttpRequest, pk: int) -> HttpResponse:
    appeal = _find(request, pk)
    following = _following(request, pk)
    appeals.grant(appeal, reviewer=signed_in(request), answer=request.POST.get("answer", ""))
    told = (
        f"Task {appeal.task_id} is back in review." if appeal.task_id else "The row comes in as an upload of its own."
    )
    messages.success(request, f"Granted. {told}")
    return following


@login_required
@require_POST
def refuse(request: HttpRequest, pk: int) -> HttpResponse:
    appeal = _find(request, pk)
    following = _following(request, pk)
    appeals.refuse(appeal, reviewer=signed_in(request), answer=request.POST.get("answer", ""))
    messages.success(request, "Refused. Its contributor reads your answer.")
    return following


def _following(request: HttpRequest, pk: int) -> HttpResponse:
    """The next one that waits, else the queue."""
    waiting = appeals.queue(signed_in(request)).exclude(pk=pk)
    following = waiting.filter(pk__lt=pk).first() or waiting.first()
    return redirect(reverse("appeal", args=[following.pk]) if following else reverse("appeals"))
