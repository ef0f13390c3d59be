"""What a scheduler says about a job, asked seldom, beside what the engine itself writes.

A heartbeat is better news than any scheduler's, so while it is fresh nobody is asked. Otherwise the last answer is kept
in scheduler.json and believed for a while: passes come every second, and accounting databases dislike that.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from trainer.contract import Heartbeat, Result
from trainer.launchers.protocol import (
    LauncherError,
    Status,
    Unreachable,
    read,
    read_heartbeat,
    read_result,
    write_whole,
)

# A shared file system shows what another machine wrote with a delay: NFS up to a minute, by default.
RESULT_PATIENCE_SECONDS = 90.0
WROTE_A_RESULT = (0, 1)  # exit statuses with which the engine leaves one behind


class Report(msgspec.Struct, frozen=True):
    """A scheduler's answer. `gone` is one too: it knows no such job (any more)."""

    state: Literal["waiting", "running", "ended", "gone"]
    said: str  # its own words
    exit_code: int | None = None  # negative: the signal
    started_at: float | None = None  # unix seconds


class Remembered(msgspec.Struct, frozen=True):
    """scheduler.json"""

    attempt: int
    asked_at: float
    report: Report
    ended_since: float | None = None  # when it was first seen to have ended


@dataclass(frozen=True)
class Watch:
    """Looks after the job of one attempt; `ask` calls the scheduler."""

    run_dir: Path
    attempt: int
    ask: Callable[[], Report]
    every_seconds: float

    def status(self) -> Status:
        heartbeat = read_heartbeat(self.run_dir, self.attempt)
        if heartbeat is not None and self._is_fresh(heartbeat):
            return Status(True, heartbeat, read_result(self.run_dir, self.attempt), None)
        known = self._known() or self.look()
        # Read behind the answer: an engine that ends in between shows its result, never "gone without one".
        return self._status(known, read_heartbeat(self.run_dir, self.attempt), read_result(self.run_dir, self.attempt))

    def look(self) -> Remembered:
        """Ask now, and keep the answer."""
        report, now, earlier = self._asked(), time.time(), self._earlier()
        if report.state == "running" and earlier is not None and earlier.report.state == "waiting":
            # Started again after a preemption: the silence counts from here, whatever the scheduler calls its start.
            report = msgspec.structs.replace(report, started_at=max(now, report.started_at or 0))
        elif report.state == "running" and earlier is not None and earlier.report.state == "running":
            started = (report.started_at, earlier.report.started_at)
            report = msgspec.structs.replace(report, started_at=max((at for at in started if at), default=None))
        over = report.state in ("ended", "gone")
        since = (earlier.ended_since if earlier else None) or now
        remembered = Remembered(self.attempt, now, report, since if over else None)
        write_whole(self.run_dir / "scheduler.json", msgspec.json.encode(remembered))
        return remembered

    def _asked(self) -> Report:
        try:
            return self.ask()
        except LauncherError as fault:  # a missing tool, for one: no news of the job, and no reason to give it up
            raise Unreachable(str(fault)) from fault

    def is_over(self) -> bool:
        return self.look().report.state in ("ended", "gone")

    def _is_fresh(self, heartbeat: Heartbeat) -> bool:
        """An engine whose clock runs ahead is not believed for longer by that."""
        return abs(time.time() - heartbeat.at) < self.every_seconds and heartbeat.phase != "done"

    def _known(self) -> Remembered | None:
        earlier = self._earlier()
        return earlier if earlier and 0 <= time.time() - earlier.asked_at < self.every_seconds else None

    def _earlier(self) -> Remembered | None:
        earlier = read(self.run_dir / "scheduler.json", Remembered)
        return earlier if earlier and earlier.attempt == self.attempt else None

    def _status(self, known: Remembered, heartbeat: Heartbeat | None, result: Result | None) -> Status:
        report = known.report
        late = (
            known.ended_since is not None
            and result is None
            and report.exit_code in WROTE_A_RESULT
            and time.time() - known.ended_since < RESULT_PATIENCE_SECONDS
        )
        alive = known.ended_since is None or late
        waiting = report.state == "waiting" or late
        return Status(alive, heartbeat, result, report.exit_code, waiting, report.started_at, report.said)
