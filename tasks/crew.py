"""Pure functions in child processes: calls go out in turn, answers come back in their order.

For work that holds the interpreter for long (reading and keying a chunk of rows, grading a stretch). A child has no
database and no settings; it ends with its parent, however that ends, because its socket then does. Not Python's own
process pool: that one is refused inside Celery's processes, and its children outlive a parent that is killed.
"""

import gc
import os
import pickle
import socket
import struct
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any

_LENGTH = struct.Struct("<Q")
_ROOT = str(Path(__file__).resolve().parent.parent)
_CHILD = "import sys; sys.path.insert(0, sys.argv[1]); from tasks.crew import serve; serve(int(sys.argv[2]))"
AHEAD = 2  # calls a child may have waiting, so that it never idles while its answer is used


class CrewError(Exception):
    """A child raised, or died. The message says where."""


class Crew:
    """A context manager: leaving it ends the children."""

    def __init__(self, processes: int) -> None:
        self._members = [_Member() for _ in range(processes)]

    def __enter__(self) -> "Crew":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        return [member.process.pid for member in self._members]

    def map(self, function: str, calls: Iterable[Sequence[Any]]) -> Iterator[Any]:
        """`function` is "package.module:name". At most AHEAD calls a child are under way, so that memory is bounded.
        Raises CrewError for a call whose function raised or whose child died."""
        under_way: deque[_Member] = deque()
        for number, call in enumerate(calls):
            member = self._members[number % len(self._members)]
            if len(under_way) == AHEAD * len(self._members):
                yield under_way.popleft().answer()
            member.ask(function, call)
            under_way.append(member)
        while under_way:
            yield under_way.popleft().answer()

    def close(self) -> None:
        for member in self._members:
            member.close()


class _Member:
    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", _CHILD, _ROOT, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=_environment(),
            )
        self._calls: SimpleQueue[bytes | None] = SimpleQueue()
        self._answers: SimpleQueue[bytearray | None] = SimpleQueue()  # as they came: unpacked they are twice as large
        self._thread = Thread(target=self._talk, name="crew", daemon=True)
        self._thread.start()

    def ask(self, function: str, call: Sequence[Any]) -> None:
        self._calls.put(pickle.dumps((function, tuple(call)), protocol=5))

    def answer(self) -> Any:
        raw = self._answers.get()
        if raw is None:
            raise CrewError("A helper process died.")
        good, value = pickle.loads(raw)  # noqa: S301 - from our own child
        if not good:
            raise CrewError(value)
        return value

    def _talk(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                _send(self._socket, call)
                raw = _receive(self._socket)
            except OSError:
                raw = None
            self._answers.put(raw)

    def close(self) -> None:
        self._calls.put(None)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:  # busy with a call that nobody wants any more
            self.process.kill()
            self.process.wait()


def _environment() -> dict[str, str]:
    """Threads of numerical libraries would fight over the processors that the children share already."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "TZ") if name in os.environ}
    return {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def _send(channel: socket.socket, raw: bytes) -> None:
    channel.sendall(_LENGTH.pack(len(raw)))
    channel.sendall(raw)


def _receive(channel: socket.socket) -> bytearray | None:
    """The next frame; None where the other side is gone."""
    head = _exactly(channel, _LENGTH.size)
    return None if head is None else _exactly(channel, _LENGTH.unpack(head)[0])


def _exactly(channel: socket.socket, count: int) -> bytearray | None:
    buffer = bytearray(count)
    view = memoryview(buffer)
    while view:
        read = channel.recv_into(view)
        if not read:
            return None
        view = view[read:]
    return buffer


def serve(descriptor: int) -> None:
    """The child: answer calls until the parent is gone."""
    with socket.socket(fileno=descriptor) as channel:
        while (raw := _receive(channel)) is not None:
            _send(channel, pickle.dumps(_answered(raw), protocol=5))
            _spare_what_is_loaded()


@cache
def _spare_what_is_loaded() -> None:
    """Modules stay: the collector, which grading by the thousand keeps busy, need not look at them again."""
    gc.collect()
    gc.freeze()


def _answered(raw: bytes | bytearray) -> tuple[bool, Any]:
    try:
        function, call = pickle.loads(raw)  # noqa: S301 - from our parent
        module, _, name = function.partition(":")
        return True, getattr(import_module(module), name)(*call)
    except Exception:
        return False, traceback.format_exc()
