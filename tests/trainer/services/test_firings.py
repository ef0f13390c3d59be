"""Firings: every fire time is decided once, and says why a run began or did not."""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.utils import timezone

from tasks.errors import Forbidden
from tasks.models import Dataset, Event, User
from tests.trainer.services.at_once import at_once
from trainer.models import (
    Alias,
    DifficultyCheck,
    Evaluation,
    Firing,
    GateReport,
    Line,
    ModelVersion,
    Schedule,
    TrainingRun,
)
from trainer.services import firings, recipes, runs, schedules

Fill = Callable[..., Dataset]
DAY = datetime(2030, 1, 15, tzinfo=UTC)  # a Tuesday


def at(clock: str, *, day: int = 0) -> datetime:
    hour, minute = map(int, clock.split(":"))
    return DAY + timedelta(days=day, hours=hour, minutes=minute)


def put(schedule: Schedule, **values: Any) -> Schedule:
    """The schedule as rows of an earlier time would have left it."""
    Schedule.objects.filter(pk=schedule.pk).update(**values)
    return Schedule.objects.get(pk=schedule.pk)


@pytest.fixture
def schedule(line: Line, fill: Fill, operator: User) -> Schedule:
    """Hourly, last due five minutes ago and last looked at before: one fire time, at whatever minute a test runs."""
    fill()
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
    now = timezone.now()
    cron = f"{(now - timedelta(minutes=5)).minute} * * * *"
    made = schedules.create(line, recipe, cron, actor=operator, min_new_tasks=10)
    return put(made, decided_until=now - timedelta(minutes=30))


@pytest.fixture
def nightly(schedule: Schedule) -> Schedule:
    """At three, quiet from ten to six; it is noon before."""
    quiet = {"quiet_from": time(22), "quiet_to": time(6)}
    return put(schedule, cron="0 3 * * *", decided_until=at("12:00", day=-1), **quiet)


# What it takes


def test_a_due_schedule_with_enough_new_tasks_starts_a_run(schedule: Schedule):
    (firing,) = firings.fire_due()

    assert firing.outcome == "ran"
    assert firing.run == TrainingRun.objects.get()
    assert firing.reason == "120 newly approved tasks since the last run."


def test_too_few_new_tasks_skip_with_the_count(schedule: Schedule):
    put(schedule, min_new_tasks=10_000)

    (firing,) = firings.fire_due()

    assert firing.outcome == "skipped"
    assert firing.reason == "120 newly approved tasks; at least 10000 are asked for."


def test_only_what_was_approved_since_the_last_run_is_new(schedule: Schedule, operator: User):
    TrainingRun.objects.filter(pk=firings.fire_now(schedule, actor=operator).run.pk).update(state="failed")

    (firing,) = firings.fire_due()

    assert firing.reason == "0 newly approved tasks; at least 10 are asked for."


def test_minimum_hours_since_the_last_run_are_kept(schedule: Schedule, operator: User):
    TrainingRun.objects.filter(pk=firings.fire_now(schedule, actor=operator).run.pk).update(state="failed")
    put(schedule, min_new_tasks=0, min_hours=6)

    (firing,) = firings.fire_due()

    assert (firing.outcome, firing.reason) == ("skipped", "The last run started 0.0 h ago; at least 6 h must pass.")


def test_a_disabled_schedule_does_nothing(schedule: Schedule):
    put(schedule, enabled=False)

    assert firings.fire_due() == []


def test_what_refuses_a_run_is_the_reason(schedule: Schedule, line: Line):
    line.aliases.all().delete()

    (firing,) = firings.fire_due()

    assert (firing.outcome, "has no version yet" in firing.reason) == ("skipped", True)


def test_every_decision_is_an_event(schedule: Schedule):
    firings.fire_due()

    data = Event.objects.get(kind="schedule.fired").data
    assert (data["outcome"], data["reason"]) == ("ran", "120 newly approved tasks since the last run.")


def test_a_schedule_that_breaks_holds_up_no_other(schedule: Schedule, operator: User, line: Line):
    broken = schedules.create(line, schedule.recipe, "0 * * * *", actor=operator)
    put(broken, cron="no longer", decided_until=timezone.now() - timedelta(days=1))

    (firing,) = firings.fire_due()

    assert firing.schedule == schedule


# Once


def test_a_fire_time_is_decided_once(schedule: Schedule):
    firings.fire_due()

    assert firings.fire_due() == []


def test_after_downtime_only_the_last_missed_time_is_decided(schedule: Schedule):
    put(schedule, cron="0 3 * * *", decided_until=at("12:00", day=-4))

    (firing,) = firings.fire_due(at("12:00"))

    assert firing.due_at == at("03:00")
    assert firing.reason.endswith(" 3 earlier fire times passed while nobody looked: not made up for.")
    assert Firing.objects.count() == 1
    assert firings.fire_due(at("12:00")) == []


def test_one_missed_time_is_told_as_one(schedule: Schedule):
    put(schedule, cron="0 3 * * *", decided_until=at("12:00", day=-2))

    (firing,) = firings.fire_due(at("12:00"))

    assert firing.reason.endswith(" 1 earlier fire time passed while nobody looked: not made up for.")


def test_a_beat_that_read_the_schedule_before_a_change_walks_away(schedule: Schedule, operator: User):
    stale = Schedule.objects.get(pk=schedule.pk)
    schedules.update(schedule, actor=operator, min_new_tasks=10_000)

    assert firings._fire(stale, timezone.now()) is None


def test_a_beat_that_is_late_decides_no_fire_time_before_the_last_one(schedule: Schedule):
    slow = put(schedule, cron="* * * * *", decided_until=at("11:59"))
    firings.fire_due(at("12:01"))

    assert firings._fire(slow, at("12:00")) is None
    assert [firing.due_at for firing in Firing.objects.all()] == [at("12:01")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("deferred", [False, True], ids=["due", "deferred"])
def test_beats_at_the_same_moment_make_one_firing_and_one_run(schedule: Schedule, deferred: bool):
    put(schedule, cron="0 * * * *", decided_until=at("11:59"))
    if deferred:
        Firing.objects.create(schedule=schedule, due_at=at("03:00"), deferred_to=at("06:00"), outcome="deferred")
        put(schedule, cron="0 3 * * *")

    found = at_once(lambda: firings.fire_due(at("12:00")), times=4)

    assert sorted(len(each) for each in found) == [0, 0, 0, 1]
    assert [firing.outcome for firing in Firing.objects.all()] == ["ran"]
    assert TrainingRun.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_schedules_of_a_line_at_the_same_moment_start_one_run(schedule: Schedule, operator: User, line: Line):
    other = schedules.create(line, schedule.recipe, "0 * * * *", actor=operator, min_new_tasks=0)
    for each in (schedule, other):
        put(each, cron="0 * * * *", decided_until=at("11:59"))

    at_once(lambda: firings.fire_due(at("12:00")), times=3)

    assert TrainingRun.objects.count() == 1
    assert sorted(Firing.objects.values_list("outcome", flat=True)) == ["ran", "skipped"]


# One turn at a time


@pytest.fixture
def trained(schedule: Schedule, operator: User) -> ModelVersion:
    """A run that has ended, and the version that it made."""
    run = firings.fire_now(schedule, actor=operator).run
    TrainingRun.objects.filter(pk=run.pk).update(state="succeeded")
    put(schedule, min_new_tasks=0)
    line = schedule.line
    version = ModelVersion.objects.create(line=line, number=1, digest="1" * 64, run=run, parent=run.start, origin="run")
    Alias.objects.create(line=line, name="challenger", version=version)
    return version


def evaluation_of(version: ModelVersion, state: str) -> Evaluation:
    champion = version.line.versions.get(number=0)
    return Evaluation.objects.create(
        line=version.line,
        candidate=version,
        champion=champion,
        sampling={},
        policy={},
        policy_digest="4" * 64,
        state=state,
    )


@pytest.mark.parametrize("state", ["queued", "running", "pausing"])
def test_a_run_of_the_line_skips_with_its_name(schedule: Schedule, operator: User, state: str):
    run = firings.fire_now(schedule, actor=operator).run
    TrainingRun.objects.filter(pk=run.pk).update(state=state)

    (firing,) = firings.fire_due()

    assert firing.outcome == "skipped"
    assert firing.reason.startswith(f"Run {run.pk} of Flywheel is {state}: one run at a time, wait for it")
    assert TrainingRun.objects.count() == 1


def test_a_paused_run_holds_up_nothing(schedule: Schedule, operator: User):
    TrainingRun.objects.filter(pk=firings.fire_now(schedule, actor=operator).run.pk).update(state="paused")
    put(schedule, min_new_tasks=0)

    (firing,) = firings.fire_due()

    assert firing.outcome == "ran"


def test_a_version_that_is_not_evaluated_yet_skips_with_its_run(schedule: Schedule, trained: ModelVersion):
    (firing,) = firings.fire_due()

    assert firing.outcome == "skipped"
    assert firing.reason.startswith(f"Run {trained.run_id} of Flywheel is not through the gate (it is not evaluated")


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_an_evaluation_without_a_verdict_skips_with_its_run(schedule: Schedule, trained: ModelVersion, state: str):
    evaluation = evaluation_of(trained, state)

    (firing,) = firings.fire_due()

    assert firing.outcome == "skipped"
    assert firing.reason.startswith(
        f"Run {trained.run_id} of Flywheel is not through the gate (evaluation {evaluation.pk} of shared/v1 has no"
    )


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_an_evaluation_that_broke_holds_up_no_turn(schedule: Schedule, trained: ModelVersion, state: str):
    evaluation_of(trained, state)

    (firing,) = firings.fire_due()

    assert firing.outcome == "ran"


def test_after_the_verdict_the_next_turn_begins(schedule: Schedule, trained: ModelVersion):
    evaluation = evaluation_of(trained, "succeeded")
    GateReport.objects.create(
        line=schedule.line, evaluation=evaluation, verdict="HOLD", sentence="No.", decision={}, policy_digest="4" * 64
    )

    (firing,) = firings.fire_due()

    assert firing.outcome == "ran"


def test_what_cannot_be_evaluated_holds_up_no_turn(schedule: Schedule, trained: ModelVersion):
    ModelVersion.objects.filter(pk=trained.pk).update(not_evaluated="Nothing is sealed.")

    (firing,) = firings.fire_due()

    assert firing.outcome == "ran"


# Quiet hours


def test_a_fire_time_in_quiet_hours_is_deferred_with_the_reason(nightly: Schedule):
    (firing,) = firings.fire_due(at("03:00"))

    assert (firing.outcome, firing.due_at, firing.deferred_to) == ("deferred", at("03:00"), at("06:00"))
    assert firing.reason == "Quiet hours until 06:00 (UTC): it is decided then."
    assert not TrainingRun.objects.exists()


def test_it_stays_deferred_until_they_end(nightly: Schedule):
    firings.fire_due(at("03:00"))

    assert firings.fire_due(at("05:59")) == []
    assert not TrainingRun.objects.exists()


def test_at_their_end_it_runs_and_keeps_why_it_was_late(nightly: Schedule):
    firings.fire_due(at("03:00"))

    (firing,) = firings.fire_due(at("06:00"))

    assert (firing.outcome, firing.due_at, firing.deferred_to) == ("ran", at("03:00"), at("06:00"))
    assert firing.reason == "Deferred from 03:00 by quiet hours. 120 newly approved tasks since the last run."
    assert firing.decided_at == at("06:00")
    assert Firing.objects.count() == 1
    assert firings.fire_due(at("06:01")) == []


def test_at_their_end_the_conditions_are_those_of_that_moment(nightly: Schedule):
    firings.fire_due(at("03:00"))
    put(nightly, min_new_tasks=10_000)

    (firing,) = firings.fire_due(at("06:00"))

    assert firing.outcome == "skipped"
    assert firing.reason == (
        "Deferred from 03:00 by quiet hours. 120 newly approved tasks; at least 10000 are asked for."
    )


def test_of_a_whole_quiet_night_one_fire_time_is_deferred(nightly: Schedule):
    put(nightly, cron="*/30 * * * *", decided_until=at("21:45", day=-1))
    for minutes in range(0, 8 * 60 + 15, 15):
        firings.fire_due(at("22:00", day=-1) + timedelta(minutes=minutes))

    (firing,) = Firing.objects.all()
    assert (firing.due_at, firing.outcome, firing.decided_at) == (at("22:00", day=-1), "ran", at("06:00"))


def test_quiet_hours_on_other_days_defer_nothing(nightly: Schedule):
    put(nightly, quiet_days=[6, 7])

    (firing,) = firings.fire_due(at("03:00"))

    assert firing.outcome == "ran"


def test_a_fire_time_before_quiet_hours_that_nobody_looked_at_begins_no_run_in_them(nightly: Schedule):
    put(nightly, cron="59 21 * * *")

    (firing,) = firings.fire_due(at("22:05", day=-1))

    assert (firing.outcome, firing.deferred_to) == ("deferred", at("06:00"))


def test_downtime_over_the_whole_of_quiet_hours_decides_at_once(nightly: Schedule):
    (firing,) = firings.fire_due(at("09:00"))

    assert (firing.outcome, firing.deferred_to) == ("ran", None)


def test_downtime_into_the_next_quiet_hours_waits_for_their_end(nightly: Schedule):
    firings.fire_due(at("03:00"))

    assert firings.fire_due(at("23:00")) == []
    assert Firing.objects.get().deferred_to == at("06:00", day=1)
    assert [firing.outcome for firing in firings.fire_due(at("06:00", day=1))] == ["ran"]


def test_lifting_the_quiet_hours_lets_what_was_deferred_begin(nightly: Schedule, operator: User):
    firings.fire_due(at("03:00"))
    schedules.update(Schedule.objects.get(), actor=operator, quiet_from=None, quiet_to=None)
    put(nightly, decided_until=at("03:00"))

    (firing,) = firings.fire_due(at("03:01"))

    assert firing.outcome == "ran"


def test_a_person_may_run_in_quiet_hours(nightly: Schedule, operator: User, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(firings, "_now", lambda: at("03:30"))

    firing = firings.fire_now(nightly, actor=operator)

    assert (firing.outcome, firing.reason) == ("ran", "olga asked for it, in quiet hours.")


def test_a_measurement_that_ends_in_quiet_hours_is_followed_after_them(
    nightly: Schedule, line: Line, monkeypatch: pytest.MonkeyPatch
):
    version = line.versions.get()
    DifficultyCheck.objects.create(
        line=line, version=version, recipe=nightly.recipe, space=line.team, sampling={}, state="succeeded",
        schedule=nightly,
    )  # fmt: skip
    monkeypatch.setattr(firings, "_now", lambda: at("04:00"))

    (deferred,) = firings.go_on()
    (firing,) = firings.fire_due(at("06:00"))

    assert (deferred.outcome, deferred.due_at, deferred.deferred_to) == ("deferred", at("04:00"), at("06:00"))
    assert (firing.pk, firing.outcome) == (deferred.pk, "ran")
    assert firings.go_on() == []


def test_a_night_of_a_clock_change_ends_by_the_clock_on_the_wall(nightly: Schedule):
    put(nightly, timezone="Europe/Berlin", decided_until=datetime(2030, 3, 30, 12, tzinfo=UTC))

    (firing,) = firings.fire_due(datetime(2030, 3, 31, 1, 30, tzinfo=UTC))  # 03:30 in Berlin, an hour lost

    assert firing.due_at == datetime(2030, 3, 31, 1, tzinfo=UTC)
    assert firing.deferred_to == datetime(2030, 3, 31, 4, tzinfo=UTC)


# By hand


def test_running_now_says_who_asked(schedule: Schedule, operator: User):
    firing = firings.fire_now(schedule, actor=operator)

    assert (firing.reason, firing.run.started_by) == ("olga asked for it.", operator)


def test_a_stranger_runs_nothing(schedule: Schedule, stranger: User):
    with pytest.raises(Forbidden):
        firings.fire_now(schedule, actor=stranger)


def test_each_turn_of_a_line_draws_anew(schedule: Schedule, operator: User):
    first = firings.fire_now(schedule, actor=operator).run
    runs.cancel(first, actor=operator)

    assert firings.fire_now(schedule, actor=operator).run.spec["seed"] == first.spec["seed"] + 1
