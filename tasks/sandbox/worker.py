"""The host's handle of one worker: starts its process, asks it for sessions, ends it."""

import json
import os
import select
import site
import socket
import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.sandbox.protocol import Flavour, Level, Limits, Unavailable

SCRIPT = Path(__file__).with_name("zygote.py")
SOURCES = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0  # a busy machine may take that long to import scikit-learn
END_SECONDS = 1.0
# Not -I, which ignores the one variable set: sets of texts are walked in the same order in every worker.
_INTERPRETER = (sys.executable, "-P", "-s", "-S", "-B", "-X", "utf8")
_ENVIRONMENT = {"PYTHONHASHSEED": "0"}


class Worker:
    """Serves one session at a time. Not thread-safe: the pool lends it to one thread."""

    def __init__(self, flavour: Flavour, level: Level) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            setup = {
                "control": theirs.fileno(),
                "flavour": flavour,
                "level": level,
                "libraries": libraries(),
                "readable": readable(),
                "sources": str(SOURCES),
            }
            self._process = subprocess.Popen(
                [*_INTERPRETER, str(SCRIPT), json.dumps(setup)],
                env=_ENVIRONMENT,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._waiting = bytearray()
        self._number = 0
        self.owner = os.getpid()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def control(self) -> socket.socket:
        return self._control

    def wait_until_ready(self) -> None:
        """Raises Unavailable with the worker's own sentence where it cannot work at its level."""
        answer = self._next(START_SECONDS)
        if answer is None or "ready" not in answer:
            self.kill()
            raise Unavailable(str((answer or {}).get("failed", "the worker did not start")))

    def start(self, mode: str, limits: Limits, channel: int, output: int) -> int:
        """Ask for a session; returns its number. Raises OSError where the worker is gone."""
        self._number += 1
        order = {"start": self._number, "mode": mode, "limits": asdict(limits)}
        socket.send_fds(self._control, [json.dumps(order).encode() + b"\n"], [channel, output])
        return self._number

    def end(self, number: int) -> None:
        self._control.sendall(json.dumps({"end": number}).encode() + b"\n")

    def ended(self, number: int, seconds: float) -> dict[str, Any] | None:
        """What the worker says of the end of this session; None if it says nothing in time. EOFError: it is gone."""
        deadline = time.monotonic() + seconds
        while (answer := self._next(max(deadline - time.monotonic(), 0))) is not None:
            if answer.get("ended") == number:
                return answer
        return None

    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """Its session ends with it."""
        with suppress(OSError):
            self._process.kill()
        self._process.wait()
        self._control.close()

    def stop(self) -> None:
        """Politely: it sees the end of its control socket, ends its session and itself."""
        self._control.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def forget(self) -> None:
        """In a forked child of the host: the worker is the parent's, and must see the parent's end close."""
        self._control.close()
        self._process.returncode = 0  # or subprocess would try to reap a process that is not ours

    def _next(self, seconds: float) -> dict[str, Any] | None:
        if self._control.fileno() < 0:  # its pool was closed
            raise EOFError
        deadline = time.monotonic() + seconds
        waiting = select.poll()  # select.select would refuse descriptors from 1024 on
        waiting.register(self._control, select.POLLIN)
        while b"\n" not in self._waiting:
            patience = max(deadline - time.monotonic(), 0)
            if not waiting.poll(patience * 1000):
                return None
            try:
                part = self._control.recv(4096)
            except OSError:
                part = b""
            if not part:
                raise EOFError
            self._waiting += part
        line, _, rest = bytes(self._waiting).partition(b"\n")
        self._waiting = bytearray(rest)
        answer: dict[str, Any] = json.loads(line)
        return answer


def libraries() -> list[str]:
    """Where the installed packages lie, to be found without running site (and whatever .pth files tell it)."""
    found = [*site.getsitepackages(), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return [path for path in dict.fromkeys(found) if Path(path).is_dir()]


def readable() -> list[str]:
    """Directories that Python needs, the outer ones first: its library, its shared objects, the installed packages."""
    found = [sysconfig.get_config_var("LIBDIR"), sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    paths = {path for path in (*found, *libraries()) if path and os.path.isdir(path)}
    return sorted(path for path in paths if not any(Path(other) in Path(path).parents for other in paths))
