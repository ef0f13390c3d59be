"""Schedules: what may be set, and which fire times come of it."""

from collections.abc import Callable
from datetime import UTC, datetime, time

import pytest

from tasks.errors import Forbidden, Invalid
from tasks.models import Dataset, Event, User
from trainer.models import Firing, Line, Schedule
from trainer.services import recipes, schedules

Fill = Callable[..., Dataset]
NIGHT = {"quiet_from": time(22), "quiet_to": time(6)}


@pytest.fixture
def schedule(line: Line, operator: User) -> Schedule:
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
    return schedules.create(line, recipe, "0 * * * *", actor=operator, min_new_tasks=10)


def test_fire_times_are_in_the_schedules_time_zone(schedule: Schedule):
    schedule.cron, schedule.timezone = "30 3 * * *", "Asia/Tokyo"

    (first,) = schedules.next_fire_times(schedule, 1, after=datetime(2026, 1, 1, tzinfo=UTC))

    assert first.astimezone(UTC) == datetime(2026, 1, 1, 18, 30, tzinfo=UTC)
    assert str(first.tzinfo) == "Asia/Tokyo"


def test_fire_times_in_quiet_hours_are_told_with_when_they_begin(schedule: Schedule):
    schedule.cron, schedule.quiet_from, schedule.quiet_to = "0 3 * * *", time(22), time(6)

    (first,) = schedules.coming(schedule, 1, after=datetime(2026, 1, 1, tzinfo=UTC))

    assert (first.due.hour, first.begins.hour, first.is_quiet) == (3, 6, True)
    assert schedules.next_fire_times(schedule, 1, after=datetime(2026, 1, 1, tzinfo=UTC)) == [first.begins]


def test_a_schedule_that_is_off_has_no_fire_times(schedule: Schedule, operator: User):
    schedules.update(schedule, actor=operator, enabled=False)

    assert schedules.coming(schedule) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cron": "whenever"}, "five fields"),
        ({"cron": "61 * * * *"}, "no cron time"),
        ({"cron": "0 0 */31 * MON#5"}, "never comes"),
        ({"cron": "0 0 0 * * *"}, "five fields"),
        ({"timezone": "Mars/Base"}, "no time zone"),
        ({"timezone": "Europe"}, "no time zone"),
        ({"min_hours": -1}, "0 or more"),
        ({"colour": "red"}, "no colour"),
        ({"quiet_from": time(22)}, "give both"),
        ({"quiet_to": time(6)}, "give both"),
        ({"quiet_from": time(6), "quiet_to": time(6)}, "pause the schedule"),
        ({**NIGHT, "quiet_days": [0]}, "1 .Monday. to 7"),
        ({**NIGHT, "quiet_days": ["Monday"]}, "1 .Monday. to 7"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(schedule: Schedule, operator: User, changes: dict, sentence: str):
    with pytest.raises(Invalid, match=sentence):
        schedules.update(schedule, actor=operator, **changes)


def test_a_change_is_told_with_its_quiet_hours(schedule: Schedule, operator: User):
    schedules.update(schedule, actor=operator, **NIGHT, quiet_days=[6, 5])

    event = Event.objects.filter(kind="schedule.changed").latest("pk")
    assert event.data["quiet"] == "22:00 to 06:00, beginning on Friday, Saturday"


def test_all_seven_days_are_every_day(schedule: Schedule, operator: User):
    schedules.update(schedule, actor=operator, **NIGHT, quiet_days=[7, 6, 5, 4, 3, 2, 1])

    assert (schedule.quiet_days, schedules.quiet_told(schedule)) == ([], "22:00 to 06:00, every day")


def test_a_preview_writes_nothing_and_tells_what_may_not_be_meant(db: None):
    coming, notes = schedules.preview("0 3 * * *", timezone="Europe/Berlin", **NIGHT)

    assert [one.is_quiet for one in coming] == [True] * 5
    assert "Every fire time lies in the quiet hours, so each turn is put off to their end at 06:00." in notes[0]
    assert not Schedule.objects.exists()


def test_a_preview_of_what_makes_sense_has_nothing_to_add(db: None):
    assert schedules.preview("*/15 * * * *", **NIGHT)[1] == []


def test_a_deferred_fire_time_comes_first_and_once(schedule: Schedule, operator: User):
    schedule = schedules.update(schedule, actor=operator, **NIGHT)
    due, until = datetime(2026, 7, 14, 22, tzinfo=UTC), datetime(2026, 7, 15, 6, tzinfo=UTC)
    Firing.objects.create(schedule=schedule, due_at=due, deferred_to=until, outcome="deferred", reason="Quiet hours.")

    first, second = schedules.coming(schedule, 2)

    assert (first.due, first.begins) == (due, until)
    assert second.due == until.replace(hour=7)


def test_pausing_ends_what_was_deferred_with_a_reason(schedule: Schedule, operator: User):
    due = datetime(2026, 7, 14, 22, tzinfo=UTC)
    firing = Firing.objects.create(schedule=schedule, due_at=due, deferred_to=due, outcome="deferred", reason="Quiet.")

    schedules.update(schedule, actor=operator, enabled=False)

    firing.refresh_from_db()
    assert (firing.outcome, firing.reason) == ("skipped", "It was deferred, and then the schedule was paused.")


def test_a_stranger_changes_no_schedule(schedule: Schedule, stranger: User):
    with pytest.raises(Forbidden):
        schedules.update(schedule, actor=stranger, enabled=False)
