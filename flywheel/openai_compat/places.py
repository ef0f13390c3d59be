"""Places of this process for requests that wait for a model. All others keep threads of their own."""

from collections.abc import Generator, Iterator
from threading import BoundedSemaphore

from tasks.errors import Busy

CHATS = 56  # of 64 threads of a web process


class AllTaken(Busy):
    def __init__(self) -> None:
        super().__init__("busy", "More is asked than can be answered at a time: try again in a second.")
        self.headers = {"retry-after": "1"}


class Place:
    """Taken when it is made, left once, by whichever way its request ends. Raises AllTaken."""

    _free = BoundedSemaphore(CHATS)

    def __init__(self) -> None:
        self._held = self._free.acquire(blocking=False)
        if not self._held:
            raise AllTaken

    def leave(self) -> None:
        if self._held:
            self._held = False
            self._free.release()


class Held:
    """A body in pieces that keeps a place until it ends or is closed, begun or not."""

    def __init__(self, pieces: Generator[bytes], place: Place) -> None:
        self._pieces, self._place = pieces, place

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except BaseException:
            self._place.leave()
            raise

    def close(self) -> None:
        try:
            self._pieces.close()
        finally:
            self._place.leave()
