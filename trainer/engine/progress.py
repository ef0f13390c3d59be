"""What the engine says while it works and what it hears: heartbeat.json, metrics.jsonl, samples.jsonl, control.json."""

import os
import resource
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from trainer.contract import Alarm, Control, Heartbeat, Result, Rollout, StepMetrics, encode
from trainer.engine.checkpoints import write_durably
from trainer.engine.faults import Fenced

BEAT_SECONDS = 2.0
FENCED = 75  # exit status: another attempt owns the directory, nothing was written

Stop = Literal["pause", "cancel", "terminate"]


class _Attempt(msgspec.Struct):
    attempt: int = 1


class Progress:
    """The engine's side of the run directory. A thread beats, listens and leaves at once when fenced."""

    def __init__(self, directory: Path, attempt: int, *, speaks: bool = True) -> None:
        """`speaks` is False for a process beside the first one: it leaves when fenced, and writes nothing."""
        self._speaks = speaks
        self.directory = directory
        self.attempt = attempt
        self.step = 0
        self.total_steps = 0
        self.phase = "loading"
        self.stop: Stop | None = None
        self.seconds: dict[str, float] = {}  # by phase
        self._phase_began = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_ended, daemon=True)

    def __enter__(self) -> Self:
        self._beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if kind is not Fenced:
            self._beat()

    def enter(self, phase: str, *, total_steps: int | None = None) -> None:
        """Begin a phase; the time since the last call belongs to the one before."""
        now = time.monotonic()
        self.seconds[self.phase] = self.seconds.get(self.phase, 0.0) + now - self._phase_began
        self.phase, self._phase_began = phase, now
        if total_steps is not None:
            self.total_steps = total_steps

    def report(self, metrics: StepMetrics) -> None:
        self._append("metrics.jsonl", [metrics])

    def alarm(self, alarms: Sequence[Alarm]) -> None:
        if alarms:
            self._append("alarms.jsonl", alarms)

    def show(self, rollouts: Iterable[Rollout]) -> None:
        self._append("samples.jsonl", rollouts)

    def end(self, result: Result) -> None:
        self.require_own_attempt()
        write_durably(self.directory / "result.json", encode(result))

    def require_own_attempt(self) -> None:
        """Every write begins here: an engine that slept through its lease must not disturb its successor."""
        if self._fenced():
            raise Fenced

    def _append(self, name: str, lines: Iterable[msgspec.Struct]) -> None:
        self.require_own_attempt()
        if not self._speaks:
            return
        with (self.directory / name).open("ab") as file:
            file.write(b"".join(encode(line) + b"\n" for line in lines))

    def _beat_until_ended(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            if self._fenced():
                os._exit(FENCED)  # the main thread may be deep in a matrix product and must not write after it
            self._beat()
            self._listen()

    def _beat(self) -> None:
        if not self._speaks:
            return
        beat = Heartbeat(
            attempt=self.attempt,
            pid=os.getpid(),
            at=time.time(),
            phase=self.phase,
            step=self.step,
            total_steps=self.total_steps,
            peak_memory_bytes=peak_memory_bytes(),
        )
        partial = self.directory / "heartbeat.json.partial"
        with suppress(OSError):  # a full disk: the run itself says so, and the heart must not stop before
            partial.write_bytes(encode(beat))
            partial.replace(self.directory / "heartbeat.json")

    def _listen(self) -> None:
        with suppress(OSError, msgspec.DecodeError):  # absent, or caught half-written: the next beat reads it
            control = msgspec.json.decode((self.directory / "control.json").read_bytes(), type=Control)
            self.stop = self.stop or control.action

    def _fenced(self) -> bool:
        try:
            spec = msgspec.json.decode((self.directory / "spec.json").read_bytes(), type=_Attempt)
        except (OSError, msgspec.DecodeError):
            return False  # half-written: the next look decides
        return spec.attempt != self.attempt


def peak_memory_bytes() -> int:
    """Highest resident size so far. VmHWM, because ru_maxrss includes what the parent held before exec."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
