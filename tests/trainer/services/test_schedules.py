from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from tasks.errors import Invalid
from tasks.models import Dataset, User
from trainer.models import Firing, Line, Schedule, TrainingRun
from trainer.services import recipes, schedules

Fill = Callable[..., Dataset]


@pytest.fixture
def schedule(line: Line, fill: Fill, operator: User) -> Schedule:
    fill()
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
    made = schedules.create(line, recipe, "0 * * * *", actor=operator, min_new_tasks=10)
    long_ago = timezone.now() - timedelta(hours=1, minutes=5)
    Schedule.objects.filter(pk=made.pk).update(decided_until=long_ago)
    return Schedule.objects.get(pk=made.pk)


def test_a_due_schedule_with_enough_new_tasks_starts_a_run(schedule: Schedule):
    (firing,) = schedules.fire_due()

    assert firing.outcome == "ran"
    assert firing.run == TrainingRun.objects.get()


def test_a_fire_time_is_decided_once(schedule: Schedule):
    schedules.fire_due()

    assert schedules.fire_due() == []


def test_two_beats_at_the_same_moment_decide_once(schedule: Schedule):
    due = schedules._last_due(schedule, timezone.now())[0]

    first, second = schedules._fire(schedule, due, 0), schedules._fire(schedule, due, 0)

    assert first is not None
    assert second is None


def test_too_few_new_tasks_skip_with_the_count(schedule: Schedule):
    Schedule.objects.filter(pk=schedule.pk).update(min_new_tasks=10_000)

    (firing,) = schedules.fire_due()

    assert firing.outcome == "skipped"
    assert "at least 10000" in firing.reason


def test_a_line_that_is_busy_skips_with_the_reason(schedule: Schedule, operator: User):
    schedules.fire_now(schedule, actor=operator)
    Schedule.objects.filter(pk=schedule.pk).update(min_new_tasks=0)

    (firing,) = schedules.fire_due()

    assert (firing.outcome, "wait for it" in firing.reason) == ("skipped", True)


def test_minimum_hours_since_the_last_run_are_kept(schedule: Schedule, operator: User):
    schedules.fire_now(schedule, actor=operator)
    Schedule.objects.filter(pk=schedule.pk).update(min_new_tasks=0, min_hours=6)

    (firing,) = schedules.fire_due()

    assert "at least 6 h" in firing.reason


def test_after_downtime_only_the_last_missed_time_is_decided(schedule: Schedule):
    Schedule.objects.filter(pk=schedule.pk).update(decided_until=timezone.now() - timedelta(days=2))

    (firing,) = schedules.fire_due()

    assert "earlier fire times passed" in firing.reason
    assert Firing.objects.count() == 1


def test_a_disabled_schedule_does_nothing(schedule: Schedule):
    Schedule.objects.filter(pk=schedule.pk).update(enabled=False)

    assert schedules.fire_due() == []


def test_fire_times_are_in_the_schedules_time_zone(schedule: Schedule):
    schedule.cron, schedule.timezone = "30 3 * * *", "Asia/Tokyo"

    (first,) = schedules.next_fire_times(schedule, 1, after=datetime(2026, 1, 1, tzinfo=UTC))

    assert first.astimezone(UTC) == datetime(2026, 1, 1, 18, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cron": "whenever"}, "cron time"),
        ({"timezone": "Mars/Base"}, "no time zone"),
        ({"min_hours": -1}, "0 or more"),
        ({"colour": "red"}, "no colour"),
        ({"cron": "0 0 0 * * *"}, "five fields"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(schedule: Schedule, operator: User, changes: dict, sentence: str):
    with pytest.raises(Invalid, match=sentence):
        schedules.update(schedule, actor=operator, **changes)
