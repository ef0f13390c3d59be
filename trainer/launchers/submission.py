"""At most one engine for an attempt: what every launcher does around the start itself."""

import contextlib
import fcntl
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from tasks.crash import crash_point
from trainer.launchers.protocol import Handle, LauncherError, write_whole

H = TypeVar("H", bound=Handle)


def once(run_dir: Path, attempt: int, kind: type[H], start: Callable[[], H]) -> H:
    """The stored handle of this attempt, else that of `start`, which must find an engine whose handle was never stored.

    A submit that died in between is repeated by the next one: the lock goes with the process, the engine stays.
    """
    if not (run_dir / "spec.json").is_file():
        raise LauncherError(f"{run_dir.name} holds no spec.json. Write it before the engine is started.")
    with _one_at_a_time(run_dir):
        earlier = stored_handle(run_dir, kind)
        if earlier and earlier.attempt == attempt:
            return earlier
        (run_dir / "control.json").unlink(missing_ok=True)  # a request to an earlier attempt was answered by it
        handle = start()
        crash_point("launch.before_handle")
        write_whole(run_dir / "handle.json", msgspec.json.encode(handle))
        return handle


def stored_handle(run_dir: Path, kind: type[H]) -> H | None:
    try:
        return msgspec.json.decode((run_dir / "handle.json").read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def job_name(run_dir: Path, attempt: int) -> str:
    """Names run directory and attempt to a scheduler: a DNS label of at most 52 characters, as Kubernetes wants it.

    The digest keeps apart what the readable part, cut and cleaned, would mix up.
    """
    readable = re.sub(r"[^a-z0-9]+", "-", run_dir.name.lower()).strip("-")[:24].strip("-")
    digest = hashlib.sha256(str(run_dir).encode(errors="surrogateescape")).hexdigest()[:10]
    return "-".join(part for part in ("flywheel", readable, digest, str(attempt)) if part)


@contextlib.contextmanager
def _one_at_a_time(run_dir: Path) -> Iterator[None]:
    with (run_dir / "launch.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
