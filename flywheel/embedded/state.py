"""What a running stack writes down about itself: the lock, state.json, and the clean-up after one that was killed."""

import fcntl
import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import psutil

from flywheel.embedded.process import end_process
from flywheel.embedded.refusals import AlreadyRunningError


def write_json(path: Path, value: object) -> None:
    """Readers see the old file or the new one, never half of it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(value, indent=1))
    aside.replace(path)


def read_state(stack: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((stack / "state.json").read_text()))
    except (OSError, ValueError):
        return {}


def lock_stack(stack: Path) -> TextIO:
    """One supervisor per DATA_DIR. The kernel lets go of the lock when its holder dies, however it dies."""
    stack.mkdir(parents=True, exist_ok=True)
    lock = (stack / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        state = read_state(stack)
        where = state.get("web_url") or "another address"
        raise AlreadyRunningError(
            f"Already running at {where} on {stack.parent} (supervisor {state.get('supervisor', '?')}): "
            "stop it with Ctrl-C in its terminal, or choose another DATA_DIR."
        ) from None
    return lock


def end_leftovers(state: Mapping[str, Any]) -> int:
    """End what a killed supervisor left running; the number of processes ended.

    Every child leads a session, so a leftover is a process whose session is a recorded child's. A number that the
    kernel has given to somebody else since is told by its creation time. Engines lead sessions of their own and stay.
    """
    recorded = {int(child["pid"]): float(child["created"]) for child in state.get("children", {}).values()}
    ended = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            session = os.getsid(process.pid)
            if session in recorded and not _is_somebody_else(session, recorded[session]):
                end_process(
                    process, signal.SIGINT if process.name() == "postgres" else signal.SIGKILL, timeout_seconds=10
                )
                ended += 1
    return ended


def _is_somebody_else(pid: int, created: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - created) > 1.0
    except psutil.NoSuchProcess:
        return False
