"""What happened to a run, as one list, newest first: its moves and notices, its steps, its alarms.

Nothing is stored for it. Each source is asked for as much as one page can take, then they are merged by time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import dropwhile, islice
from typing import Any

from tasks.models import Event
from trainer.models import RunAlarm, RunMetric, TrainingRun

MOVE, METRIC, ALARM = 0, 1, 2  # sources
_ROUNDED = 0.001  # seconds: a datetime keeps fewer digits than the engine's clock


@dataclass(frozen=True, slots=True)
class RunEvent:
    at: datetime
    source: int
    key: int  # of the source's row: its id, or the step of a metric
    kind: str  # of a move or notice: the event's; "metrics"; of an alarm: its kind
    data: dict[str, Any]

    @property
    def place(self) -> tuple[datetime, int, int]:
        """Its order among all of a run."""
        return (self.at, self.source, self.key)


def newest_first(run: TrainingRun, *, after: tuple[int, int] | None = None, limit: int) -> list[RunEvent]:
    """At most `limit`, behind the event `after` (source, key) where one is given; ValueError where there is none."""
    start = None if after is None else _find(run, *after)
    found = sorted(
        (event for rows in (_moves, _metrics, _alarms) for event in rows(run, start, limit + 1)),
        key=lambda event: event.place,
        reverse=True,
    )
    if start is None:
        return found[:limit]
    return list(islice(dropwhile(lambda event: event.place >= start.place, found), limit))


def _find(run: TrainingRun, source: int, key: int) -> RunEvent:
    rows = {
        MOVE: lambda: _events(run).filter(pk=key),
        METRIC: lambda: RunMetric.objects.filter(run=run, step=key),
        ALARM: lambda: RunAlarm.objects.filter(run=run, pk=key),
    }
    row = rows[source]().first() if source in rows else None
    if row is None:
        raise ValueError(key)
    return _read(source, row)


def _moves(run: TrainingRun, start: RunEvent | None, most: int) -> Iterator[RunEvent]:
    rows = _events(run)
    if start is not None:
        rows = rows.filter(at__lte=start.at)
    return (_read(MOVE, row) for row in rows.order_by("-at", "-pk")[: _room(start, most)])


def _metrics(run: TrainingRun, start: RunEvent | None, most: int) -> Iterator[RunEvent]:
    rows = RunMetric.objects.filter(run=run)
    if start is not None:
        rows = rows.filter(data__at__lte=start.at.timestamp() + _ROUNDED)
    return (_read(METRIC, row) for row in rows.order_by("-step")[: _room(start, most)])


def _alarms(run: TrainingRun, start: RunEvent | None, most: int) -> Iterator[RunEvent]:
    rows = RunAlarm.objects.filter(run=run)
    if start is not None:
        rows = rows.filter(at__lte=start.at.timestamp() + _ROUNDED)
    return (_read(ALARM, row) for row in rows.order_by("-at", "-pk")[: _room(start, most)])


def _room(start: RunEvent | None, most: int) -> int:
    """Those of the very moment of the start may stand on either side of it."""
    return most if start is None else most + 100


def _events(run: TrainingRun) -> Any:
    return Event.objects.filter(subject_type="trainingrun", subject_id=str(run.pk))


def _read(source: int, row: Any) -> RunEvent:
    if source == MOVE:
        return RunEvent(row.at, MOVE, row.pk, row.kind, row.data)
    if source == METRIC:
        return RunEvent(_time(row.data["at"]), METRIC, row.step, "metrics", row.data)
    return RunEvent(_time(row.at), ALARM, row.pk, row.kind, row.data)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
