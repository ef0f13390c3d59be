"""/ops/schedules: when the next turn begins, and why the last one did or did not."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from tasks.errors import FlywheelError
from tasks.services import pool
from tasks.views import live
from tasks.views.listing import exported, facts_of, page_of
from trainer.forms import SCHEDULE_PRESETS, ScheduleForm
from trainer.models import Firing, Line, Recipe, Schedule
from trainer.services import firings, schedules
from trainer.views.scope import may_operate

STATES = {"on": True, "paused": False}
_TIMES = ("cron", "timezone", "quiet_from", "quiet_to", "quiet_days")


@login_required
@require_safe
def schedule_list(request: HttpRequest) -> HttpResponse:
    rows = Schedule.objects.for_user(request.user).select_related("line__team", "recipe")
    if line := request.GET.get("line"):
        rows = rows.filter(line__slug=line)
    counts = rows.aggregate(all=Count("pk"), on=Count("pk", filter=Q(enabled=True)))
    if (state := request.GET.get("state")) in STATES:
        rows = rows.filter(enabled=STATES[state])
    if reply := exported(request, facts_of(rows[:10_000], _facts), name="schedules"):
        return reply
    page = page_of(request, rows, size=20)
    context = {
        "page": page,
        "schedules": [_status(schedule, request.user) for schedule in page.rows],
        "all": counts["all"],
        "states": [("on", counts["on"]), ("paused", counts["all"] - counts["on"])],
        "lines": Line.objects.for_user(request.user).order_by("purpose", "slug")[:50],
        "presets": SCHEDULE_PRESETS,
        "may_make": bool(_own_recipes(request.user)),
    }
    return render(request, "trainer/schedules.html", context)


def _facts(schedule: Schedule) -> dict[str, Any]:
    return {
        "id": schedule.pk,
        "line": schedule.line.slug,
        "recipe": schedule.recipe.name,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "min_new_tasks": schedule.min_new_tasks,
        "min_hours": schedule.min_hours,
        "quiet": schedules.quiet_told(schedule),
        "enabled": schedule.enabled,
    }


def _status(schedule: Schedule, user: Any) -> dict[str, Any]:
    last_run = schedule.line.runs.order_by("-pk").first()
    coming = schedules.coming(schedule)
    return {
        "schedule": schedule,
        "coming": coming,
        "seconds": (coming[0].begins - timezone.now()).total_seconds() if coming else None,
        "last": schedule.firings.select_related("run").order_by("-decided_at").first(),
        "new_tasks": pool.new_approved_since(schedule.line.team, last_run.created_at if last_run else None),
        "last_run": last_run,
        "quiet": schedules.quiet_told(schedule),
        "may_operate": may_operate(user, schedule.line),
    }


def _recipes(user: Any) -> Any:
    return Recipe.objects.for_user(user).select_related("line__team").order_by("line__slug", "name")


def _own_recipes(user: Any) -> Any:
    """Of the lines that the user may train: what a form offers. What it takes the services decide."""
    lines = Line.objects.for_user(user).select_related("team")
    return _recipes(user).filter(line__in=[line.pk for line in lines if may_operate(user, line)])


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def create(request: HttpRequest) -> HttpResponse:
    """The form of a new schedule; its fire times before it is saved, where a preview is asked for."""
    if request.method != "POST":
        return _new(request, ScheduleForm(_recipes(request.user), initial=_preset(request)))
    form = ScheduleForm(_recipes(request.user), request.POST)
    if (preview := _previewed(request, form)) is not None or not form.is_valid():
        return _new(request, form, preview)
    given = dict(form.cleaned_data)
    recipe = given.pop("recipe")
    made = schedules.create(recipe.line, recipe, given.pop("cron"), actor=request.user, **given)
    messages.success(request, "The schedule is made, and it is on.")
    return redirect("schedule", made.pk)


def _new(request: HttpRequest, form: ScheduleForm, preview: dict[str, Any] | None = None) -> HttpResponse:
    form.offer(_own_recipes(request.user))
    context = {"form": form, "preview": preview, "presets": SCHEDULE_PRESETS}
    return render(request, "trainer/schedule_new.html", context)


def _preset(request: HttpRequest) -> dict[str, Any]:
    return dict(SCHEDULE_PRESETS.get(request.GET.get("preset", ""), ("", {}))[1])


def _previewed(request: HttpRequest, form: ScheduleForm) -> dict[str, Any] | None:
    """Fire times and notes where the form asks for them. What may not be is said beside its field, on saving too."""
    if not form.is_valid():
        return None
    try:
        coming, notes = schedules.preview(**{name: form.cleaned_data[name] for name in _TIMES})
    except FlywheelError as refused:
        form.refuse(refused)
        return None
    wanted = request.POST.get("do") == "preview"
    return {"coming": coming, "notes": notes, "timezone": form.cleaned_data["timezone"]} if wanted else None


def _find(request: HttpRequest, pk: int) -> Schedule:
    rows = Schedule.objects.for_user(request.user).select_related("line__team", "recipe")
    found: Schedule = get_object_or_404(rows, pk=pk)
    return found


def _form(schedule: Schedule, user: Any, given: Any = None, **preset: Any) -> ScheduleForm:
    now = {name: getattr(schedule, name) for name in ScheduleForm.base_fields}
    now["min_hours"] = f"{schedule.min_hours:g}"
    return ScheduleForm(_recipes(user).filter(line=schedule.line), given, initial={**now, **preset})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def schedule_page(request: HttpRequest, pk: int) -> HttpResponse:
    schedule = _find(request, pk)
    if request.method == "POST":
        return _changed(request, schedule)
    rows = schedule.firings.select_related("run").order_by("-pk")
    if outcome := request.GET.get("outcome"):
        rows = rows.filter(outcome=outcome)
    if reply := exported(request, facts_of(rows[:100_000], _firing_facts), name=f"schedule-{pk}-firings"):
        return reply
    return _page(request, schedule, _form(schedule, request.user, **_preset(request)), rows=rows)


def _changed(request: HttpRequest, schedule: Schedule) -> HttpResponse:
    form = _form(schedule, request.user, request.POST)
    if (preview := _previewed(request, form)) is not None or not form.is_valid():
        return _page(request, schedule, form, preview)
    schedules.update(schedule, actor=request.user, **form.cleaned_data)
    messages.success(request, "The schedule is changed.")
    return redirect("schedule", schedule.pk)


def _page(
    request: HttpRequest,
    schedule: Schedule,
    form: ScheduleForm,
    preview: dict[str, Any] | None = None,
    *,
    rows: Any = None,
) -> HttpResponse:
    rows = schedule.firings.select_related("run").order_by("-pk") if rows is None else rows
    counts = dict(schedule.firings.order_by().values_list("outcome").annotate(n=Count("pk")))
    context = {
        **_status(schedule, request.user),
        "notes": schedules.notes(schedule),
        "form": form,
        "preview": preview,
        "changing": form.is_bound or "preset" in request.GET,
        "presets": SCHEDULE_PRESETS,
        "page": page_of(request, rows),
        "counts": [(outcome, counts.get(outcome, 0)) for outcome in Firing.Outcome.values],
        "all": sum(counts.values()),
        "ran": counts.get(Firing.Outcome.RAN, 0),
    }
    return render(request, "trainer/schedule.html", context)


def _firing_facts(firing: Firing) -> dict[str, Any]:
    return {
        "id": firing.pk,
        "due_at": firing.due_at.isoformat(),
        "deferred_to": firing.deferred_to.isoformat() if firing.deferred_to else "",
        "decided_at": firing.decided_at.isoformat(),
        "outcome": firing.outcome,
        "reason": firing.reason,
        "run": firing.run_id or "",
    }


@login_required
@require_safe
def status(request: HttpRequest, pk: int) -> HttpResponse:
    return live.fragment(request, "trainer/_schedule_status.html", _status(_find(request, pk), request.user))


@login_required
@require_POST
def switch(request: HttpRequest, pk: int) -> HttpResponse:
    """Pause it, or let it go on: what the button said, so that a second press changes nothing."""
    enabled = request.POST.get("to") == "on"
    schedules.update(_find(request, pk), actor=request.user, enabled=enabled)
    told = "goes on: fire times that passed meanwhile are not made up for" if enabled else "is paused"
    messages.success(request, f"The schedule {told}.")
    return redirect("schedule", pk)


@login_required
@require_POST
def fire(request: HttpRequest, pk: int) -> HttpResponse:
    firing = firings.fire_now(_find(request, pk), actor=request.user)
    messages.success(request, f"Run {firing.run_id} is queued.")
    return redirect("run", firing.run_id)
