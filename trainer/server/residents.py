"""The models in memory: loaded when first asked for, at most so many, the one unused for longest makes room.

Everything here runs on the event loop, which is the lock; only loading itself runs in a thread.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from trainer.server.faults import Fault, busy


class Closable(Protocol):
    def close(self) -> None: ...


M = TypeVar("M", bound=Closable)


@dataclass(slots=True)
class Seat(Generic[M]):
    bytes: int
    loading: asyncio.Task[M]
    users: int = 0


@dataclass
class Residents(Generic[M]):
    load: Callable[[str], M]
    measure: Callable[[str], int]  # bytes that the model will take
    slots: int
    memory_bytes: int
    patience_seconds: float = 10.0  # that a request waits for a place while all models are answering
    _freed: asyncio.Event = field(default_factory=asyncio.Event)
    _seats: OrderedDict[str, Seat[M]] = field(default_factory=OrderedDict)  # least recently used first

    @asynccontextmanager
    async def lease(self, digest: str) -> AsyncIterator[M]:
        """The loaded model; it stays loaded at least until the lease ends."""
        if digest not in self._seats:
            size = await asyncio.to_thread(self.measure, digest)
            await self._room_for(digest, size)
            if digest not in self._seats:  # another request may have begun to load it meanwhile
                self._seats[digest] = Seat(size, self._begin_loading(digest))
        seat = self._seats[digest]
        self._seats.move_to_end(digest)
        seat.users += 1
        try:
            # Shielded: who leaves early does not take the model from those who wait for it too.
            yield await asyncio.shield(seat.loading)
        finally:
            seat.users -= 1
            self._freed.set()

    def report(self) -> list[dict[str, Any]]:
        return [
            {"id": digest, "state": "ready" if seat.loading.done() else "loading", "bytes": seat.bytes}
            for digest, seat in self._seats.items()
        ]

    @property
    def bytes(self) -> int:
        return sum(seat.bytes for seat in self._seats.values())

    def close(self) -> None:
        for digest in list(self._seats):
            self._leave(digest)

    def _begin_loading(self, digest: str) -> asyncio.Task[M]:
        loading = asyncio.create_task(asyncio.to_thread(self.load, digest))
        loading.add_done_callback(lambda task: self._forget_if_failed(digest, task))
        return loading

    def _forget_if_failed(self, digest: str, loading: asyncio.Task[M]) -> None:
        """The next request tries again: the artifact may have been restored."""
        self._freed.set()
        failed = loading.cancelled() or loading.exception()
        seat = self._seats.get(digest)
        if failed and seat is not None and seat.loading is loading:
            del self._seats[digest]

    async def _room_for(self, digest: str, size: int) -> None:
        """Wait until the model has a place, or another request has begun to load it."""
        if size > self.memory_bytes:
            sentence = (
                f"The model needs {size / 1e9:.2f} GB and this server may use {self.memory_bytes / 1e9:.2f} GB. "
                "Start it with more --max-memory."
            )
            raise Fault(503, "model_too_large", sentence, param="model", headers={"x-should-retry": "false"})
        try:
            async with asyncio.timeout(self.patience_seconds):
                while digest not in self._seats and not self._makes_room(size):
                    self._freed.clear()
                    await self._freed.wait()
        except TimeoutError:
            raise busy("All places for models are in use. Try again in a moment.") from None

    def _makes_room(self, size: int) -> bool:
        while len(self._seats) >= self.slots or self.bytes + size > self.memory_bytes:
            idle = next((d for d, seat in self._seats.items() if seat.loading.done() and not seat.users), None)
            if idle is None:
                return False
            self._leave(idle)
        return True

    def _leave(self, digest: str) -> None:
        seat = self._seats.pop(digest)
        if seat.loading.done() and not seat.loading.cancelled() and not seat.loading.exception():
            seat.loading.result().close()
