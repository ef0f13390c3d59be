"""A stored file as a stream of its bytes, unpacked where it is gzip.

Unpacked bytes are counted, and reading stops at a cap: the ratio says nothing, since honest JSON Lines can shrink to a
thousandth. Memory stays at one buffer whatever the archive claims.
"""

import gzip
import zlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from tasks.formats.block import Unreadable

MAX_UNPACKED_BYTES = 64 << 30
CHUNK_BYTES = 1 << 20


class Source:
    """A context manager. `consumed`: bytes of the stored file that are read; `read_bytes`: how many came out."""

    def __init__(self, path: Path, compressed: bool = False, max_bytes: int = MAX_UNPACKED_BYTES) -> None:
        self._path = path
        self._stored = path.open("rb")
        self._stream: BinaryIO = gzip.GzipFile(fileobj=self._stored) if compressed else self._stored  # type: ignore[assignment]
        self._fault: Unreadable | None = None
        self._compressed, self._most, self.read_bytes = compressed, max_bytes, 0

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stored.close()

    def reopened(self) -> BinaryIO:
        """The stored file from its beginning, for whoever must go back and forth in it."""
        return self._path.open("rb")

    @property
    def consumed(self) -> int:
        return self._stored.tell()

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        """Raises Unreadable, and then again: what was read before it can be used up first."""
        if self._fault is not None:
            raise self._fault
        try:
            data = self._stream.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
            self._fault = Unreadable("damaged_file", f"its compressed data cannot be unpacked ({fault})")
            raise self._fault from None
        self.read_bytes += len(data)
        if self._compressed and self.read_bytes > self._most:
            self._fault = Unreadable("unpacks_too_large", f"{self._most:,} bytes")
            raise self._fault
        return data

    def skip(self, count: int) -> None:
        """Go on behind so many bytes."""
        if not self._compressed:
            self._stored.seek(count)
            return
        while count > 0 and (data := self.read(min(count, CHUNK_BYTES))):
            count -= len(data)
