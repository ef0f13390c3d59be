"""/ops/schedules: when the next turn starts, and why the last one did or did not."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from tasks.errors import Invalid
from tasks.services import pool
from trainer.forms import ScheduleForm
from trainer.models import Recipe, Schedule
from trainer.services import schedules
from trainer.views.scope import may_operate


@login_required
@require_safe
def schedule_list(request: HttpRequest) -> HttpResponse:
    rows = Schedule.objects.for_user(request.user).select_related("line__team", "recipe")
    mine = [recipe for recipe in _recipes(request.user) if may_operate(request.user, recipe.line)]
    context = {
        "schedules": [_shown(schedule, request.user) for schedule in rows[:50]],
        "form": ScheduleForm(_recipes(request.user)),
        "recipes": mine,
    }
    return render(request, "trainer/schedules.html", context)


def _recipes(user: Any) -> Any:
    return Recipe.objects.for_user(user).select_related("line__team").order_by("line__slug", "name")


def _shown(schedule: Schedule, user: Any) -> dict[str, Any]:
    last_run = schedule.line.runs.order_by("-pk").first()
    return {
        "schedule": schedule,
        "times": schedules.next_fire_times(schedule),
        "firings": schedule.firings.select_related("run")[:8],
        "new_tasks": pool.new_approved_since(schedule.line.team, last_run.created_at if last_run else None),
        "last_run": last_run,
        "form": ScheduleForm(
            _recipes(user).filter(line=schedule.line),
            initial={name: getattr(schedule, name) for name in ScheduleForm.base_fields},
        ),
        "may_operate": may_operate(user, schedule.line),
    }


def _given(request: HttpRequest, recipes: Any) -> dict[str, Any]:
    form = ScheduleForm(recipes, request.POST)
    if not form.is_valid():
        field, errors = next(iter(form.errors.items()))
        raise Invalid("schedule_invalid", f"{field}: {' '.join(map(str, errors))}", field)
    return dict(form.cleaned_data)


@login_required
@require_POST
def create(request: HttpRequest) -> HttpResponse:
    given = _given(request, _recipes(request.user))
    given.pop("enabled")
    recipe = given.pop("recipe")
    schedules.create(recipe.line, recipe, given.pop("cron"), actor=request.user, **given)
    messages.success(request, "The schedule is made: its next fire times are below.")
    return redirect("schedules")


def _find(request: HttpRequest, pk: int) -> Schedule:
    rows = Schedule.objects.for_user(request.user).select_related("line__team", "recipe")
    found: Schedule = get_object_or_404(rows, pk=pk)
    return found


@login_required
@require_POST
def update(request: HttpRequest, pk: int) -> HttpResponse:
    schedule = _find(request, pk)
    changes = _given(request, _recipes(request.user).filter(line=schedule.line))
    schedules.update(schedule, actor=request.user, **changes)
    messages.success(request, "The schedule is changed.")
    return redirect("schedules")


@login_required
@require_POST
def fire(request: HttpRequest, pk: int) -> HttpResponse:
    firing = firings.fire_now(_find(request, pk), actor=request.user)
    messages.success(request, f"Run {firing.run_id} is queued.")
    return redirect("run", firing.run_id)
