"""Where the engine process runs. A launcher starts it, looks at it and stops it; the rest is in the run directory.

The handle is stored with the run, so every verb works from any process, also after a restart of the platform. What
the engine wrote counts only if it carries the handle's attempt: a late file of an earlier one is not taken for news.
"""

import os
import tempfile
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import msgspec

from trainer import contract

TAIL_BYTES = 8 << 20  # read at most this much of a growing file at once

T = TypeVar("T", bound=msgspec.Struct)


class LauncherError(Exception):
    """The sentence says what to do; the service that launches turns it into the run's error."""


class Unreachable(LauncherError):
    """Nobody could say what became of the engine. That is no news of it: the next pass asks again."""


class LocalHandle(msgspec.Struct, frozen=True, tag="local", tag_field="launcher"):
    """Which process runs an attempt. `birth` tells it from a later process that was given the same number."""

    host: str
    pid: int
    birth: str
    attempt: int


class SlurmHandle(msgspec.Struct, frozen=True, tag="slurm", tag_field="launcher"):
    job: str  # the number that sbatch gave
    name: str
    attempt: int


class KubernetesHandle(msgspec.Struct, frozen=True, tag="kubernetes", tag_field="launcher"):
    name: str  # of the Job, and the label of its pods
    namespace: str
    attempt: int


class SkyPilotHandle(msgspec.Struct, frozen=True, tag="skypilot", tag_field="launcher"):
    name: str  # of the managed job
    launched_at: float  # unix seconds: a job takes a while to show itself in the queue
    attempt: int


# Stored with the work as JSON. The tag says whose it is, also after the settings name another launcher.
Handle = LocalHandle | SlurmHandle | KubernetesHandle | SkyPilotHandle


class Status(msgspec.Struct, frozen=True):
    """`waiting`: believed without a heartbeat, because a scheduler has the work and has not started it (again)."""

    alive: bool
    heartbeat: contract.Heartbeat | None
    result: contract.Result | None
    exit_code: int | None  # negative: the signal that ended it; None: running, or nobody saw it end
    waiting: bool = False
    started_at: float | None = None  # unix seconds, where a scheduler says so
    said: str = ""  # the scheduler's own words for the state


class Exit(msgspec.Struct, frozen=True):
    """exit.json, written by whoever waited for the engine."""

    attempt: int
    exit_code: int


H = TypeVar("H", bound=Handle)


class Launcher(Protocol[H]):
    @property
    def name(self) -> str: ...

    def submit(self, run_dir: Path, *, attempt: int) -> H:
        """Start the engine on the directory. Called again for the same attempt it answers with the first handle."""
        ...

    def poll(self, handle: H, run_dir: Path) -> Status: ...

    def stop(self, handle: H, run_dir: Path, grace_seconds: float) -> bool:
        """Ask it to leave, then force it. True once it is gone; False: it is going, ask again."""
        ...


def ask(run_dir: Path, action: Literal["pause", "cancel"]) -> None:
    """Tell the engine to pause or cancel at its next step. The last request counts."""
    write_whole(run_dir / "control.json", contract.encode(contract.Control(action=action)))


def read_heartbeat(run_dir: Path, attempt: int) -> contract.Heartbeat | None:
    heartbeat = read(run_dir / "heartbeat.json", contract.Heartbeat)
    return heartbeat if heartbeat and heartbeat.attempt == attempt else None


def read_result(run_dir: Path, attempt: int) -> contract.Result | None:
    result = read(run_dir / "result.json", contract.Result)
    return result if result and result.attempt == attempt else None


def read_exit_code(run_dir: Path, attempt: int) -> int | None:
    ended = read(run_dir / "exit.json", Exit)
    return ended.exit_code if ended and ended.attempt == attempt else None


def tail(path: Path, offset: int) -> tuple[list[bytes], int]:
    """The whole lines after `offset` (bytes), and the offset to ask from next time.

    A last line without its newline is still being written: it is left for the next call. A file that has become shorter
    was written anew and is read from its beginning.
    """
    try:
        with path.open("rb") as file:
            if offset > os.fstat(file.fileno()).st_size:
                offset = 0
            file.seek(offset)
            chunk = file.read(TAIL_BYTES)
            if len(chunk) == TAIL_BYTES:
                chunk += file.readline()
    except FileNotFoundError:
        return [], 0
    whole = chunk[: chunk.rfind(b"\n") + 1]
    return whole.splitlines(), offset + len(whole)


def metrics_after(run_dir: Path, offset: int) -> tuple[list[contract.StepMetrics], int]:
    """New lines of metrics.jsonl. A line torn by a killed engine is no measurement and is passed over."""
    lines, offset = tail(run_dir / "metrics.jsonl", offset)
    decoded = (_decode(line, contract.StepMetrics) for line in lines)
    return [metrics for metrics in decoded if metrics is not None], offset


def path_of_checkpoint(run_dir: Path, step: int) -> Path:
    return run_dir / "checkpoints" / f"step-{step}"


def steps_kept(run_dir: Path) -> list[int]:
    """Steps whose checkpoints are whole: the manifest comes with the rename that publishes one."""
    names = (path.parent.name for path in (run_dir / "checkpoints").glob("step-*/manifest.json"))
    return sorted(int(step) for name in names if (step := name.removeprefix("step-")).isdecimal())


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file so that a reader sees the old content or the new, never a part."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def read(path: Path, kind: type[T]) -> T | None:
    """A file of one JSON value; None where it is missing or is no such value (any more, or yet)."""
    try:
        return _decode(path.read_bytes(), kind)
    except FileNotFoundError:
        return None


def _decode(raw: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError:  # ValidationError is one: a torn or foreign line
        return None
