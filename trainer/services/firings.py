"""Firings: every fire time is decided once, outside of quiet hours, and the reason is kept."""

import logging
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import transaction
from django.utils import timezone

from tasks.errors import FlywheelError
from tasks.services import pool
from tasks.services.access import require_role
from tasks.states import Role
from trainer.fire_times import last_due
from trainer.models import DifficultyCheck, Evaluation, Firing, Line, ModelVersion, Schedule, TrainingRun
from trainer.services import difficulty, runs, schedules
from trainer.states import RUN_ENDED, EvaluationState, RunState

logger = logging.getLogger(__name__)
MOST_WORDS = 500  # characters of a reason


class Decision(NamedTuple):
    outcome: str
    reason: str
    run: TrainingRun | None = None


def fire_due(now: datetime | None = None) -> list[Firing]:
    """Decide every schedule whose time has come. After downtime only the last missed fire time is decided."""
    now = now or _now()
    found = []
    for schedule in Schedule.objects.filter(enabled=True).select_related("line__team", "recipe"):
        try:
            found.append(_fire(schedule, now))
        except Exception:  # one that cannot be decided holds up no other
            logger.exception("schedule %s could not be decided; the next beat tries again", schedule.pk)
    return [firing for firing in found if firing is not None]


def fire_now(schedule: Schedule, *, actor: Any) -> Firing:
    """Run at once, whatever is new and in quiet hours too: a person asked for it."""
    require_role(actor, schedule.line.team, Role.OPERATOR)
    with transaction.atomic():
        run = runs.start(schedule.line, actor=actor, recipe=schedule.recipe, seed=_seed(schedule))
        asked = f"{actor} asked for it{', in quiet hours' if schedules.quiet_until(schedule, _now()) else ''}."
        return _kept(Firing(schedule=schedule, due_at=_now()), Decision(Firing.Outcome.RAN, asked, run), actor)


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
    now = _now()
    if not DifficultyCheck.objects.filter(pk=check.pk, followed_at=None).update(followed_at=now):
        return None
    schedule = check.schedule
    assert schedule is not None
    if until := schedules.quiet_until(schedule, now):
        return _defer(schedule, now, until)
    reason = f"Its {check.asked:,} unmeasured tasks were measured first ({check.measured:,} have a pass rate now)."
    return _kept(Firing(schedule=schedule, due_at=now), _run(schedule, reason))


@transaction.atomic
def _fire(schedule: Schedule, now: datetime) -> Firing | None:
    """One decision per fire time: who finds it taken by another beat walks away.

    A deferred fire time is decided at the first beat after the quiet hours, together with those that came meanwhile.
    """
    due, missed = last_due(schedule.cron, schedule.zone, schedule.decided_until, now)
    if due is not None and not _take(schedule, due):
        return None
    until, waiting = schedules.quiet_until(schedule, now), schedule.deferred
    if until:
        return _defer(schedule, due, until, _missed(missed))
    if waiting is not None:
        return _settle(waiting, schedule, now)
    if due is None:
        return None
    return _kept(Firing(schedule=schedule, due_at=due), _decide(schedule, now), more=_missed(missed))


def _take(schedule: Schedule, due: datetime) -> bool:
    """The lock: the schedule is as it was read, and this fire time is ours."""
    as_read = Schedule.objects.filter(pk=schedule.pk, enabled=True, decided_until=schedule.decided_until)
    return bool(as_read.update(decided_until=due))


def _defer(schedule: Schedule, due: datetime | None, until: datetime, more: str = "") -> Firing | None:
    """Put the fire time off to the end of the quiet hours, once: another one waits for the same moment already."""
    waiting = Firing.objects.filter(schedule=schedule, outcome=Firing.Outcome.DEFERRED)
    if waiting.update(deferred_to=until) or due is None:
        return None
    local = until.astimezone(schedule.zone)
    reason = f"Quiet hours until {local:%H:%M} ({schedule.timezone}): it is decided then.{more}"
    schedules.tell("schedule.deferred", schedule, None, until=until.isoformat())
    return Firing.objects.create(
        schedule=schedule, due_at=due, deferred_to=until, outcome=Firing.Outcome.DEFERRED, reason=reason[:MOST_WORDS]
    )


def _settle(waiting: Firing, schedule: Schedule, now: datetime) -> Firing | None:
    """What becomes of a deferred fire time: who finds it decided walks away."""
    mine = Firing.objects.filter(pk=waiting.pk, outcome=Firing.Outcome.DEFERRED)
    if not mine.update(outcome=Firing.Outcome.SKIPPED, decided_at=now):
        return None
    waiting.decided_at = now
    decision = _decide(schedule, now)
    due = waiting.due_at.astimezone(schedule.zone)
    told = f"Deferred from {due:%H:%M} by quiet hours. {decision.reason}"
    return _kept(waiting, decision._replace(reason=told))


def _kept(firing: Firing, decision: Decision, actor: Any = None, *, more: str = "") -> Firing:
    firing.outcome, firing.run = decision.outcome, decision.run
    firing.reason = (decision.reason + more)[:MOST_WORDS]
    firing.save()
    schedules.tell("schedule.fired", firing.schedule, actor, outcome=firing.outcome, reason=firing.reason)
    return firing


def _missed(count: int) -> str:
    if not count:
        return ""
    return f" {count:,} earlier fire time{'s' * (count > 1)} passed while nobody looked: not made up for."


def _decide(schedule: Schedule, now: datetime) -> Decision:
    last = schedule.line.runs.order_by("-pk").first()
    if unfinished := _unfinished(schedule.line):
        return Decision(Firing.Outcome.SKIPPED, unfinished)
    if last is not None and (hours := (now - last.created_at) / timedelta(hours=1)) < schedule.min_hours:
        reason = f"The last run started {hours:.1f} h ago; at least {schedule.min_hours:g} h must pass."
        return Decision(Firing.Outcome.SKIPPED, reason)
    new = pool.new_approved_since(schedule.line.team, last.created_at if last else None)
    if new < schedule.min_new_tasks:
        reason = f"{new} newly approved tasks; at least {schedule.min_new_tasks} are asked for."
        return Decision(Firing.Outcome.SKIPPED, reason)
    return _measured_first(schedule) or _run(schedule, f"{new} newly approved tasks since the last run.")


def _unfinished(line: Line) -> str:
    """The turn that the line is still at, in a sentence: its run, or what decides from which champion the next begins.

    A paused run waits for a person and holds up nobody else.
    """
    run = line.runs.exclude(state__in=[*RUN_ENDED, RunState.PAUSED]).order_by("pk").first()
    if run is not None:
        return f"Run {run.pk} of {line.name} is {run.state}: one run at a time, wait for it, pause or cancel it."
    version = line.versions.to_be_evaluated().order_by("pk").first()
    if version is not None:
        return _before_the_gate(version, "it is not evaluated")
    over = [EvaluationState.FAILED, EvaluationState.CANCELLED]
    going = Evaluation.objects.filter(line=line, report=None).exclude(state__in=over).order_by("pk").first()
    if going is not None:
        return _before_the_gate(going.candidate, f"evaluation {going.pk} of {going.candidate.name} has no verdict")
    return ""


def _before_the_gate(version: ModelVersion, where: str) -> str:
    whose = f"Run {version.run_id} of {version.line.name}" if version.run_id else version.name
    return f"{whose} is not through the gate ({where} yet): the next run begins from the champion that comes out of it."


def _run(schedule: Schedule, reason: str) -> Decision:
    if unfinished := _unfinished(schedule.line):
        return Decision(Firing.Outcome.SKIPPED, unfinished)
    try:
        with transaction.atomic():
            run = runs.start(schedule.line, actor=None, recipe=schedule.recipe, seed=_seed(schedule))
    except FlywheelError as refused:
        return Decision(Firing.Outcome.SKIPPED, refused.sentence)
    return Decision(Firing.Outcome.RAN, reason, run)


def _measured_first(schedule: Schedule) -> Decision | None:
    """That this turn waits for a check, where the recipe mixes by difficulty and somebody has to measure it."""
    if not schedule.recipe.body.get("difficulty") or not difficulty.missing(schedule.recipe):
        return None
    try:
        with transaction.atomic():
            check = difficulty.start(schedule.line, actor=None, recipe=schedule.recipe)
            DifficultyCheck.objects.filter(pk=check.pk).update(schedule=schedule)
    except FlywheelError as refused:
        return Decision(Firing.Outcome.SKIPPED, refused.sentence)
    words = f"{check.version.name} answers {check.asked:,} tasks that have no pass rate first (check {check.pk})"
    return Decision(Firing.Outcome.SKIPPED, f"{words}; the run starts when that has ended.")


def _seed(schedule: Schedule) -> int:
    """Each turn of a line draws anew: the recipe's seed plus the number of runs before."""
    return int(schedule.recipe.body.get("seed", 0)) + schedule.line.runs.count()


def _now() -> datetime:
    return timezone.now()
