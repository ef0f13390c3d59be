"""Schedules: when a line's turns begin. What becomes of each fire time is decided in firings.py."""

from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from django.db import transaction
from django.utils import timezone as clock

from tasks.errors import Invalid
from tasks.models.events import Subject, record
from tasks.services.access import require_role
from tasks.states import Role
from trainer.fire_times import DAYS, Coming, always_quiet, soonest
from trainer.models import Firing, Line, Recipe, Schedule

_CHANGEABLE = {
    "cron",
    "timezone",
    "min_new_tasks",
    "min_hours",
    "quiet_from",
    "quiet_to",
    "quiet_days",
    "enabled",
    "recipe",
}


@transaction.atomic
def create(
    line: Line,
    recipe: Recipe,
    cron: str,
    *,
    actor: Any,
    timezone: str = "UTC",
    min_new_tasks: int = 100,
    min_hours: float = 0,
    quiet_from: time | None = None,
    quiet_to: time | None = None,
    quiet_days: list[int] | None = None,
) -> Schedule:
    require_role(actor, line.team, Role.OPERATOR)
    schedule = Schedule(
        line=line,
        recipe=recipe,
        cron=cron,
        timezone=timezone,
        min_new_tasks=min_new_tasks,
        min_hours=min_hours,
        quiet_from=quiet_from,
        quiet_to=quiet_to,
        quiet_days=quiet_days or [],
        created_by=actor,
        decided_until=clock.now(),
    )
    _check(schedule)
    schedule.save()
    tell("schedule.created", schedule, actor)
    return schedule


@transaction.atomic
def update(schedule: Schedule, *, actor: Any, **changes: Any) -> Schedule:
    """Change a schedule, or switch it off and on. Fire times that have passed meanwhile are not made up for."""
    require_role(actor, schedule.line.team, Role.OPERATOR)
    if unknown := set(changes) - _CHANGEABLE:
        raise Invalid("unknown_field", f"A schedule has no {', '.join(sorted(unknown))}.", min(unknown))
    for name, value in changes.items():
        setattr(schedule, name, value)
    _check(schedule)
    schedule.decided_until = clock.now()
    schedule.save()
    _defer_anew(schedule)
    tell("schedule.changed", schedule, actor)
    return schedule


def preview(cron: str, *, n: int = 5, **values: Any) -> tuple[list[Coming], list[str]]:
    """The next fire times that a schedule like this would have, and what to know about it. No row is written."""
    schedule = Schedule(cron=cron, **values)
    _check_times(schedule)
    return coming(schedule, n), notes(schedule)


def coming(schedule: Schedule, n: int = 5, *, after: datetime | None = None) -> list[Coming]:
    """The next fire times in the schedule's zone, a deferred one first; none while it is off."""
    if not schedule.enabled:
        return []
    zone, waiting = schedule.zone, schedule.deferred if schedule.pk else None
    if waiting is None or waiting.deferred_to is None:
        return soonest(schedule.cron, zone, after or clock.now(), n, schedule.quiet)
    first = Coming(waiting.due_at.astimezone(zone), waiting.deferred_to.astimezone(zone))
    return [first, *soonest(schedule.cron, zone, first.begins, n - 1, schedule.quiet)]


def next_fire_times(schedule: Schedule, n: int = 5, *, after: datetime | None = None) -> list[datetime]:
    """When its next runs may begin."""
    return [one.begins for one in coming(schedule, n, after=after)]


def notes(schedule: Schedule) -> list[str]:
    """What a person may not have meant."""
    quiet = schedule.quiet
    if quiet is None or not always_quiet(schedule.cron, schedule.zone, clock.now(), quiet):
        return []
    return [
        f"Every fire time lies in the quiet hours, so each turn is put off to their end at {quiet.end:%H:%M}. Choose "
        "another time, or other quiet hours, if you did not mean that."
    ]


def quiet_until(schedule: Schedule, now: datetime) -> datetime | None:
    """When the quiet hours that go on now end; None outside of them."""
    over = schedule.quiet.over(now, schedule.zone) if schedule.quiet else now
    return over if over > now else None


def quiet_told(schedule: Schedule) -> str:
    """The quiet hours in words; "" for none."""
    if schedule.quiet_from is None or schedule.quiet_to is None:
        return ""
    days = ", ".join(DAYS[day - 1] for day in sorted(schedule.quiet_days))
    span = f"{schedule.quiet_from:%H:%M} to {schedule.quiet_to:%H:%M}"
    return f"{span}, beginning on {days}" if days else f"{span}, every day"


def tell(kind: str, schedule: Schedule, actor: Any, **data: Any) -> None:
    record(
        kind,
        subject=Subject("schedule", str(schedule.pk)),
        team=schedule.line.team_id,
        actor=actor,
        data={"cron": schedule.cron, "timezone": schedule.timezone, "quiet": quiet_told(schedule), **data},
    )


def _defer_anew(schedule: Schedule) -> None:
    """A deferred fire time waits for the quiet hours as they are now; of a schedule that is off it comes to nothing."""
    waiting = Firing.objects.filter(schedule=schedule, outcome=Firing.Outcome.DEFERRED)
    if not schedule.enabled:
        waiting.update(outcome=Firing.Outcome.SKIPPED, reason="It was deferred, and then the schedule was paused.")
    else:
        now = clock.now()
        waiting.update(deferred_to=quiet_until(schedule, now) or now)


def _check(schedule: Schedule) -> None:
    if schedule.recipe.line_id != schedule.line_id:
        raise Invalid("other_line", "The recipe belongs to another line.", "recipe")
    if schedule.min_new_tasks < 0 or schedule.min_hours < 0:
        raise Invalid("negative", "The minimum of new tasks and of hours is 0 or more.", "min_new_tasks")
    _check_times(schedule)


def _check_times(schedule: Schedule) -> None:
    zone = _zone(schedule.timezone)
    if len(schedule.cron.split()) != 5:
        raise Invalid("bad_cron", "A cron time has five fields: minute, hour, day, month, weekday.", "cron")
    try:
        CronSim(schedule.cron, clock.now().astimezone(zone))
    except CronSimError as error:
        raise Invalid("bad_cron", f"{schedule.cron!r} is no cron time ({error}): try 0 3 * * 1-5.", "cron") from error
    if not soonest(schedule.cron, zone, clock.now(), 1):
        raise Invalid("bad_cron", f"{schedule.cron!r} never comes: try 0 3 * * 1-5.", "cron")
    _check_quiet_hours(schedule)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Invalid("unknown_timezone", f"{name!r} is no time zone: try Europe/Berlin.", "timezone") from error


def _check_quiet_hours(schedule: Schedule) -> None:
    if (schedule.quiet_from is None) != (schedule.quiet_to is None):
        missing = "quiet_from" if schedule.quiet_from is None else "quiet_to"
        raise Invalid("bad_quiet_hours", "Quiet hours need a beginning and an end: give both, or neither.", missing)
    if schedule.quiet_from is not None and schedule.quiet_from == schedule.quiet_to:
        words = "Quiet hours that end when they begin would be all day: pause the schedule if no run shall begin."
        raise Invalid("bad_quiet_hours", words, "quiet_to")
    days = schedule.quiet_days
    if not isinstance(days, list) or any(day not in range(1, 8) for day in days):
        raise Invalid("bad_quiet_hours", "Days of quiet hours go from 1 (Monday) to 7 (Sunday).", "quiet_days")
    schedule.quiet_days = sorted(set(days)) if len(set(days)) < 7 else []
