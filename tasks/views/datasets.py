"""/datasets: what there is, and one dataset with its rows, grader and frozen versions."""

from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from tasks.errors import FlywheelError, Invalid
from tasks.forms import DefaultGraderForm, TryGraderForm, grader_examples, pretty, teams_with
from tasks.models import Dataset, DatasetTask, Task, Team, Upload
from tasks.services import appeals, datasets, tombstones, trying
from tasks.services.access import who_brings
from tasks.states import Split, TaskState, Visibility
from tasks.types import Grade
from tasks.views import corrections, examples, exports
from tasks.views.listing import Page, exported, facts_of, page_of
from tasks.views.records import record_of
from tasks.views.scope import dataset_of as find
from tasks.views.scope import signed_in

EXPORTED_ROWS = 100_000


@login_required
@require_safe
def dataset_list(request: HttpRequest) -> HttpResponse:
    rows = Dataset.objects.for_user(request.user).select_related("team", "default_grader")
    if visibility := request.GET.get("visibility"):
        rows = rows.filter(visibility=visibility)
    if team := request.GET.get("team"):
        rows = rows.filter(team__slug=team)
    if reply := exported(request, facts_of(rows[:10_000], _facts), name="datasets"):
        return reply
    page = page_of(request, rows)
    context = {
        "page": page,
        "rows": _with_sizes(page.rows),
        "visibilities": list(Visibility),
        "teams": Team.objects.filter(pk__in=signed_in(request).team_ids()),
        "example": examples.ROW,
    }
    return render(request, "tasks/datasets.html", context)


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {
        "id": dataset.pk,
        "dataset": str(dataset),
        "name": dataset.name,
        "domain": dataset.domain,
        "visibility": dataset.visibility,
        "licence": dataset.licence,
        "grader": dataset.default_grader.type if dataset.default_grader else "",
        "created_at": dataset.created_at.isoformat(),
    }


def _with_sizes(page: Any) -> list[tuple[Dataset, int, int]]:
    """(dataset, uploads, rows read) without touching the rows themselves."""
    sizes: dict[int, tuple[int, int]] = {}
    for pk, counts in Upload.objects.filter(dataset__in=page).values_list("dataset", "counts"):
        uploads, rows = sizes.get(pk, (0, 0))
        sizes[pk] = (uploads + 1, rows + counts.get("rows", 0))
    return [(dataset, *sizes.get(dataset.pk, (0, 0))) for dataset in page]


@login_required
@require_safe
def dataset_page(request: HttpRequest, team: str, slug: str) -> HttpResponse:
    dataset = find(request, team, slug)
    rows = _narrowed(request, Task.objects.filter(memberships__dataset=dataset))
    if reply := exported(request, _exported_tasks(_open(dataset, rows)), name=f"{team}-{slug}"):
        return reply
    counts = datasets.counts(dataset)
    context = {
        "dataset": dataset,
        "states": [(state.value, counts.get(state, 0)) for state in TaskState if counts.get(state)],
        "splits": [(split.value, counts.get(split, 0)) for split in Split if counts.get(split)],
        "total": sum(counts.get(state, 0) for state in TaskState),
        "approved": counts.get(TaskState.APPROVED, 0),
        "needs_grader": counts.get(TaskState.NEEDS_GRADER, 0),
        "page": _page(request, dataset, rows),
        "uploads": dataset.uploads.select_related("uploaded_by")[:5],
        "versions": dataset.versions.all()[:20],
        "graders": grader_examples(),
        "example": examples.ROW,
        "may_write": teams_with(signed_in(request), who_brings(dataset)).filter(pk=dataset.team_id).exists(),
        **exports.box(dataset, signed_in(request)),
        **_tried(request, dataset),
    }
    return render(request, "tasks/dataset.html", context)


def _narrowed(request: HttpRequest, rows: QuerySet[Task]) -> QuerySet[Task]:
    if state := request.GET.get("state"):
        rows = rows.filter(state=state)
    if split := request.GET.get("split"):
        rows = rows.filter(split=split)
    if domain := request.GET.get("domain"):
        rows = rows.filter(domain=domain)
    return rows


def _page(request: HttpRequest, dataset: Dataset, rows: QuerySet[Task]) -> Page:
    """Tasks by membership: the index (dataset, task) gives them in order; a task of two rows is shown once."""
    members = DatasetTask.objects.filter(dataset=dataset).order_by("-task_id", "-pk").distinct("task_id")
    for field in ("state", "split", "domain"):
        if value := request.GET.get(field):
            members = members.filter(**{f"task__{field}": value})
    page = page_of(request, members.select_related("task__grader"), key="task_id")
    tombstones.bury([member.task for member in page.rows], signed_in(request))
    return page


def _open(dataset: Dataset, rows: QuerySet[Task]) -> QuerySet[Task]:
    """The sealed split of contributed data and of held-out suites leaves in no file (services.exporting)."""
    closed = dataset.held_out or dataset.visibility == Visibility.CONTRIBUTED
    return rows.exclude(split=Split.SEALED) if closed else rows


def _exported_tasks(rows: QuerySet[Task]) -> Iterator[dict[str, Any]]:
    for task in rows.select_related("grader").order_by("pk").distinct()[:EXPORTED_ROWS].iterator(chunk_size=500):
        if task.state == TaskState.WITHDRAWN:
            tombstones.empty(task)
        yield {
            "id": task.pk,
            "state": task.state,
            "split": task.split,
            "domain": task.domain,
            "messages": task.messages,
            "item": task.item,
            "gold": task.gold,
            "grader": task.grader.config if task.grader else None,
            "reason": task.reason,
        }


def _tried(request: HttpRequest, dataset: Dataset) -> dict[str, Any]:
    """The grader, tried on the reader's own text: plain values in, a Grade out, nothing stored."""
    config = dataset.default_grader.config if dataset.default_grader else None
    if "completion" not in request.GET:
        initial = _first_item(dataset)
        return {"try_form": TryGraderForm(initial={"grader": config and pretty(config), "item": pretty(initial)})}
    form = TryGraderForm(request.GET)
    grade: Grade | None = None
    if form.is_valid():
        given = form.cleaned_data
        try:
            grade = trying.grade(
                given["grader"],
                given["completion"],
                given["item"],
                actor=signed_in(request),
                space=dataset.space_id,
            )
        except FlywheelError as refused:
            form.add_error("grader", refused.sentence)
    return {"try_form": form, "grade": grade}


def _first_item(dataset: Dataset) -> Any:
    first = DatasetTask.objects.filter(dataset=dataset).select_related("task").order_by("task_id").first()
    return first.task.item if first else {"reference": 42}


@login_required
@require_POST
def set_grader(request: HttpRequest, team: str, slug: str) -> HttpResponse:
    dataset = find(request, team, slug)
    form = DefaultGraderForm(request.POST)
    if not form.is_valid():
        raise Invalid("bad_grader", " ".join(map(str, form.errors["grader"])), "grader")
    waiting = datasets.set_default_grader(dataset, form.cleaned_data["grader"], actor=signed_in(request))
    messages.success(
        request,
        f"The grader is set. {waiting:,} rows that waited for one are being checked now."
        if waiting
        else "The grader is set; it is for rows to come that name none.",
    )
    return redirect("dataset", team, slug)


@login_required
@require_POST
def freeze(request: HttpRequest, team: str, slug: str) -> HttpResponse:
    dataset = find(request, team, slug)
    newest = dataset.versions.first()
    version = datasets.freeze(dataset, actor=signed_in(request))
    if newest is not None and newest.pk == version.pk:
        messages.info(request, f"Nothing has changed since version {version.number}: it is still the newest.")
    else:
        messages.success(request, f"Version {version.number} holds {version.task_count:,} approved tasks.")
    return redirect("dataset", team, slug)


@login_required
@require_safe
def task_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One task, for reading. Decisions are made under /review."""
    task = get_object_or_404(Task.objects.for_user(request.user).select_related("grader", "space"), pk=pk)
    context = {
        **record_of(task, request.user),
        "may_correct": corrections.may_correct(task, signed_in(request)),
        "may_appeal": appeals.may_appeal(task) and bool(corrections.own_datasets(task, signed_in(request))),
    }
    return render(request, "tasks/task.html", context)
