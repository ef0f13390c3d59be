from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest

from trainer.fire_times import QuietHours, always_quiet, last_due, soonest, times

BERLIN, TOKYO, LONDON = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Tokyo"), ZoneInfo("Europe/London")
NIGHT = QuietHours(time(22), time(6))
EARLY = QuietHours(time(1), time(2, 30))


def here(day: str, clock: str, zone: ZoneInfo = BERLIN, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=zone, fold=fold)


def told(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M %z}"


# Cron times


def test_fire_times_are_those_of_the_zones_clock():
    (first,) = soonest("30 3 * * *", TOKYO, datetime(2026, 1, 1, tzinfo=UTC), 1)

    assert first.due.astimezone(UTC) == datetime(2026, 1, 1, 18, 30, tzinfo=UTC)


def test_a_fire_time_that_the_clock_skips_comes_right_after_the_skip_and_once():
    found = soonest("30 2 * * *", BERLIN, here("2026-03-28", "12:00"), 2)

    assert [told(one.due) for one in found] == ["2026-03-29 03:00 +0200", "2026-03-30 02:30 +0200"]


def test_a_fire_time_that_the_clock_shows_twice_comes_once():
    found = soonest("30 2 * * *", BERLIN, here("2026-10-24", "12:00"), 2)

    assert [told(one.due) for one in found] == ["2026-10-25 02:30 +0200", "2026-10-26 02:30 +0100"]


def test_in_the_second_of_two_equal_hours_no_fire_time_of_the_first_comes_again():
    first = next(times("30 2 * * *", BERLIN, here("2026-10-25", "02:15", fold=1)))

    assert told(first) == "2026-10-26 02:30 +0100"


def test_every_minute_goes_on_through_both_of_two_equal_hours():
    found = soonest("*/30 * * * *", BERLIN, here("2026-10-25", "01:45"), 5)

    assert [f"{one.due:%H:%M %z}" for one in found] == [
        "02:00 +0200",
        "02:30 +0200",
        "02:00 +0100",
        "02:30 +0100",
        "03:00 +0100",
    ]


def test_of_a_time_that_never_comes_there_are_none():
    assert soonest("0 0 */31 * MON#5", BERLIN, here("2026-01-01", "00:00"), 5) == []  # the first, and the fifth Monday


def test_what_was_missed_is_counted_and_only_the_last_is_due():
    due, missed = last_due("0 * * * *", BERLIN, here("2026-01-01", "00:30"), here("2026-01-01", "05:10"))

    assert (told(due), missed) == ("2026-01-01 05:00 +0100", 4)


def test_nothing_is_due_before_its_time():
    assert last_due("0 3 * * *", BERLIN, here("2026-01-01", "03:00"), here("2026-01-02", "02:59")) == (None, 0)


def test_weeks_of_a_schedule_of_every_minute_are_not_counted_one_by_one():
    due, missed = last_due("* * * * *", BERLIN, here("2026-01-01", "00:00"), here("2026-03-01", "00:00"))

    assert (told(due), missed > 10_000) == ("2026-03-01 00:00 +0100", True)


# Quiet hours


@pytest.mark.parametrize(
    ("moment", "begins"),
    [
        (here("2026-07-14", "21:59"), "2026-07-14 21:59 +0200"),
        (here("2026-07-14", "22:00"), "2026-07-15 06:00 +0200"),
        (here("2026-07-15", "03:00"), "2026-07-15 06:00 +0200"),
        (here("2026-07-15", "05:59"), "2026-07-15 06:00 +0200"),
        (here("2026-07-15", "06:00"), "2026-07-15 06:00 +0200"),
        (datetime(2026, 7, 14, 20, 30, tzinfo=UTC), "2026-07-15 06:00 +0200"),
    ],
)
def test_quiet_hours_over_midnight_hold_until_their_end(moment: datetime, begins: str):
    assert told(NIGHT.over(moment, BERLIN)) == begins


def test_quiet_hours_within_a_day_leave_the_night_alone():
    working = QuietHours(time(8), time(18))

    assert told(working.over(here("2026-07-14", "12:00"), BERLIN)) == "2026-07-14 18:00 +0200"
    assert told(working.over(here("2026-07-14", "03:00"), BERLIN)) == "2026-07-14 03:00 +0200"


def test_a_window_belongs_to_the_weekday_on_which_it_begins():
    fridays = QuietHours(time(22), time(6), frozenset({5}))

    assert told(fridays.over(here("2026-07-18", "03:00"), BERLIN)) == "2026-07-18 06:00 +0200"  # Saturday morning
    assert told(fridays.over(here("2026-07-17", "03:00"), BERLIN)) == "2026-07-17 03:00 +0200"  # Friday morning


@pytest.mark.parametrize(
    ("quiet", "moment", "begins"),
    [
        # 2026-03-29: the clock goes from 01:59 to 03:00. An end at 02:30 is the moment at which it is passed.
        (EARLY, here("2026-03-29", "01:30"), "2026-03-29 03:00 +0200"),
        (EARLY, here("2026-03-29", "03:00"), "2026-03-29 03:00 +0200"),
        # A beginning at 02:30 likewise.
        (QuietHours(time(2, 30), time(5)), here("2026-03-29", "01:59"), "2026-03-29 01:59 +0100"),
        (QuietHours(time(2, 30), time(5)), here("2026-03-29", "03:00"), "2026-03-29 05:00 +0200"),
        # 2026-10-25: 02:00 to 02:59 come twice. The window ends with the second 02:30.
        (EARLY, here("2026-10-25", "02:15"), "2026-10-25 02:30 +0100"),
        (EARLY, here("2026-10-25", "02:45"), "2026-10-25 02:30 +0100"),
        (EARLY, here("2026-10-25", "02:15", fold=1), "2026-10-25 02:30 +0100"),
        (EARLY, here("2026-10-25", "02:30", fold=1), "2026-10-25 02:30 +0100"),
        # Over the change, by the clock on the wall: nine hours of night, or seven.
        (NIGHT, here("2026-10-24", "22:00"), "2026-10-25 06:00 +0100"),
        (NIGHT, here("2026-03-28", "22:00"), "2026-03-29 06:00 +0200"),
    ],
)
def test_quiet_hours_keep_to_the_clock_on_the_wall_when_it_is_changed(quiet: QuietHours, moment: datetime, begins: str):
    assert told(quiet.over(moment, BERLIN)) == begins


def test_windows_that_touch_are_one():
    nearly_always = QuietHours(time(6), time(5, 59))

    assert told(nearly_always.over(here("2026-07-14", "12:00"), BERLIN)) == "2026-07-15 05:59 +0200"


def test_a_fire_time_in_quiet_hours_begins_at_their_end():
    (first,) = soonest("0 3 * * *", BERLIN, here("2026-07-14", "12:00"), 1, NIGHT)

    assert (told(first.due), told(first.begins)) == ("2026-07-15 03:00 +0200", "2026-07-15 06:00 +0200")
    assert first.is_quiet


def test_a_whole_quiet_night_is_one_turn():
    found = soonest("*/30 * * * *", BERLIN, here("2026-07-14", "21:15"), 3, NIGHT)

    assert [(f"{one.due:%H:%M}", f"{one.begins:%H:%M}", one.is_quiet) for one in found] == [
        ("21:30", "21:30", False),
        ("22:00", "06:00", True),
        ("06:30", "06:30", False),
    ]


def test_a_schedule_whose_every_fire_time_is_quiet_is_known():
    now = here("2026-07-14", "23:00")

    assert always_quiet("0 3 * * *", BERLIN, now, NIGHT)
    assert always_quiet("0 22-23,0-5 * * *", BERLIN, now, NIGHT)
    assert not always_quiet("0 5,6 * * *", BERLIN, now, NIGHT)
    assert not always_quiet("* * * * *", BERLIN, now, NIGHT)
    assert not always_quiet("0 3 * * *", BERLIN, now, QuietHours(time(22), time(6), frozenset({6, 7})))
    assert not always_quiet("0 3 1 * *", BERLIN, now, QuietHours(time(0), time(6), frozenset({1, 2, 3, 4, 5})))


def test_another_zones_changes_do_not_matter():
    assert told(NIGHT.over(here("2026-03-29", "00:30", LONDON), LONDON)) == "2026-03-29 06:00 +0100"
