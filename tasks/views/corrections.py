"""Correct one task of one's own dataset, and compare two states of it."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_safe

from tasks.errors import FlywheelError, NotFound
from tasks.forms import GraderField, JsonObject, pretty, teams_with
from tasks.models import Dataset, DatasetTask, Task, User
from tasks.services import correcting, differences, exporting, tombstones
from tasks.services.differences import Kind, Side
from tasks.states import Role, TaskState
from tasks.views.listing import whole
from tasks.views.scope import dataset_of, signed_in


class CorrectionForm(forms.Form):
    """A task's row as people edit it."""

    system = forms.CharField(required=False, strip=False, widget=forms.Textarea(attrs={"rows": 2}))
    prompt = forms.CharField(strip=False, widget=forms.Textarea(attrs={"rows": 5}))
    item = JsonObject()
    gold = forms.CharField(required=False, strip=False, widget=forms.Textarea(attrs={"rows": 3}))
    grader = GraderField()
    domain = forms.CharField(required=False, max_length=64)

    FIELDS = {"messages": "prompt", "reference": "item", "grader.type": "grader"}

    def changes(self, task: Task) -> dict[str, Any]:
        """Native fields. An empty gold is none, unless the task's own is the empty answer."""
        given = self.cleaned_data
        asked = [{"role": "user", "content": given["prompt"]}]
        before = [{"role": _instructing(task), "content": given["system"]}] if given["system"].strip() else []
        return {
            "messages": [*before, *asked],
            "item": given["item"] or {},
            "gold": given["gold"] if given["gold"] or task.gold == "" else None,
            "grader": given["grader"],
            "domain": given["domain"] or None,
        }

    def refuse(self, refused: FlywheelError) -> None:
        """Show a refusal beside the field that it is about."""
        field = (refused.param or "").partition(".")[0].partition("[")[0]
        known = self.FIELDS.get(field, field)
        self.add_error(known if known in self.fields else None, refused.sentence)


def _instructing(task: Task) -> str:
    return str(task.messages[0]["role"]) if len(task.messages) > 1 else "system"


def _initial(task: Task) -> dict[str, Any]:
    *before, asked = task.messages
    return {
        "system": "\n\n".join(message["content"] for message in before),
        "prompt": asked["content"],
        "item": pretty(task.item),
        "gold": task.gold or "",
        "grader": pretty(task.grader.config) if task.grader else "",
        "domain": task.domain,
    }


def own_datasets(task: Task, user: User) -> list[Dataset]:
    """Those that hold the task and to which the user contributes."""
    teams = teams_with(user, Role.CONTRIBUTOR)
    held = DatasetTask.objects.filter(task=task).values("dataset")
    rows = Dataset.objects.filter(pk__in=held, team__in=teams).select_related("team", "space", "default_grader")
    return list(rows.order_by("pk"))


def may_correct(task: Task, user: User) -> bool:
    return task.state != TaskState.WITHDRAWN and bool(own_datasets(task, user))


@login_required
def correct(request: HttpRequest, pk: int) -> HttpResponse:
    task = get_object_or_404(Task.objects.for_user(request.user).select_related("grader", "space"), pk=pk)
    choices = own_datasets(task, signed_in(request))
    wanted = whole(request.POST.get("dataset") or request.GET.get("dataset"))
    dataset = next((one for one in choices if wanted is None or one.pk == wanted), None)
    if dataset is None:
        raise NotFound("not_found", "No dataset of yours holds this task: only its contributors correct it.")
    form = CorrectionForm(request.POST or None, initial=_initial(task))
    if request.method == "POST" and form.is_valid():
        try:
            made = correcting.amend(task, dataset, form.changes(task), actor=signed_in(request))
        except FlywheelError as refused:
            form.refuse(refused)
        else:
            return _done(request, task, made)
    context = {"task": task, "form": form, "dataset": dataset, "choices": choices}
    return render(request, "tasks/task_correct.html", context, status=400 if form.errors else 200)


def _done(request: HttpRequest, task: Task, made: Any) -> HttpResponse:
    if made is None:
        messages.success(request, "The task says so now. Where its wording or its gold changed, it is proved again.")
        return redirect("task", task.pk)
    messages.success(
        request, f"The corrected row is on its way: once it is valid, it takes the place of task {task.pk}."
    )
    return redirect("upload", made.pk)


@login_required
@require_safe
def changes(request: HttpRequest, team: str, slug: str) -> HttpResponse:
    """Two versions side by side, or one and what is approved now."""
    dataset = dataset_of(request, team, slug)
    old, new = sides(dataset, request.GET.get("from", ""), request.GET.get("to", ""))
    kind = next((one for one in Kind if one == request.GET.get("kind")), None)
    counts = differences.counts(old, new)
    kind = kind or next((one for one in Kind if getattr(counts, one)), Kind.ADDED)
    page = differences.rows(old, new, kind, after=whole(request.GET.get("after")) or 0)
    tombstones.bury(page.tasks, signed_in(request))
    context = {
        "dataset": dataset,
        "old": old,
        "new": new,
        "kind": kind,
        "kinds": [(one.value, getattr(counts, one)) for one in Kind],
        "counts": counts,
        "page": page,
        "versions": dataset.versions.all()[:50],
    }
    return render(request, "tasks/dataset_changes.html", context)


def sides(dataset: Dataset, old: str, new: str) -> tuple[Side, Side]:
    """By version number; "" is the newest version for the old side, and now for the new one."""
    newest = dataset.versions.first()
    if newest is None:
        raise NotFound("no_version", f"{dataset} has no version to compare with: freeze one first.", "from")
    number = whole(old)
    before = exporting.version_of(dataset, number) if number is not None else newest
    number = whole(new)
    after = exporting.version_of(dataset, number) if number is not None else None
    return Side(dataset, before), Side(dataset, after)
