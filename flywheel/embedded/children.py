"""A supervised child: started, watched, restarted with growing pauses, stopped."""

import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from flywheel.embedded.process import signal_group

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
SETTLED_SECONDS = 30.0  # alive for this long: the next death counts as the first again


@dataclass
class Child:
    name: str
    start: Callable[[], "subprocess.Popen[bytes]"]
    log: Path
    healthy: Callable[[], bool]
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 5.0
    harder_signal: signal.Signals = signal.SIGKILL  # after the grace
    ends_its_group: bool = True  # False for Postgres, whose backends must be left to recover or leave by themselves

    process: "subprocess.Popen[bytes] | None" = None
    created: float = 0.0  # with the pid it names a process for ever
    restarts: int = 0
    deaths_in_a_row: int = 0
    started_at: float = field(default=0.0, repr=False)
    not_before: float = field(default=0.0, repr=False)

    def launch(self) -> None:
        self.started_at = time.monotonic()
        self.process = self.start()
        with suppress(psutil.NoSuchProcess):
            self.created = psutil.Process(self.process.pid).create_time()

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def revive(self) -> bool:
        """Restart a dead child once its pause is over; True when it was started again.

        The pause doubles with each death in a row, so that a child that cannot start does not eat the machine.
        """
        now = time.monotonic()
        if self.is_alive() or now < self.not_before:
            return False
        if now - self.started_at > SETTLED_SECONDS:
            self.deaths_in_a_row = 0
        self.not_before = now + min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**self.deaths_in_a_row)
        self.deaths_in_a_row += 1
        if self.process is not None and self.ends_its_group:
            signal_group(self.process.pid, signal.SIGKILL)  # workers of a dead master still hold its port
        self.restarts += 1
        self.launch()
        return True

    def ask_to_stop(self) -> None:
        if self.process is not None and self.is_alive():
            self.process.send_signal(self.stop_signal)

    def finish_stopping(self, *, hurry: bool = False) -> None:
        """Wait out the grace, then insist; nothing of the child's session is left afterwards."""
        if self.process is None:
            return
        try:
            self.process.wait(0.1 if hurry else self.grace_seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(self.harder_signal)
            try:
                self.process.wait(self.grace_seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.ends_its_group:
            signal_group(self.process.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """The last line of its log, for a sentence about why it does not start."""
        try:
            lines = [line for line in self.log.read_text(errors="replace").splitlines()[-50:] if line.strip()]
        except OSError:
            return ""
        return lines[-1].strip() if lines else ""


def answers_http(url: str, *, timeout_seconds: float = 2.0) -> bool:
    """Whatever it says short of a server error: a refusal, too, comes from a living server."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_seconds):  # noqa: S310 - our own loopback address
            return True
    except urllib.error.HTTPError as refusal:
        return refusal.code < 500
    except OSError:
        return False
