"""Workers kept warm, lent out one session at a time. One pool per process and flavour: `shared`."""

import atexit
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tasks.sandbox.protocol import Flavour, Level, Limits, Unavailable
from tasks.sandbox.session import Session, framed
from tasks.sandbox.worker import Worker

_MOST_WORKERS = 2  # unless SANDBOX_WORKERS says otherwise


class Pool:
    def __init__(self, flavour: Flavour = Flavour.BARE, *, level: Level, size: int | None = None) -> None:
        self.flavour = flavour
        self.level = level
        self.size = size or workers_wanted()
        self._free = threading.Semaphore(self.size)
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()

    @contextmanager
    def session(self, mode: str, job: Mapping[str, Any], limits: Limits | None = None) -> Iterator[Session]:
        """One fresh process, which ends with this context. Waits for a free worker: never nest two of one pool.

        Raises RecursionError or ValueError where the job cannot be written as JSON.
        """
        order = framed(job)
        with self._free:
            worker = self._take()
            try:
                session = Session(worker, mode, order, limits or Limits())
            except BaseException:  # too many open files, say; who knows what the worker was told
                self._discard(worker)
                raise
            sound = False
            try:
                yield session
            finally:
                sound = session.close()
                self._give_back(worker, sound)

    def start(self) -> None:
        """Start one worker now; raises Unavailable where none can be."""
        with self._free:
            self._give_back(self._take(), True)

    def close(self) -> None:
        with self._lock:
            workers, self._all, self._idle = self._all, set(), []
        for worker in workers:
            worker.stop()

    def worker_pid(self) -> int:
        """Of any one of its workers; 0 while it has none."""
        with self._lock:
            return next((worker.pid for worker in self._all), 0)

    def forget(self) -> None:
        """In a forked child: the workers are the parent's."""
        for worker in tuple(self._all):
            worker.forget()

    def _take(self) -> Worker:
        while True:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                return self._started()
            if worker.alive():
                return worker
            self._discard(worker)

    def _started(self) -> Worker:
        worker = Worker(self.flavour, self.level)
        with self._lock:
            self._all.add(worker)
        try:
            worker.wait_until_ready()
        except BaseException:
            self._discard(worker)
            raise
        return worker

    def _give_back(self, worker: Worker, sound: bool) -> None:
        if not sound:
            self._discard(worker)
            return
        with self._lock:
            if worker in self._all:
                self._idle.append(worker)

    def _discard(self, worker: Worker) -> None:
        with self._lock:
            self._all.discard(worker)
        worker.kill()


def workers_wanted() -> int:
    given = os.environ.get("SANDBOX_WORKERS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(int(given), 1) if given.isdigit() else min(cores, _MOST_WORKERS)


_pools: dict[tuple[Flavour, Level, bool], Pool] = {}
_lock = threading.Lock()


def shared(flavour: Flavour = Flavour.BARE, *, beside: bool = False) -> Pool:
    """This process's pool. Ask for it each time: the level is looked at again now and then.

    Raises Unavailable where no level holds, but for MATH: that is our own code, and then runs unconfined.
    beside: a second pool, for who needs a session of each at once: two of one pool could wait for each other for ever.
    """
    from tasks.sandbox import levels  # which tries levels with pools of its own

    try:
        level = levels.best()
    except Unavailable:
        if flavour is not Flavour.MATH:
            raise
        level = Level.PLAIN
    with _lock:
        key = flavour, level, beside
        if key not in _pools:
            _pools[key] = Pool(flavour, level=level)
        return _pools[key]


def available() -> str | None:
    """Why nothing can be confined on this machine, as a sentence; None where it can."""
    try:
        shared()
    except Unavailable as refusal:
        return refusal.sentence
    return None


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for pool in _pools.values():
        pool.forget()
    _pools.clear()


@atexit.register
def close_all() -> None:
    with _lock:
        pools = list(_pools.values())
        _pools.clear()
    for pool in pools:
        pool.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
