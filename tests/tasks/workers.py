"""A worker that imports in a process of its own, as one that a test may kill, or whose memory it may watch."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil

MEGABYTE = 2**20
SAMPLE_SECONDS = 0.02
_READS_IDS = """
import sys, django
django.setup()
from tasks.services import importing
print("ready", flush=True)
for line in sys.stdin:
    importing.import_upload(int(line))
    print("done", flush=True)
"""


class Worker:
    """Imports the uploads it is told, one after the other. A context manager: whatever still runs is killed."""

    def __init__(self, environment: Mapping[str, str], data: Path, **settings: str) -> None:
        django = {"DJANGO_SETTINGS_MODULE": "flywheel.settings", "DATA_DIR": str(data), "LOG_LEVEL": "ERROR"}
        self.log = (data / f"worker-{time.monotonic_ns()}.log").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-c", _READS_IDS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            start_new_session=True,
            env={**environment, **django, **settings},
        )
        self.seen: set[psutil.Process] = set()  # everybody who ever belonged to it, as far as `look` was asked
        assert self._heard() == "ready"

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.look()
        for process in self.seen | {self.process}:
            with suppress(psutil.Error, OSError):
                process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]

    def begin(self, upload: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{upload}\n")
        self.process.stdin.flush()

    def end(self) -> bool:
        """Wait until it is done with what it was told last. False: it died over it."""
        return self._heard() == "done"

    def run(self, upload: int) -> bool:
        self.begin(upload)
        return self.end()

    def _heard(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def look(self) -> list[psutil.Process]:
        """Its helpers that live now."""
        with suppress(psutil.Error):
            helpers = psutil.Process(self.process.pid).children(recursive=True)
            self.seen.update(helpers)
            return helpers
        return []

    def kill(self) -> None:
        """kill -9 of the worker alone: what becomes of its helpers is for the test to see."""
        self.look()
        self.process.kill()
        self.process.wait()

    def orphans(self, seconds: float = 5.0) -> list[psutil.Process]:
        """Helpers that outlive their worker by that much."""
        _, alive = psutil.wait_procs(self.seen, timeout=seconds)
        return alive

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace")


class Memory:
    """Watches a process and all below it: `peak` is the largest sum of their proportional shares, in MB. Whoever goes
    beyond `stop_at` is killed, before the machine suffers."""

    def __init__(self, pid: int, stop_at: float) -> None:
        self.pid, self.stop_at, self.peak = pid, stop_at, 0.0
        self._over = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            total = megabytes_of(self.pid)
            self.peak = max(self.peak, total)
            if total > self.stop_at:
                with suppress(psutil.Error):
                    for process in psutil.Process(self.pid).children(recursive=True):
                        process.kill()
                    os.kill(self.pid, 9)


def megabytes_of(pid: int) -> float:
    """Pages that several of the processes share count once."""
    total = 0
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.Error, OSError):
                total += process.memory_full_info().pss
    return total / MEGABYTE


def until(true: Callable[[], Any], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "nothing came of it in time"
        time.sleep(0.005)
