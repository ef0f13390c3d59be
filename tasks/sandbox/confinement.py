"""What every confined session gives up, whatever its level; called in the session's own process, last of all."""

import os
import resource
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tasks.sandbox import kernel

# Numbers of descriptors in a session: nothing else is open.
INPUT, OUTPUT, ERRORS, CHANNEL = 0, 1, 2, 3

OPEN_FILES = 256
CORES = 2  # what a session may use of the processor, times its wall clock
SPARE_CPU_SECONDS = 2


def limit_resources(limits: Mapping[str, Any], *, processes: int | None) -> None:
    """processes: how many threads its user may have, the session's own included; None: as many as it likes."""
    cpu_seconds = int(limits["seconds"] * CORES) + SPARE_CPU_SECONDS
    wanted = {
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_FSIZE: limits["disk_bytes"],
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    if processes is not None:
        wanted[resource.RLIMIT_NPROC] = processes
    for kind, most in wanted.items():
        with suppress(ValueError, OSError):  # macOS refuses some; a lower limit that is there already stays
            resource.setrlimit(kind, (most, most))


def drop_bounding_set() -> None:
    """Once in a worker: its sessions inherit it, and nothing that they could start would gain a capability."""
    for capability in range(kernel.LAST_CAPABILITY + 1):
        with suppress(OSError):
            kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
    with suppress(OSError):
        kernel.prctl(kernel.PR_CAP_AMBIENT, kernel.PR_CAP_AMBIENT_CLEAR_ALL)


def close_to_others() -> None:
    """Not dumpable: neither core files nor, for others of the same user, /proc/PID or ptrace."""
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


def end_with(worker: int) -> None:
    """Be killed when the worker ends. A change of user undoes it, so it comes after; the worker may be gone by then."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != worker:
        os._exit(1)


def arrange_descriptors(channel: int, output: int) -> None:
    """Then everything but the four is closed. Input and errors are opened anew: flags and locks of an open file are
    shared with whoever inherits it, and one session could leave them to the next."""
    channel, output = os.dup(channel), os.dup(output)  # above both targets
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, INPUT)
    os.dup2(nothing, ERRORS)
    os.dup2(output, OUTPUT)
    os.dup2(channel, CHANNEL)
    os.closerange(CHANNEL + 1, OPEN_FILES)
