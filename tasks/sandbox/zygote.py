"""A worker: loads its modules once, confines what it can, then forks one process for every session that is asked for.

Started as a script, in isolation and with an empty environment; argv[1] is its Setup as JSON. It listens on its control
socket and does nothing slow, so that it can always end a session. When its host is gone, it ends its session and
itself. Control socket, lines of JSON:
    host to worker   {"start": n, "mode": …, "limits": {…}} with two descriptors (channel, output), {"end": n}
    worker to host   {"ready": true} or {"failed": sentence}, then {"ended": n, "status": wait status, "cpu": seconds}
"""

import gc
import json
import os
import pkgutil
import select
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any, Protocol

_USUAL = """
    ast bisect collections copy csv datetime decimal difflib enum fractions functools hashlib heapq html inspect io
    itertools json keyword linecache locale math numbers operator pprint random re statistics string textwrap
    threading time tokenize traceback types typing unicodedata uuid warnings
"""
_SCIENCE = "numpy scipy.stats pandas sklearn.metrics sympy"
_LOADED = {
    "bare": _USUAL,
    "science": _USUAL + _SCIENCE,
    "reasoning": f"{_USUAL} reasoning_gym",
    "math": f"{_USUAL} math_verify",
}
_OWN_MODES = {"math": ["tasks.graders.symbolic"]}
_ENVIRONMENT = {
    "HOME": "/tmp",  # noqa: S108 - a mount of its own
    "LANG": "C.UTF-8",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PATH": "/usr/bin:/bin",
    "TMPDIR": "/tmp",  # noqa: S108
}


class Confinement(Protocol):
    def settle(self, readable: list[str]) -> None: ...
    def fork(self) -> int: ...
    def confine(self, limits: dict[str, Any]) -> None: ...


class Worker:
    def __init__(self, control: socket.socket, confinement: Confinement, modes: dict[str, Any]) -> None:
        self._control = control
        self._confinement = confinement
        self._modes = modes
        self._session = 0  # its number, while its process runs
        self._process = 0
        self._child_ended, wakeup = os.pipe()
        os.set_blocking(self._child_ended, False)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self, host: int | None) -> None:
        """Until the host is gone: its end of the control socket closed, or its process (host: a pidfd) ended."""
        watched = select.poll()
        for descriptor in (self._control.fileno(), self._child_ended, *([host] if host is not None else [])):
            watched.register(descriptor, select.POLLIN)
        try:
            while True:
                ready = {descriptor for descriptor, _ in watched.poll()}
                if host in ready:
                    return
                if self._child_ended in ready:
                    with suppress(BlockingIOError):
                        os.read(self._child_ended, 4096)
                    self._reap()
                if self._control.fileno() in ready and not self._obey():
                    return
        finally:
            self._end()

    def _obey(self) -> bool:
        line, descriptors, _, _ = socket.recv_fds(self._control, 4096, 2)
        if not line:
            return False
        try:
            for raw in line.splitlines():
                order = json.loads(raw)
                if "start" in order:
                    self._start(order, *descriptors)
                elif order["end"] == self._session and self._process:
                    os.kill(self._process, signal.SIGKILL)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _start(self, order: dict[str, Any], channel: int, output: int) -> None:
        self._session = order["start"]
        try:
            self._process = self._confinement.fork()
        except OSError as fault:
            self._tell({"ended": self._session, "failed": f"no process could be started: {fault.strerror}"})
            return
        if self._process == 0:
            self._become_session(order, channel, output)

    def _become_session(self, order: dict[str, Any], channel: int, output: int) -> None:
        """Never returns: the end of this function is the end of the process."""
        status = SETUP_FAILED
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._confinement.confine(order["limits"])
            arrange_descriptors(channel, output)
            status = 1
            os.write(CHANNEL, BEGUN)
            link = Channel(CHANNEL)
            self._modes[order["mode"]].run(link.receive(), link)
            with suppress(Exception):
                sys.stdout.flush()
            status = 0
        except MemoryError:
            status = OUT_OF_MEMORY
        finally:
            os._exit(status)

    def _reap(self) -> None:
        if not self._process:
            return
        process, status, used = os.wait4(self._process, os.WNOHANG)
        if process:
            self._process = 0
            self._tell({"ended": self._session, "status": status, "cpu": used.ru_utime + used.ru_stime})

    def _end(self) -> None:
        if self._process:
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)

    def _tell(self, message: dict[str, Any]) -> None:
        self._control.sendall(json.dumps(message).encode() + b"\n")


class Plain:
    """For our own code only: limits and nothing else."""

    def settle(self, readable: list[str]) -> None:
        """Nothing to prepare."""

    def fork(self) -> int:
        self._worker = os.getpid()
        return os.fork()

    def confine(self, limits: dict[str, Any]) -> None:
        os.setsid()
        if sys.platform == "linux":
            end_with(self._worker)
        limit_resources({**limits, "disk_bytes": limits["output_bytes"]}, processes=None)


def confinement_of(level: str) -> Confinement:
    if level == "namespaces":
        from tasks.sandbox.namespaces import Namespaces

        return Namespaces()
    if level == "landlock":
        from tasks.sandbox.landlock import Landlock

        return Landlock()
    return Plain()


def load(flavour: str) -> dict[str, Any]:
    """Everything that sessions will want, now: a confined session cannot read our own files. mode -> its module"""
    for name in _LOADED[flavour].split():
        with suppress(ImportError):  # a library that is not installed is the grader's to miss
            import_module(name)
    names = [f"{modes.__name__}.{entry.name}" for entry in pkgutil.iter_modules(modes.__path__)]
    loaded = {name.rpartition(".")[2]: import_module(name) for name in _OWN_MODES.get(flavour, names)}
    for module in loaded.values():
        if hasattr(module, "prepare"):
            module.prepare()
    for module in loaded.values():
        if hasattr(module, "prepare"):  # what is slow the first time
            module.prepare()
    return {name: module for name, module in loaded.items() if hasattr(module, "run")}


def main(setup: dict[str, Any]) -> None:
    control = socket.socket(fileno=os.dup(setup["control"]))  # a low number: sessions close all up to a limit
    os.close(setup["control"])
    try:
        host = os.pidfd_open(os.getppid()) if hasattr(os, "pidfd_open") else None
        confinement = confinement_of(setup["level"])
        os.environ.clear()
        os.environ.update(_ENVIRONMENT)
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as adjustment:
            adjustment.write("1000")  # if memory runs out, let it be ours
        loaded = load(setup["flavour"])
        confinement.settle(setup["readable"])
        worker = Worker(control, confinement, loaded)
    except (OSError, ImportError) as fault:
        control.sendall(json.dumps({"failed": getattr(fault, "strerror", None) or str(fault)}).encode() + b"\n")
        return
    sys.path.remove(setup["sources"])
    gc.collect()
    gc.freeze()  # so that a session's own collections do not touch, and copy, every page
    control.sendall(b'{"ready": true}\n')
    worker.serve(host)


if __name__ == "__main__":
    setup = json.loads(sys.argv[1])
    sys.path += setup["libraries"]
    sys.path.insert(0, setup["sources"])
    from tasks.sandbox import modes
    from tasks.sandbox.channel import Channel
    from tasks.sandbox.confinement import CHANNEL, arrange_descriptors, end_with, limit_resources
    from tasks.sandbox.protocol import BEGUN, OUT_OF_MEMORY, SETUP_FAILED

    main(setup)
