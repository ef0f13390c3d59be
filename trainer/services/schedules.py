"""Schedules: every fire time is decided once, and the reason is kept."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from django.db import IntegrityError, transaction
from django.utils import timezone

from tasks.errors import FlywheelError, Invalid
from tasks.models.events import Subject, record
from tasks.services import pool
from tasks.services.access import require_role
from tasks.states import Role
from trainer.models import DifficultyCheck, Firing, Line, Recipe, Schedule, TrainingRun
from trainer.services import difficulty, runs
from trainer.states import EvaluationState

_CHANGEABLE = {"cron", "timezone", "min_new_tasks", "min_hours", "enabled", "recipe"}


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
) -> Schedule:
    require_role(actor, line.team, Role.OPERATOR)
    schedule = Schedule(
        line=line,
        recipe=recipe,
        cron=cron,
        timezone=timezone,
        min_new_tasks=min_new_tasks,
        min_hours=min_hours,
        created_by=actor,
        decided_until=_now(),
    )
    _check(schedule)
    schedule.save()
    _tell("schedule.created", schedule, actor)
    return schedule


@transaction.atomic
def update(schedule: Schedule, *, actor: Any, **changes: Any) -> Schedule:
    """Change a schedule. Fire times that have passed meanwhile are not made up for."""
    require_role(actor, schedule.line.team, Role.OPERATOR)
    if unknown := set(changes) - _CHANGEABLE:
        raise Invalid("unknown_field", f"A schedule has no {', '.join(sorted(unknown))}.", min(unknown))
    for name, value in changes.items():
        setattr(schedule, name, value)
    _check(schedule)
    schedule.decided_until = _now()
    schedule.save()
    _tell("schedule.changed", schedule, actor)
    return schedule


def next_fire_times(schedule: Schedule, n: int = 5, *, after: datetime | None = None) -> list[datetime]:
    """In the schedule's time zone; daylight saving is cronsim's (a skipped hour fires once, a doubled one once)."""
    if not schedule.enabled:
        return []
    times = CronSim(schedule.cron, (after or _now()).astimezone(ZoneInfo(schedule.timezone)))
    return [next(times) for _ in range(n)]


def fire_due(now: datetime | None = None) -> list[Firing]:
    """Decide every schedule whose time has come. After downtime only the last missed fire time is decided."""
    now = now or _now()
    fired = []
    for schedule in Schedule.objects.filter(enabled=True).select_related("line", "line__team", "recipe"):
        due, missed = _last_due(schedule, now)
        if due is not None:
            firing = _fire(schedule, due, missed)
            if firing is not None:
                fired.append(firing)
    return fired


def fire_now(schedule: Schedule, *, actor: Any) -> Firing:
    """Run at once, whatever is new: a person asked for it."""
    require_role(actor, schedule.line.team, Role.OPERATOR)
    with transaction.atomic():
        run = runs.start(schedule.line, actor=actor, recipe=schedule.recipe, seed=_seed(schedule))
        firing = Firing.objects.create(
            schedule=schedule, due_at=_now(), outcome=Firing.Outcome.RAN, run=run, reason=f"{actor} asked for it."
        )
        _tell("schedule.fired", schedule, actor, reason=firing.reason)
    return firing


def go_on() -> list[Firing]:
    """Start the runs that waited for a measurement which has ended. One that was cancelled is followed by nothing; one
    that broke holds up no training: what it did not measure is as the recipe says of unknown tasks."""
    ended = DifficultyCheck.objects.filter(
        schedule__enabled=True, followed_at=None, state__in=[EvaluationState.SUCCEEDED, EvaluationState.FAILED]
    )
    firings = [_follow(check) for check in ended.select_related("schedule__line__team", "schedule__recipe")]
    return [firing for firing in firings if firing is not None]


@transaction.atomic
def _follow(check: DifficultyCheck) -> Firing | None:
    """Once: who finds the check followed already walks away."""
    if not DifficultyCheck.objects.filter(pk=check.pk, followed_at=None).update(followed_at=_now()):
        return None
    schedule = check.schedule
    assert schedule is not None
    reason = f"Its {check.asked:,} unmeasured tasks were measured first ({check.measured:,} have a pass rate now)."
    outcome, told, run = _run(schedule, reason)
    _tell("schedule.fired", schedule, None, outcome=outcome, reason=told)
    return Firing.objects.create(schedule=schedule, due_at=_now(), outcome=outcome, reason=told, run=run)


def _last_due(schedule: Schedule, now: datetime) -> tuple[datetime | None, int]:
    """The newest fire time that is due and undecided, and how many before it were missed."""
    due, missed = None, -1
    for time in CronSim(schedule.cron, schedule.decided_until.astimezone(ZoneInfo(schedule.timezone))):
        if time > now:
            break
        due, missed = time, missed + 1
        if missed > 10_000:  # a schedule of every minute after a week of downtime
            return _newest_before(schedule, now), missed
    return due, max(missed, 0)


def _newest_before(schedule: Schedule, now: datetime) -> datetime:
    zone = ZoneInfo(schedule.timezone)
    return next(CronSim(schedule.cron, now.astimezone(zone) + timedelta(seconds=1), reverse=True))


def _fire(schedule: Schedule, due: datetime, missed: int) -> Firing | None:
    """One decision per fire time: the unique key makes a second beat walk away."""
    try:
        with transaction.atomic():
            Schedule.objects.filter(pk=schedule.pk, decided_until__lt=due).update(decided_until=due)
            firing = Firing.objects.create(
                schedule=schedule, due_at=due, outcome=Firing.Outcome.SKIPPED, reason="Not decided yet."
            )
            firing.outcome, firing.reason, firing.run = _decide(schedule)
            if missed:
                firing.reason += f" {missed} earlier fire times passed while the platform was down."
            firing.save()
            _tell("schedule.fired", schedule, None, outcome=firing.outcome, reason=firing.reason)
            return firing
    except IntegrityError:
        return None


def _decide(schedule: Schedule) -> tuple[str, str, TrainingRun | None]:
    skipped = Firing.Outcome.SKIPPED
    last = schedule.line.runs.order_by("-pk").first()
    if last is not None and (hours := (_now() - last.created_at) / timedelta(hours=1)) < schedule.min_hours:
        return skipped, f"The last run started {hours:.1f} h ago; at least {schedule.min_hours:g} h must pass.", None
    since = last.created_at if last else None
    new = pool.new_approved_since(schedule.line.team, since)
    if new < schedule.min_new_tasks:
        return skipped, f"{new} newly approved tasks; at least {schedule.min_new_tasks} are asked for.", None
    check = _measured_first(schedule)
    if check is not None:
        words = f"{check.version.name} answers {check.asked:,} tasks that have no pass rate first (check {check.pk})"
        return skipped, f"{words}; the run starts when that has ended.", None
    return _run(schedule, f"{new} newly approved tasks since the last run.")


def _run(schedule: Schedule, reason: str) -> tuple[str, str, TrainingRun | None]:
    try:
        with transaction.atomic():
            run = runs.start(schedule.line, actor=None, recipe=schedule.recipe, seed=_seed(schedule))
    except FlywheelError as refused:
        return Firing.Outcome.SKIPPED, refused.sentence, None
    return Firing.Outcome.RAN, reason, run


def _measured_first(schedule: Schedule) -> DifficultyCheck | None:
    """The check for which this turn waits, where the recipe mixes by difficulty and somebody has to measure it."""
    if not schedule.recipe.body.get("difficulty") or not difficulty.missing(schedule.recipe):
        return None
    with transaction.atomic():
        check = difficulty.start(schedule.line, actor=None, recipe=schedule.recipe)
        DifficultyCheck.objects.filter(pk=check.pk).update(schedule=schedule)
    return check


def _seed(schedule: Schedule) -> int:
    """Each turn of a line draws anew: the recipe's seed plus the number of runs before."""
    return int(schedule.recipe.body.get("seed", 0)) + schedule.line.runs.count()


def _check(schedule: Schedule) -> None:
    if schedule.recipe.line_id != schedule.line_id:
        raise Invalid("other_line", "The recipe belongs to another line.", "recipe")
    try:
        zone = ZoneInfo(schedule.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Invalid(
            "unknown_timezone", f"{schedule.timezone!r} is no time zone: try Europe/Berlin.", "timezone"
        ) from error
    try:
        CronSim(schedule.cron, _now().astimezone(zone))
    except CronSimError as error:
        raise Invalid("bad_cron", f"{schedule.cron!r} is no cron time ({error}): try 0 3 * * 1-5.", "cron") from error
    if len(schedule.cron.split()) != 5:
        raise Invalid("bad_cron", "A cron time has five fields: minute, hour, day, month, weekday.", "cron")
    if schedule.min_new_tasks < 0 or schedule.min_hours < 0:
        raise Invalid("negative", "The minimum of new tasks and of hours is 0 or more.", "min_new_tasks")


def _tell(kind: str, schedule: Schedule, actor: Any, **data: Any) -> None:
    record(
        kind,
        subject=Subject("schedule", str(schedule.pk)),
        team=schedule.line.team_id,
        actor=actor,
        data={"cron": schedule.cron, "timezone": schedule.timezone, **data},
    )


def _now() -> datetime:
    return timezone.now()
