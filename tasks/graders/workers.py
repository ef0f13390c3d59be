"""Batches of lines graded by several processes, in order. A line that kills its process is ungradable, others go on.

A reader of its own hands batches out, so that an answer is never held back by a stream that waits for it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from queue import Queue
from threading import Thread
from types import TracebackType

from tasks.graders import lines

Batch = Sequence[bytes]
GradeBatch = Callable[[Batch], list[bytes]]
_DIED = "Grading this line ended its process: nothing can be said about the reply."


class Workers:
    """A context manager: leaving it ends the processes."""

    def __init__(self, count: int, grade: GradeBatch = lines.grade_batch) -> None:
        self._count, self._grade = count, grade
        # forked from a server that has loaded the graders and nothing of this process: its sockets stay here
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload([lines.__name__])
        self._pool = self._started(count)
        self._alone: ProcessPoolExecutor | None = None  # where it is certain which line kills

    def __enter__(self) -> "Workers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in (self._pool, self._alone):
            if pool is not None:
                pool.shutdown(wait=kind is None, cancel_futures=True)

    def _started(self, count: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(count, mp_context=self._context, initializer=_share_the_machine)

    def grade(self, batches: Iterable[Batch]) -> Iterator[list[bytes]]:
        """Answers in order, batch by batch. Two batches a process are under way, so that memory stays bounded."""
        under_way: Queue[tuple[Batch, Future[list[bytes]]] | BaseException | None] = Queue(2 * self._count)
        Thread(target=self._hand_out, args=(batches, under_way), name="reader", daemon=True).start()
        while (entry := under_way.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            batch, answers = entry
            try:
                yield answers.result()
            except BrokenProcessPool:
                yield self._one_by_one(batch)

    def _hand_out(
        self, batches: Iterable[Batch], under_way: "Queue[tuple[Batch, Future[list[bytes]]] | BaseException | None]"
    ) -> None:
        try:
            for batch in batches:
                under_way.put((batch, self._submitted(batch)))
        except BaseException as error:  # the stream broke, or the command is over: for whoever waits for the answers
            under_way.put(error)
        under_way.put(None)

    def _submitted(self, batch: Batch) -> Future[list[bytes]]:
        try:
            return self._pool.submit(self._grade, batch)
        except BrokenProcessPool:
            self._pool = self._started(self._count)
            return self._pool.submit(self._grade, batch)

    def _one_by_one(self, batch: Batch) -> list[bytes]:
        """A process died while it was busy with this batch, or another: halves in a process of their own tell."""
        if self._alone is None:
            self._alone = self._started(1)
        try:
            return self._alone.submit(self._grade, batch).result()
        except BrokenProcessPool:
            self._alone = None
        if len(batch) == 1:
            return [lines.unanswered(batch[0], _DIED)]
        half = len(batch) // 2
        return [*self._one_by_one(batch[:half]), *self._one_by_one(batch[half:])]


def _share_the_machine() -> None:
    """Each process has a sandbox of its own: one worker each, or they would be as many squared."""
    os.environ["SANDBOX_WORKERS"] = "1"
