"""Supervision of engine processes: claim queued work, launch, follow, finish. One pass a second.

Nothing is held in memory between passes: the state column is the queue, the handle is stored, and a pass that dies
half-way is continued by the next one. Each kind of work says how it is prepared and finished (see `Kind`).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import msgspec
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from tasks.crash import crash_point
from tasks.errors import FlywheelError
from trainer.contract import EngineFault, Result
from trainer.launchers.protocol import Handle, LauncherError, Status, Unreachable, ask
from trainer.services import judges, usage
from trainer.services.launching import launcher, launcher_of, new_directory, path_of

logger = logging.getLogger(__name__)
SUPERVISOR_LOCK = 0x464C5953


class Kind(Protocol):
    """What supervision needs to know of one kind of engine work."""

    name: str  # prefix of its run directories
    model: Any  # a concrete EngineWork
    states: Any  # its StrEnum of states
    queued: Any  # states by role
    running: Any  # a set of states
    succeeded: Any
    failed: Any

    def queue(self) -> Any:
        """Queued work that an engine has to do, oldest first."""

    def prepare(self, work: Any, directory: Path) -> None:
        """Write the inputs, spec.json last. Repeated after a crash: must give the same files."""

    def read_progress(self, work: Any, directory: Path) -> None:
        """Store what the engine has written since the last pass."""

    def finish(self, work: Any, directory: Path, result: Result) -> bool:
        """Register what came out and move the work to its end, in one transaction. False: somebody else did.

        A paused result that says why comes here too: what paused it is for the kind to keep.
        """

    def wants_pause(self, work: Any) -> bool:
        """Somebody has asked for a pause and the engine has not stopped yet."""

    def stopped_early(self, work: Any) -> Any:
        """The state of work whose engine handed it back (paused, or SIGTERM): queued again, or paused."""


def supervise(kinds: list[Kind]) -> None:
    """One pass over all engine work. A second pass at the same time walks away."""
    with alone(SUPERVISOR_LOCK) as mine:
        if not mine:
            return
        for kind in kinds:
            for work in kind.model._default_manager.filter(state__in=kind.running).order_by("pk"):
                _guarded(kind, work, _follow)
        _stop_cancelled(kinds)
        for kind, work in _claimable(kinds):
            _guarded(kind, work, _claim)


def _guarded(kind: Kind, work: Any, act: Any) -> None:
    """A fault of one piece of work must not hold up the others: it fails that work, or is logged as a bug."""
    try:
        act(kind, work)
    except FlywheelError as refused:
        fail(kind, work, EngineFault(boundary="data", code=refused.code, sentence=refused.sentence))
    except Unreachable as silent:
        logger.warning("%s: %s The next pass asks again.", work, silent)
    except LauncherError as refused:
        fail(kind, work, EngineFault(boundary="engine", code="launch_failed", sentence=str(refused)))
    except OSError as broken:
        if broken.errno == 28:
            sentence = "The disk is full: free some space, then start again."
            fail(kind, work, EngineFault(boundary="engine", code="disk_full", sentence=sentence))
        else:
            logger.exception("supervision of %s failed; the next pass tries again", work)
    except Exception:
        logger.exception("supervision of %s failed; the next pass tries again", work)


def _claimable(kinds: list[Kind]) -> Iterator[tuple[Kind, Any]]:
    """The oldest queued work of each kind while slots are free. Builds go first, then evaluations, then runs."""
    busy = sum(kind.model._default_manager.filter(state__in=kind.running).count() for kind in kinds)
    for kind in kinds:
        for work in kind.queue():
            if busy >= settings.ENGINE_SLOTS:
                return
            busy += 1
            yield kind, work


def _claim(kind: Kind, work: Any) -> None:
    if work.tries >= settings.ENGINE_ATTEMPTS:
        sentence = f"The engine ended {work.tries} times without a result. Look at its log, then start a new run."
        fail(kind, work, EngineFault(boundary="engine", code="too_many_attempts", sentence=sentence))
        return
    with transaction.atomic():
        rows = kind.model._default_manager
        claimed = rows.advance(
            work.pk,
            kind.queued,
            kind.states("running"),
            attempt=work.attempt,
            data={"attempt": work.attempt + 1},
            lease_until=_lease(),
            directory=work.directory or new_directory(kind.name),
            handle=None,
            started_at=work.started_at or timezone.now(),
            phase="preparing",
        )
        if claimed:
            rows.filter(pk=work.pk).update(attempt=F("attempt") + 1, tries=F("tries") + 1)
            usage.open_attempt(kind.name, rows.get(pk=work.pk))
    if claimed:
        crash_point("engine.after_claim")
        _guarded(kind, rows.get(pk=work.pk), _launch)  # the claimed row: a refusal must find it in its new state


def _launch(kind: Kind, work: Any) -> None:
    """Write the inputs and start the engine. Idempotent within an attempt: a pass may have died in between."""
    directory = path_of(work.directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "control.json").unlink(missing_ok=True)
    kind.prepare(work, directory)
    handle = launcher(judges.for_engine(work.owner_team_id)).submit(directory, attempt=work.attempt)
    crash_point("engine.after_launch")
    stored = msgspec.to_builtins(handle)
    _write(kind, work, handle=stored, launcher=stored["launcher"], lease_until=_lease())


def _follow(kind: Kind, work: Any) -> None:
    if work.handle is None:
        _launch(kind, work)
        return
    directory = path_of(work.directory)
    handle: Handle = msgspec.convert(work.handle, Handle)
    status = launcher_of(handle).poll(handle, directory)
    if not _write(kind, work, lease_until=_lease(), **_progress(status)):
        return  # fenced: a later attempt has taken over
    usage.measure(kind.name, work, status)
    kind.read_progress(work, directory)
    if status.result is not None:
        _end(kind, work, directory, status.result)
    elif not status.alive:
        _hand_back(kind, work, f"The engine process ended without a result ({_ending(status)}).")
    elif kind.wants_pause(work) and not (directory / "control.json").exists():
        ask(directory, "pause")  # asked for while the engine was being launched, or by a process that died since
    elif _silent(work, status) and launcher_of(handle).stop(handle, directory, grace_seconds=1):
        _hand_back(kind, work, "The engine gave no sign of life within its lease and was stopped.")


def _end(kind: Kind, work: Any, directory: Path, result: Result) -> None:
    crash_point("engine.before_finish")
    usage.close_attempt(kind.name, work, result)
    if result.status == "succeeded" or (result.status == "paused" and result.ending is not None):
        kind.finish(work, directory, result)
    elif result.status == "failed":
        fault = result.error or EngineFault(boundary="engine", code="unknown", sentence="The engine gave no reason.")
        fail(kind, work, fault)
    else:
        _hand_back(kind, work, "The engine stopped at a checkpoint.", tries=0)


def _hand_back(kind: Kind, work: Any, reason: str, **changes: Any) -> None:
    new = kind.stopped_early(work)
    kind.model._default_manager.advance(
        work.pk,
        kind.states(work.state),
        new,
        attempt=work.attempt,
        data={"reason": reason, "attempt": work.attempt},
        handle=None,
        lease_until=None,
        **changes,
    )


def fail(kind: Kind, work: Any, fault: EngineFault) -> None:
    """Record what broke, and where, on the work itself."""
    kind.model._default_manager.advance(
        work.pk,
        kind.states(work.state),
        kind.failed,
        data=msgspec.to_builtins(fault),
        error=msgspec.to_builtins(fault),
        handle=None,
        lease_until=None,
        finished_at=timezone.now(),
    )


def _stop_cancelled(kinds: list[Kind]) -> None:
    """Engines of work that was cancelled: they were asked to leave; those that stay are stopped."""
    for kind in kinds:
        for work in kind.model._default_manager.filter(state="cancelled", handle__isnull=False):
            _guarded(kind, work, _stop)


def _stop(kind: Kind, work: Any) -> None:
    """The handle stays until the engine is gone: what a scheduler has not ended yet is asked again by the next pass."""
    handle: Handle = msgspec.convert(work.handle, Handle)
    try:
        if launcher_of(handle).stop(handle, path_of(work.directory), grace_seconds=5):
            _write(kind, work, handle=None)
    except LauncherError as refused:  # cancelled work has no other end to come to
        logger.warning("%s could not be stopped: %s The next pass tries again.", work, refused)


def _write(kind: Kind, work: Any, **changes: Any) -> bool:
    """Fenced write of progress: zero rows when a later attempt has the work."""
    return bool(kind.model._default_manager.filter(pk=work.pk, attempt=work.attempt).update(**changes))


def _progress(status: Status) -> dict[str, Any]:
    heartbeat = status.heartbeat
    if heartbeat is None:
        return {"phase": "waiting"} if status.waiting else {}
    return {
        "phase": "waiting" if status.waiting else heartbeat.phase,
        "step": heartbeat.step,
        "total_steps": heartbeat.total_steps,
        "peak_memory_bytes": heartbeat.peak_memory_bytes,
    }


def _silent(work: Any, status: Status) -> bool:
    """No heartbeat within the lease. Before the first one, the time since the start counts, or since the launch.

    What a scheduler has not started is not silent, and what it has started again counts from there.
    """
    if status.waiting:
        return False
    launched = path_of(work.directory) / "handle.json"
    now = timezone.now().timestamp()
    if status.heartbeat is not None:
        since = max(status.heartbeat.at, status.started_at or 0)
    else:
        since = status.started_at or (launched.stat().st_mtime if launched.exists() else now)
    return now - since > settings.ENGINE_LEASE_SECONDS


def _ending(status: Status) -> str:
    return ", ".join(part for part in (status.said, _exit(status.exit_code)) if part)


def _exit(code: int | None) -> str:
    if code is None:
        return "nobody saw it end"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _lease() -> Any:
    return timezone.now() + timedelta(seconds=settings.ENGINE_LEASE_SECONDS)


@contextmanager
def alone(lock: int, of: int = 0) -> Iterator[bool]:
    """A session lock of the database: freed with the connection, so a killed worker cannot keep it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [lock, of])
        mine = bool(cursor.fetchone()[0])
    try:
        yield mine
    finally:
        if mine:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [lock, of])
