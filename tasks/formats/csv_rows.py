"""CSV and TSV: records to JSON rows, every cell a text. A record's number is the line of the file on which it begins.

The header names the columns and is counted as a line; a record may hold line breaks in quotation marks. A quotation
mark that is never closed costs its record alone: reading goes on with the line after it.
"""

import csv
import io
import itertools
from collections import deque
from collections.abc import Iterator
from typing import Any

from tasks.formats import table
from tasks.formats.block import MAX_LINE_BYTES, Block, Layout, Packer, Size, packed
from tasks.formats.codes import issue
from tasks.formats.compressed import CHUNK_BYTES, Source
from tasks.types import Issue

MAX_READ_AGAIN = 64 << 20  # characters, over all records with an open quotation mark


class _Bytes(io.RawIOBase):
    """A Source for io's readers."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(min(len(buffer), CHUNK_BYTES))
        buffer[: len(data)] = data
        return len(data)


def text_of(source: Source, encoding: str) -> io.TextIOWrapper:
    """Bytes that the encoding does not know become halves of surrogate pairs, which no JSON row can hold."""
    errors = "surrogatepass" if encoding.startswith("utf-16") else "surrogateescape"
    raw = io.BufferedReader(_Bytes(source), CHUNK_BYTES)
    return io.TextIOWrapper(raw, encoding=encoding, errors=errors, newline="")


class _Lines:
    """The lines of a text, for csv.reader, which can be asked to give some again. One too long is cut and told."""

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text
        self._again: deque[str] = deque()
        self._left_to_repeat = MAX_READ_AGAIN
        self.record: list[str] = []  # the lines since the record began
        self.number = 0  # of the last line given
        self.held = 0
        self.overlong = False
        self.ended = False  # while a record asked for one more line

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._text.readline(MAX_LINE_BYTES + 1)
        if not line:
            self.ended = True
            raise StopIteration
        self.number += 1
        self.held += len(line)
        if len(line) > MAX_LINE_BYTES or self.held > MAX_LINE_BYTES:
            self.overlong = True
            if len(line) > MAX_LINE_BYTES:
                self._pass_over(line)
                line = "\n"
            if len(self.record) > 0:
                self.record.append(line)
                raise csv.Error
        self.record.append(line)
        return line

    def _pass_over(self, line: str) -> None:
        while line and not line.endswith(("\n", "\r")):
            line = self._text.readline(MAX_LINE_BYTES)

    def begin(self) -> None:
        """The next line begins a record."""
        self.record.clear()
        self.held, self.overlong, self.ended = 0, False, False

    def repeat(self) -> None:
        """Give the record's lines again, except the first, as long as that stays cheap."""
        lines, self.record = self.record[1:], []
        size = sum(map(len, lines))
        if size <= self._left_to_repeat:
            self._left_to_repeat -= size
            self._again.extendleft(reversed(lines))
            self.number -= len(lines)
        self.begin()


def blocks(source: Source, layout: Layout, *, position: int, line: int, size: Size) -> Iterator[Block]:
    entries = itertools.islice(rows(source, layout), position, None)
    return packed(entries, Packer(size, position, line), lambda: source.consumed)


def rows(source: Source, layout: Layout) -> Iterator[tuple[int, bytes | Issue]]:
    columns: list[str] | None = None
    for number, cells in records(text_of(source, layout.encoding), layout.delimiter):
        if isinstance(cells, Issue):
            yield number, cells
            continue
        if columns is None:
            columns = table.names(cells, layout.header)
            if layout.header:
                continue
        row = table.row(columns, cells, number)
        if row is not None:
            yield number, row


def records(text: io.TextIOBase, delimiter: str) -> Iterator[tuple[int, list[str] | Issue]]:
    """(line on which it begins, cells) of every record that is not blank."""
    csv.field_size_limit(2 * MAX_LINE_BYTES)  # of this process; the lines watch over the size themselves
    lines = _Lines(text)
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        first = lines.number + 1
        lines.begin()
        cells: list[str] | None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            cells = None
        if cells is None or lines.ended:
            yield first, _unclosed(first) if lines.ended or len(lines.record) > 1 else _long(first)
            lines.repeat()
            reader = csv.reader(lines, delimiter=delimiter)
        elif lines.overlong:
            yield first, _long(first)
        elif cells:
            yield first, cells


def _long(number: int) -> Issue:
    return issue("line_too_long", line=number, detail=f"{MAX_LINE_BYTES:,} characters")


def _unclosed(number: int) -> Issue:
    return issue("cell_unreadable", line=number, detail="a quotation mark opens it and none closes it")
