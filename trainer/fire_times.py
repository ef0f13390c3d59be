"""When a schedule fires: cron times in a time zone, and quiet hours in which no run begins."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MOST_COUNTED = 10_000  # missed fire times; a schedule of every minute after a week of downtime
LOOKED_AT, LOOKED_AHEAD = 60, timedelta(days=8)  # fire times, of which at least this many and this far


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A daily window by the zone's own clock, from `start` until `end`; over midnight where the end comes first.

    `days` are the ISO weekdays on which it begins; empty: every day. Where a clock change repeats an hour the window
    holds both, where one skips an hour the window begins or ends with the skip.
    """

    start: time
    end: time
    days: frozenset[int] = field(default_factory=frozenset)

    def over(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """The first moment from this one on that is not quiet, in the zone."""
        here = moment.astimezone(zone)
        windows = [self._window(here.date() + timedelta(days=day), zone) for day in (-1, 0, 1)]
        for opens, closes in windows:
            if opens <= here.astimezone(UTC) < closes:
                here = closes.astimezone(zone)
        return here

    def _window(self, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
        """In UTC; one without length where none begins on that day."""
        opens = _shown(day, self.start, zone, last=False)
        if self.days and day.isoweekday() not in self.days:
            return opens, opens
        return opens, _shown(day + timedelta(days=self.end < self.start), self.end, zone, last=True)


@dataclass(frozen=True, slots=True)
class Coming:
    """A fire time, and when its run may begin: later where it lies in quiet hours."""

    due: datetime
    begins: datetime

    @property
    def is_quiet(self) -> bool:
        return self.due.astimezone(UTC) != self.begins.astimezone(UTC)


def times(cron: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Fire times in the zone. Daylight saving is cronsim's: a skipped hour fires once, a doubled one once.

    Of a doubled hour cronsim gives the first one, even if it is asked in the second.
    """
    told = CronSim(cron, after.astimezone(zone))
    return (due for due in told if due.astimezone(UTC) > after.astimezone(UTC))


def coming(cron: str, zone: ZoneInfo, after: datetime, quiet: QuietHours | None = None) -> Iterator[Coming]:
    """Fire times that would begin at the same moment count once: a whole quiet night is one turn."""
    last = after.astimezone(UTC)
    for due in times(cron, zone, after):
        begins = quiet.over(due, zone) if quiet else due
        if begins.astimezone(UTC) > last:
            last = begins.astimezone(UTC)
            yield Coming(due, begins)


def last_due(cron: str, zone: ZoneInfo, since: datetime, now: datetime) -> tuple[datetime | None, int]:
    """The newest fire time after `since` that has come, and how many before it were missed."""
    due, missed = None, -1
    for moment in times(cron, zone, since):
        if moment.astimezone(UTC) > now.astimezone(UTC):
            break
        due, missed = moment, missed + 1
        if missed > MOST_COUNTED:
            return _newest_before(cron, zone, now), missed
    return due, max(missed, 0)


def always_quiet(cron: str, zone: ZoneInfo, after: datetime, quiet: QuietHours) -> bool:
    """Whether no fire time lies outside of the quiet hours, as far as one looks ahead."""
    for count, due in enumerate(times(cron, zone, after)):
        if not Coming(due, quiet.over(due, zone)).is_quiet:
            return False
        if count >= LOOKED_AT and due.astimezone(UTC) - after.astimezone(UTC) > LOOKED_AHEAD:
            break
    return True


def soonest(cron: str, zone: ZoneInfo, after: datetime, n: int, quiet: QuietHours | None = None) -> list[Coming]:
    """The next n; fewer of a cron time that hardly ever comes."""
    return list(islice(coming(cron, zone, after, quiet), n))


def _newest_before(cron: str, zone: ZoneInfo, now: datetime) -> datetime:
    return next(CronSim(cron, now.astimezone(zone) + timedelta(seconds=1), reverse=True))


def _shown(day: date, clock: time, zone: ZoneInfo, *, last: bool) -> datetime:
    """When the zone's clock shows this time, for the first or the last time, or else is set past it; in UTC."""
    wanted = datetime.combine(day, clock)
    moment = wanted.replace(tzinfo=zone, fold=int(last)).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wanted:
        return moment
    moment = wanted.replace(tzinfo=zone, fold=1).astimezone(UTC)  # before the skip, by PEP 495
    while moment.astimezone(zone).replace(tzinfo=None) < wanted:
        moment += timedelta(minutes=1)
    return moment
