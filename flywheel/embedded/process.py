"""How child processes are started and ended: own session, a log file, and no survivor when the supervisor is killed."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1
# Loaded before any fork: between fork and exec a child must not import or allocate more than it has to.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(death_signal: signal.Signals) -> Callable[[], None]:
    """A preexec_fn: the kernel sends `death_signal` to the child when the thread that started it is gone.

    Linux only. Elsewhere the next start ends what the last one left (see leftovers.py).
    """
    parent = os.getpid()

    def prepare() -> None:
        if _LIBC is not None:
            _LIBC.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
            if os.getppid() != parent:  # it died before the call above
                os._exit(1)

    return prepare


def start_process(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    death_signal: signal.Signals = signal.SIGTERM,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child that appends to `log`, in a session of its own: Ctrl-C in the terminal is for the supervisor."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=die_with_parent(death_signal),
        )


def wait_until(condition: Callable[[], bool], *, timeout_seconds: float, every_seconds: float = 0.02) -> bool:
    """Poll until the condition holds; False when the time is up."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_seconds)
    return True


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal a child and all that it started in its session; a group that is gone is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def is_alive(process: psutil.Process) -> bool:
    """A zombie is dead: where nobody reaps orphans (many containers) it keeps its number for ever."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_process(process: psutil.Process, number: signal.Signals, *, timeout_seconds: float) -> None:
    """End a process that is not our child: ask, wait, then kill."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
        if not wait_until(lambda: not is_alive(process), timeout_seconds=timeout_seconds):
            process.kill()
            wait_until(lambda: not is_alive(process), timeout_seconds=timeout_seconds)
