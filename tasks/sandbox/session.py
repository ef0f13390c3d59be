"""The host's end of one session. All deadlines are the host's; nothing that arrives is trusted."""

import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from tasks.sandbox.protocol import (
    BEGUN,
    LENGTH,
    MAX_FRAME_BYTES,
    NONCE_BYTES,
    OUT_OF_MEMORY,
    Limits,
    Lost,
    clean,
    decode,
    encode,
)
from tasks.sandbox.worker import Worker

_BLOCK = 1 << 16
_MOST_UNREAD = 4096  # frames
_MOST_UNREAD_BYTES = 1 << 20  # of them all: as objects they take thirty times that
_END_SECONDS = 1.0  # for a worker to say how a session ended


class Session:
    """Made by Pool.session, which ends it. After a Lost, every further call raises the same."""

    def __init__(self, worker: Worker, mode: str, job: bytes, limits: Limits) -> None:
        """job: framed."""
        self._worker = worker
        self._limits = limits
        self._deadline = time.monotonic() + limits.seconds
        self._nonce = os.urandom(NONCE_BYTES)
        self._incoming = bytearray()
        self._frames: deque[dict[str, Any]] = deque()
        self._unread = 0  # bytes of them
        self._printed = bytearray()
        self._lost: Lost | None = None
        self._end: dict[str, Any] | None = None  # what the worker said of it
        self._killed = False
        self._begun = False
        self._socket, theirs = socket.socketpair()
        self._output, their_output = os.pipe()
        try:
            self._number = worker.start(mode, limits, theirs.fileno(), their_output)
        except OSError:
            self._number = 0
            self._lost = _worker_lost()
        finally:
            theirs.close()
            os.close(their_output)
        self._socket.setblocking(False)
        os.set_blocking(self._output, False)
        self._outgoing = memoryview(self._nonce + job)
        self._watched = select.poll()
        self._watched.register(self._socket, select.POLLIN | select.POLLOUT)
        self._watched.register(self._output, select.POLLIN)
        self._open = {self._socket.fileno(), self._output}

    def send(self, message: Mapping[str, Any]) -> None:
        """Queue a message; it goes out while this side waits for an answer."""
        if self._socket.fileno() in self._open:
            self._outgoing = memoryview(bytes(self._outgoing) + framed(message))
            self._watched.modify(self._socket, select.POLLIN | select.POLLOUT)

    def receive(self, seconds: float) -> dict[str, Any]:
        """The session's next frame. Raises Lost where none comes in time, or ever."""
        deadline = min(time.monotonic() + seconds, self._deadline)
        while not self._frames:
            self._check()
            if self._socket.fileno() not in self._open:
                self._learn_the_end()
                raise self._lose(self._why())
            self._pump(deadline)
            if not self._frames and self._socket.fileno() in self._open:
                self._hurry(deadline, seconds)
        if len(self._frames) == 1:
            self._unread = 0
        return self._frames.popleft()

    def stdout(self, most: int) -> bytes:
        """What it has printed so far."""
        return bytes(self._printed[:most])

    def finish(self, seconds: float) -> int:
        """Wait until it ends by itself: its exit status, or minus the signal that ended it."""
        deadline = min(time.monotonic() + seconds, self._deadline)
        while self._open:
            self._check()
            self._pump(deadline)
            if self._open:
                self._hurry(deadline, seconds)
        self._learn_the_end()
        if (end := self._why()).kind != "died" or end.ours:
            raise self._lose(end)
        return os.waitstatus_to_exitcode((self._end or {}).get("status", signal.SIGKILL))

    def close(self) -> bool:
        """End the process and everything in it. Returns whether the worker can go on."""
        try:
            if self._end is None and self._number:
                self._killed = True
                self._worker.end(self._number)
                self._end = self._worker.ended(self._number, _END_SECONDS)
            return self._end is not None
        except (OSError, EOFError):
            return False
        finally:
            self._socket.close()
            os.close(self._output)

    def _check(self) -> None:
        if self._lost:
            raise self._lost

    def _hurry(self, deadline: float, seconds: float) -> None:
        """Also who always has something more to say has a deadline. seconds: what it was made from, to be told."""
        if time.monotonic() >= deadline:
            raise self._lose(Lost("timeout", f"Not done within {min(seconds, self._limits.seconds):.3g} seconds."))

    def _pump(self, deadline: float) -> None:
        """Wait for something to happen, until the deadline, and take it in."""
        patience = deadline - time.monotonic()
        for descriptor, events in self._watched.poll(max(patience, 0) * 1000 + 1):
            if descriptor == self._output:
                self._take_output()
                continue
            if events & select.POLLOUT and self._outgoing:
                self._send_some()
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._take_frames()

    def _send_some(self) -> None:
        try:
            self._outgoing = self._outgoing[self._socket.send(self._outgoing) :]
        except BlockingIOError:
            return
        except OSError:
            self._outgoing = memoryview(b"")
        if not self._outgoing:
            self._watched.modify(self._socket, select.POLLIN)

    def _take_output(self) -> None:
        part = os.read(self._output, _BLOCK)
        if not part:
            self._shut(self._output)
        self._printed += part
        if len(self._printed) > self._limits.output_bytes:
            raise self._lose(Lost("too_large", f"It printed more than {self._limits.output_bytes:,} bytes."))

    def _take_frames(self) -> None:
        try:
            part = self._socket.recv(_BLOCK)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if not part:
            self._shut(self._socket.fileno())
        if not self._begun and part:
            self._begun = part.startswith(BEGUN)
            part = part[len(BEGUN) :]
        self._incoming += part
        while len(self._incoming) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._incoming)
            if length > MAX_FRAME_BYTES:
                raise self._lose(
                    Lost("too_large", f"An answer of {length:,} bytes: at most {MAX_FRAME_BYTES:,} are read.")
                )
            size = LENGTH.size + NONCE_BYTES + length
            if len(self._incoming) < size:
                return
            self._frames.append(self._opened(bytes(self._incoming[LENGTH.size : size])))
            del self._incoming[:size]
            self._unread += size
            if len(self._frames) > _MOST_UNREAD or self._unread > _MOST_UNREAD_BYTES:
                raise self._lose(Lost("too_large", "It sent more answers than anybody asked for."))

    def _opened(self, frame: bytes) -> dict[str, Any]:
        if frame[:NONCE_BYTES] != self._nonce:
            raise self._lose(Lost("malformed", "Its channel holds what is no answer."))
        try:
            return decode(frame[NONCE_BYTES:])
        except ValueError as fault:
            raise self._lose(Lost("malformed", f"Its answer is not JSON: {clean(str(fault), 200)}.")) from None

    def _shut(self, descriptor: int) -> None:
        self._watched.unregister(descriptor)
        self._open.discard(descriptor)

    def _learn_the_end(self) -> None:
        """A process that has closed its channel but runs on is ended."""
        if self._end is None:
            try:
                self._end = self._worker.ended(self._number, _END_SECONDS)
                if self._end is None:
                    self._killed = True
                    self._worker.end(self._number)
                    self._end = self._worker.ended(self._number, _END_SECONDS)
            except (OSError, EOFError):
                raise self._lose(_worker_lost()) from None

    def _why(self) -> Lost:
        """What ended it."""
        end = self._end or {}
        if "failed" in end:
            return Lost("died", f"The session could not be started: {end['failed']}.", ours=True)
        code = os.waitstatus_to_exitcode(end.get("status", signal.SIGKILL))
        if code == OUT_OF_MEMORY:
            most = self._limits.memory_bytes >> 20
            return Lost("memory", f"It needs more than the {most:,} MB of memory that it may have.")
        if not self._begun:
            return Lost("died", "The session could not be confined.", ours=True)
        if self._killed:
            return Lost("died", "It closed its channel and ran on.")
        if code == -signal.SIGKILL:
            if end.get("cpu", 0.0) > self._limits.seconds:
                return Lost("timeout", f"It used {end['cpu']:.0f} seconds of processor time.")
            return Lost("memory", "The machine ended it: out of memory.")
        if code < 0:
            return Lost("died", f"It was ended by {_signal_name(-code)}.")
        return Lost("died", f"It ended (exit status {code}) before it answered.")

    def _lose(self, lost: Lost) -> Lost:
        self._lost = lost
        return lost


def _worker_lost() -> Lost:
    return Lost("died", "The worker had ended.", ours=True)


def framed(message: Mapping[str, Any]) -> bytes:
    raw = encode(message)
    return LENGTH.pack(len(raw)) + raw


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
