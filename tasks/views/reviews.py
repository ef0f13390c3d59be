"""/review: the queue by risk, one decision at a time by keyboard, many at once with a count first, the log."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from tasks.errors import Invalid
from tasks.forms import BulkForm, RejectForm, teams_with
from tasks.models import Dataset, DatasetTask, Event, EventSeal, Review, Task, TaskFinding
from tasks.services import appeals, reviews, suspecting, wrapping
from tasks.states import Role, TaskState, WrapperState
from tasks.views import examples
from tasks.views.listing import exported, facts_of, page_of, whole
from tasks.views.recent import recent
from tasks.views.records import answer_of, record_of
from tasks.views.scope import signed_in

BY_RISK = (TaskState.CONFLICT, TaskState.UNPROVED, TaskState.PROVED)
FILTERS = ("state", "domain", "dataset", "space", "finding")


def waiting_for(user: Any) -> QuerySet[Task]:
    """Tasks that wait for a person, in the spaces where this one reviews."""
    return Task.objects.filter(space__in=_spaces(user), state__in=BY_RISK)


def suspected_for(user: Any) -> QuerySet[Task]:
    """Approved tasks whose reference a person should look at again."""
    return suspecting.suspected(_spaces(user))


def _spaces(user: Any) -> list[int]:
    return list(teams_with(user, Role.REVIEWER).values_list("pk", flat=True))


def _under(user: Any, query: QueryDict) -> QuerySet[Task]:
    """What waits under a filter. Suspected tasks are a queue of their own: they are approved until somebody decides."""
    suspects = query.get("state") == TaskState.APPROVED
    return narrowed(suspected_for(user) if suspects else waiting_for(user), query)


def narrowed(rows: QuerySet[Task], query: QueryDict) -> QuerySet[Task]:
    if state := query.get("state"):
        rows = rows.filter(state=state)
    if domain := query.get("domain"):
        rows = rows.filter(domain=domain)
    if space := query.get("space"):
        rows = rows.filter(space__slug=space)
    if finding := query.get("finding"):
        rows = rows.filter(Exists(TaskFinding.objects.filter(task=OuterRef("pk"), kind=finding)))
    if (dataset := whole(query.get("dataset"))) is not None:
        rows = rows.filter(Exists(DatasetTask.objects.filter(task=OuterRef("pk"), dataset=dataset)))
    return rows


@login_required
@require_safe
def queue(request: HttpRequest) -> HttpResponse:
    waiting, suspects = waiting_for(request.user), suspected_for(request.user)
    asked = request.GET.copy()
    asked.pop("state", None)
    wanted = request.GET.get("state", "")
    counts, state, findings, domains = recent(
        ("queue", *_whose(request), wanted), lambda: _figures(waiting, suspects, asked, wanted)
    )
    asked["state"] = state
    rows = _under(request.user, asked).filter(state=state)
    if reply := exported(request, facts_of(rows.select_related("grader")[:10_000], _facts), name="review-queue"):
        return reply
    page = page_of(request, rows.select_related("grader", "space"))
    found = _found_of(page.rows)
    context = {
        "page": page,
        "rows": [(task, answer_of(task), found.get(task.pk, [])) for task in page.rows],
        "findings": findings,
        "appeals": appeals.queue(signed_in(request)).count(),
        "wrappers": wrapping.visible_to(signed_in(request)).filter(state=WrapperState.PROPOSED).count(),
        "state": state,
        "states": [(s.value, counts.get(s, 0)) for s in (*BY_RISK, TaskState.APPROVED) if s in BY_RISK or s in counts],
        "total": sum(counts.values()),
        "domains": domains,
        "spaces": teams_with(signed_in(request), Role.REVIEWER),
        "dataset": Dataset.objects.for_user(request.user).filter(pk=whole(request.GET.get("dataset")) or 0).first(),
        "filter": _filter_of(asked).urlencode(),
        "bulk": BulkForm(),
        "decisions": _latest(request.user),
        "example": examples.ROW,
    }
    return render(request, "tasks/review_queue.html", context)


def _whose(request: HttpRequest) -> tuple[int, str]:
    """For whom something is counted: the reviewer, and the filter but for the state."""
    asked = request.GET.copy()
    asked.pop("state", None)
    return signed_in(request).pk, _filter_of(asked).urlencode()


class _Figures(NamedTuple):
    counts: dict[str, int]  # by state, of what the filter leaves
    state: str  # the one that is shown
    findings: list[tuple[str, str, int]]
    domains: list[str]


def _figures(waiting: QuerySet[Task], suspects: QuerySet[Task], asked: QueryDict, wanted: str) -> _Figures:
    """What all that waits is looked at for; together, because together they may take long."""
    counts = dict(narrowed(waiting, asked).order_by().values_list("state").annotate(n=Count("pk")))
    if suspected := narrowed(suspects, asked).count():
        counts[TaskState.APPROVED.value] = suspected
    state = wanted or next((s.value for s in (*BY_RISK, TaskState.APPROVED) if counts.get(s)), "")
    shown = suspects if state == TaskState.APPROVED else waiting.filter(state=state)
    domains = shown.order_by("domain").values_list("domain", flat=True).distinct()
    return _Figures(counts, state, _finding_counts(shown), list(domains[:20]))


def _found_of(tasks: Sequence[Task]) -> dict[int, list[str]]:
    """{task: kinds of what was found about it}."""
    rows = TaskFinding.objects.filter(task__in=[task.pk for task in tasks]).values_list("task_id", "kind")
    found: dict[int, list[str]] = {}
    for pk, kind in rows.distinct().order_by("kind"):
        found.setdefault(pk, []).append(kind)
    return found


def _finding_counts(waiting: QuerySet[Task]) -> list[tuple[str, str, int]]:
    """(kind, what it means, tasks that wait) of every kind that was found."""
    rows = TaskFinding.objects.filter(task__in=waiting.order_by().values("pk"))
    counts = dict(rows.values_list("kind").annotate(n=Count("task", distinct=True)).order_by("kind"))
    return [(kind, TaskFinding.Kind(kind).label, n) for kind, n in counts.items()]


def _latest(user: Any, most: int = 5) -> list[dict[str, Any]]:
    """The user's newest decisions that can still be undone; those of one bulk action are one entry."""
    shown: list[dict[str, Any]] = []
    rows = Review.objects.filter(reviewer=user, undone_at=None).select_related("task")
    while len(shown) < most and (review := rows.first()) is not None:
        count = rows.filter(batch=review.batch).count() if review.batch else 1
        shown.append({"review": review, "count": count})
        rows = rows.filter(pk__lt=review.pk)
        if review.batch:
            rows = rows.exclude(batch=review.batch)
    return shown


def _facts(task: Task) -> dict[str, Any]:
    return {
        "id": task.pk,
        "state": task.state,
        "domain": task.domain,
        "prompt": task.prompt,
        "answer": answer_of(task),
        "grader": task.grader.config if task.grader else None,
        "reason": task.reason,
    }


def _filter_of(query: QueryDict) -> QueryDict:
    kept = QueryDict(mutable=True)
    for name in FILTERS:
        if value := query.get(name):
            kept[name] = value
    return kept


@login_required
@require_safe
def review_page(request: HttpRequest, pk: int) -> HttpResponse:
    task = get_object_or_404(Task.objects.for_user(request.user).select_related("grader", "space"), pk=pk)
    waiting = _under(request.user, request.GET).exclude(pk=pk)
    older = list(waiting.filter(pk__lt=pk).order_by("-pk").values_list("pk", flat=True)[:3])
    newer = waiting.filter(pk__gt=pk).order_by("pk").values_list("pk", flat=True).first()
    last = Review.objects.filter(reviewer=signed_in(request), undone_at=None).first()
    context = {
        **record_of(task, request.user),
        "next": older,
        "previous": newer,
        "left": recent(("left", *_whose(request), request.GET.get("state", "")), waiting.count),
        "last": last,
        "filter": _filter_of(request.GET).urlencode(),
        "reasons": Review.ReasonCode.choices,
        "suspected": suspecting.is_suspected(task),
        "may_decide": teams_with(signed_in(request), Role.REVIEWER).filter(pk=task.space_id).exists(),
    }
    return render(request, "tasks/review_task.html", context)


@login_required
@require_POST
def approve(request: HttpRequest, pk: int) -> HttpResponse:
    task = get_object_or_404(Task.objects.for_user(request.user), pk=pk)
    following = _following(request, pk)
    reviews.approve(task, reviewer=signed_in(request), note=request.POST.get("note", "")[:500])
    messages.success(request, f"Task {pk} is approved.")
    return following


@login_required
@require_POST
def uphold(request: HttpRequest, pk: int) -> HttpResponse:
    """A suspected reference is right: the task stays approved."""
    task = get_object_or_404(Task.objects.for_user(request.user), pk=pk)
    following = _following(request, pk)
    suspecting.uphold(task, reviewer=signed_in(request), note=request.POST.get("note", "")[:500])
    messages.success(request, f"Task {pk} stays: its reference is right.")
    return following


@login_required
@require_POST
def reject(request: HttpRequest, pk: int) -> HttpResponse:
    task = get_object_or_404(Task.objects.for_user(request.user), pk=pk)
    form = RejectForm(request.POST)
    if not form.is_valid():
        raise Invalid("reason_missing", "Choose why the task is rejected: its contributor reads it.", "reason_code")
    following = _following(request, pk)
    given = form.cleaned_data
    reviews.reject(task, reviewer=signed_in(request), reason_code=given["reason_code"], note=given["note"])
    messages.success(request, f"Task {pk} is rejected.")
    return following


def _following(request: HttpRequest, pk: int) -> HttpResponse:
    """The next task under the same filter, else the queue: nobody waits between items."""
    query = QueryDict(request.POST.get("filter", ""))
    rows = _under(request.user, query).exclude(pk=pk)
    after = rows.filter(pk__lt=pk).order_by("-pk").first() or rows.order_by("-pk").first()
    address = reverse("review-task", args=[after.pk]) if after else reverse("review")
    kept = _filter_of(query).urlencode()
    return redirect(f"{address}?{kept}" if after and kept else address)


@login_required
@require_POST
def undo(request: HttpRequest, pk: int) -> HttpResponse:
    review = get_object_or_404(Review.objects.filter(task__in=Task.objects.for_user(request.user)), pk=pk)
    reviews.undo(review, actor=signed_in(request))
    messages.success(request, f"Undone: task {review.task_id} is {review.before} again.")
    kept = _filter_of(QueryDict(request.POST.get("filter", ""))).urlencode()
    return redirect(f"{reverse('review-task', args=[review.task_id])}?{kept}")


@login_required
@require_POST
def undo_batch(request: HttpRequest, batch: uuid.UUID) -> HttpResponse:
    get_object_or_404(Review.objects.filter(task__in=Task.objects.for_user(request.user), batch=batch)[:1])
    count = reviews.undo_batch(batch, actor=signed_in(request))
    messages.success(request, f"Undone: {count:,} tasks are where they were.")
    return redirect("review")


@login_required
@require_POST
def bulk(request: HttpRequest) -> HttpResponse:
    """First the count of what would happen; the same form again with confirm=1 does it."""
    query = QueryDict(request.POST.get("filter", ""))
    form = BulkForm(request.POST)
    if not form.is_valid():
        raise Invalid("bulk_incomplete", " ".join(str(e) for errors in form.errors.values() for e in errors))
    given = form.cleaned_data
    rows = narrowed(waiting_for(request.user), query)
    confirmed = request.POST.get("confirm") == "1"
    result = reviews.bulk(
        rows,
        given["decision"],
        reviewer=signed_in(request),
        reason_code=given["reason_code"],
        note=given["note"],
        dry_run=not confirmed,
    )
    if confirmed:
        messages.success(request, f"{result.count:,} tasks are {given['decision']}. One undo takes all of them back.")
        return redirect("review")
    context = {"count": result.count, "given": given, "filter": query.urlencode(), "asked": query.dict()}
    return render(request, "tasks/review_bulk.html", context)


@login_required
@require_safe
def log(request: HttpRequest) -> HttpResponse:
    mine = Q(team__in=signed_in(request).team_ids())
    if not request.user.is_superuser:
        mine &= ~Q(team=None)
    rows = Event.objects.filter(mine).select_related("actor", "team")
    if kind := request.GET.get("kind"):
        rows = rows.filter(kind__startswith=kind)
    if subject := request.GET.get("subject"):
        name, _, pk = subject.partition("/")
        rows = rows.filter(subject_type=name, subject_id=pk)
    if reply := exported(request, _events(rows[:100_000]), name="events"):
        return reply
    page = page_of(request, rows)
    context = {"page": page, "head": EventSeal.objects.last(), "kinds": KINDS}
    return render(request, "tasks/review_log.html", context)


KINDS = ("review", "task", "upload", "proofrun", "dataset", "trainingrun", "evaluation", "alias", "key", "team")


def _events(rows: QuerySet[Event]) -> Iterator[dict[str, Any]]:
    for event in rows.iterator(chunk_size=1000):
        yield {
            "id": event.pk,
            "at": event.at.isoformat(),
            "kind": event.kind,
            "team": event.team.slug if event.team else "",
            "actor": event.actor.username if event.actor else "the platform",
            "subject": f"{event.subject_type}/{event.subject_id}",
            "data": event.data,
        }
