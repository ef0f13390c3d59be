"""What every reader gives: Blocks of JSON rows, cut so that reading can go on behind any of them."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from tasks.types import Issue

BLOCK_BYTES = 4 << 20  # a block ends here too: a dozen of them are under way, each several times over
MAX_LINE_BYTES = 1_000_000  # of one row, in every format

Size = Callable[[int], int]  # rows wanted in the block that starts behind this row number


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the bytes of a file are laid out: found once by `source.detect`, kept as JSON, given to `source.blocks`."""

    format: str  # jsonl | json | csv | tsv | parquet | xlsx
    compressed: bool = False  # gzip
    encoding: str = "utf-8"  # csv, tsv
    delimiter: str = ","  # csv, tsv
    header: bool = True  # csv, tsv, xlsx: the first row names the columns
    member: str = ""  # json: the key of the list of rows; "": the rows stand in one array, or one behind the other
    array: bool = False  # json: the rows stand in an array


class Block(NamedTuple):
    """Some rows, in the order of the file."""

    line: int  # number of the last row before this block
    last: int  # number of the last row in it
    position: int  # where reading resumes behind it, with `last` as line. JSONL: a byte offset; others: rows read
    read: int  # bytes of the stored file that are read so far, for progress
    data: bytes  # JSON rows, one a line (JSONL: the bytes as uploaded, with CRLF, blank lines and BOM)
    numbers: list[int] | None  # row number of each line of `data`; None: consecutive from `line` + 1
    issues: list[Issue]  # rows that could not be read, which `data` does not hold


class Unreadable(Exception):
    """Reading cannot go on: the rows before are good. Becomes one Issue with this code."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code, self.detail = code, detail


def packed(
    entries: Iterable[tuple[int, bytes | Issue]], packer: "Packer", consumed: Callable[[], int]
) -> Iterator[Block]:
    """Rows with their numbers to Blocks; the ones before a place where reading ends are given first."""
    try:
        for number, row in entries:
            if block := packer.add(number, row, consumed()):
                yield block
    except Unreadable:
        if block := packer.rest(consumed()):
            yield block
        raise
    if block := packer.rest(consumed()):
        yield block


class Packer:
    """Rows, one at a time, to Blocks."""

    def __init__(self, size: Size, position: int, line: int) -> None:
        self._size, self._position, self._line = size, position, line
        self._begin()

    def _begin(self) -> None:
        self._wanted = max(1, self._size(self._line))
        self._rows: list[bytes] = []
        self._numbers: list[int] = []
        self._issues: list[Issue] = []
        self._last, self._taken, self._held = self._line, 0, 0

    def add(self, number: int, row: bytes | Issue, read: int) -> Block | None:
        """The block that this row completes."""
        if row.__class__ is bytes:
            self._rows.append(row)
            self._numbers.append(number)
            self._held += len(row)
        else:
            self._issues.append(row)  # type: ignore[arg-type]
        self._last = number
        self._taken += 1
        return self._block(read) if self._taken >= self._wanted or self._held >= BLOCK_BYTES else None

    def rest(self, read: int) -> Block | None:
        return self._block(read) if self._taken else None

    def _block(self, read: int) -> Block:
        first = self._line + 1
        consecutive = self._numbers == list(range(first, first + len(self._numbers)))
        self._position += self._taken
        block = Block(
            self._line,
            self._last,
            self._position,
            read,
            b"\n".join(self._rows),
            None if consecutive else self._numbers,
            self._issues,
        )
        self._line = self._last
        self._begin()
        return block
