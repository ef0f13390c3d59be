"""JSON: one array of rows, an object that holds one list of rows ({"data": [...]}), or rows one behind the other,
indented or not. The file is cut at the rows' brackets and never loaded; a row's number is its place in the list.

Only cutting happens here: what stands between a row's brackets is parsed, and judged, like a line of JSON Lines.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from tasks.formats.block import MAX_LINE_BYTES, Block, Layout, Packer, Size, Unreadable, packed
from tasks.formats.codes import issue
from tasks.formats.compressed import Source
from tasks.types import Issue

MAX_PASSED_BYTES = 256 << 20  # of one row, in search of its end: a bracket costs a tenth of a microsecond
MAX_PASSED_DEPTH = 1_000_000

# A string up to its closing quotation mark, or up to the end of what is read; never back and forth (possessive).
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
_TOKEN = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)
_MEMBER_TOKEN = re.compile(_STRING + rb"|[\[\]{},:]", re.DOTALL)
_NEXT = re.compile(rb"[\s,]*+(.)", re.DOTALL)
_SCALAR = re.compile(_STRING + rb"|[^,\]}\s]++", re.DOTALL)
_ANOTHER = re.compile(rb'\s*,\s*"((?:[^"\\]|\\.){1,100})"\s*:\s*\[\s*\{', re.DOTALL)
_SKIPPED = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)
_IN_STRING = re.compile(rb'\\.|"', re.DOTALL)
_BOM = b"\xef\xbb\xbf"


def lists_of(head: bytes) -> Iterator[tuple[str, int]]:
    """(key, offset behind the opening bracket) of every list of objects in an object that begins the head."""
    depth, key, colon = 0, "", False
    for found in _MEMBER_TOKEN.finditer(head):
        token = found[0]
        if token in (b"{", b"["):
            if depth == 1 and colon and token == b"[" and head[found.end() :].lstrip()[:1] == b"{":
                yield key, found.end()
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return
        elif depth == 1 and token == b",":
            key, colon = "", False
        elif depth == 1 and token == b":":
            colon = True
        elif depth == 1 and not colon and token.startswith(b'"'):
            key = _text(token)


def _text(token: bytes) -> str:
    try:
        return msgspec.json.decode(token, type=str)
    except (msgspec.DecodeError, UnicodeError):
        return ""


def blocks(source: Source, layout: Layout, *, position: int, line: int, size: Size) -> Iterator[Block]:
    """`position` is the number of rows to pass over, which must be cut all the same."""
    rows = (
        (number, _one_line(row, number)) for number, row in enumerate(_Rows(source, layout), 1) if number > position
    )
    return packed(rows, Packer(size, position, line), lambda: source.consumed)


def _one_line(row: bytes | Issue | None, number: int) -> bytes | Issue:
    if row is None:
        return issue("line_too_long", line=number, detail=f"{MAX_LINE_BYTES:,} bytes")
    if isinstance(row, Issue):
        return replace(row, line=number)
    # Between tokens a carriage return is a blank like any other; inside a text it stays as wrong as a line break is.
    return row.replace(b"\n", b"\r") if b"\n" in row else row


class _Rows:
    """The rows' bytes in order; None for one that is too long."""

    def __init__(self, source: Source, layout: Layout) -> None:
        self._source, self._layout = source, layout
        self._held, self._at = b"", 0

    def _more(self) -> bool:
        """Read on, keeping what is not yet used."""
        chunk = self._source.read()
        self._held, self._at = self._held[self._at :] + chunk, 0
        return bool(chunk)

    def __iter__(self) -> Iterator[bytes | Issue | None]:
        self._begin()
        in_list = self._layout.array or bool(self._layout.member)
        while True:
            found = _NEXT.match(self._held, self._at)
            if found is None:
                if self._more():
                    continue
                if in_list:
                    raise Unreadable("truncated_file", "its list is not closed")
                return
            self._at = found.start(1)
            sign = found[1]
            if sign in (b"]", b"}"):
                if in_list:
                    yield from self._behind()
                    return
                self._at += 1
            else:
                yield self._row() if sign in (b"{", b"[") else self._scalar()

    def _begin(self) -> None:
        """Go to the first row."""
        while len(self._held) < MAX_LINE_BYTES and self._more():
            pass
        self._at = len(_BOM) if self._held.startswith(_BOM) else 0
        if self._layout.member:
            places = dict(reversed(list(lists_of(self._held))))
            if self._layout.member not in places:
                raise Unreadable("damaged_file", f"there is no list '{self._layout.member}' in it")
            self._at = places[self._layout.member]
        elif self._layout.array:
            self._at = self._held.index(b"[") + 1

    def _row(self) -> bytes | None:
        while (end := _closing(self._held, self._at)) < 0:
            if len(self._held) - self._at > MAX_LINE_BYTES:
                self._pass_over()
                return None
            if not self._more():
                raise Unreadable("truncated_file", "its last row is not closed")
        row = self._held[self._at : end]
        self._at = end
        return row if len(row) <= MAX_LINE_BYTES else None

    def _scalar(self) -> bytes | None:
        """Something between the rows that is none: a number, a text, or what was left by a bracket too many."""
        while True:
            found = _SCALAR.match(self._held, self._at)
            end = found.end() if found else self._at + 1
            if end < len(self._held) or not self._more():
                break
            if len(self._held) > 2 * MAX_LINE_BYTES:
                raise Unreadable("file_too_costly", "a value between its rows is too long")
        row = self._held[self._at : end]
        self._at = end
        return row

    def _pass_over(self) -> None:
        """To the end of a row that is too long, with nothing of it kept."""
        depth, passed, in_string = 0, 0, False
        while depth < MAX_PASSED_DEPTH and passed < MAX_PASSED_BYTES:
            passed += len(self._held) - self._at
            pattern, end = (_IN_STRING if in_string else _SKIPPED), len(self._held)
            while found := pattern.search(self._held, self._at):
                self._at = found.end()
                token = found[0]
                if token == b'"':
                    in_string = not in_string
                    pattern = _IN_STRING if in_string else _SKIPPED
                elif token in (b"{", b"["):
                    depth += 1
                elif token in (b"}", b"]"):
                    depth -= 1
                    if depth == 0:
                        return
            self._at = end - (self._at < end and self._held.endswith(b"\\"))  # its character comes with the next bytes
            if not self._more():
                raise Unreadable("truncated_file", "its last row is not closed")
        raise Unreadable("file_too_costly", "the end of a row that is too long is nowhere near")

    def _behind(self) -> Iterator[Issue]:
        """Rows in a second list must not be lost in silence."""
        self._at += 1
        if self._layout.member:
            while len(self._held) - self._at < 1000 and self._more():
                pass
            if another := _ANOTHER.match(self._held, self._at):
                key = _text(b'"' + another[1] + b'"')
                yield issue("list_left_out", detail=f"'{key}'")


def _closing(held: bytes, start: int) -> int:
    """The offset behind the bracket that closes the one at `start`; -1 where it is not among these bytes."""
    depth = 0
    for found in _TOKEN.finditer(held, start):
        token = found[0]
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return found.end()
    return -1
