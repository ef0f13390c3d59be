"""JSON Lines: bytes to rows or Issues, in bounded memory.

`blocks` only cuts the file at line breaks; `rows` parses a block, in another process where there is one. Blank lines
are counted and skipped, CRLF and a leading BOM are accepted, and of a repeated key the last value counts, as in most
parsers. A broken line is an Issue and the reading goes on.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from tasks.formats.block import BLOCK_BYTES as MOST_BYTES
from tasks.formats.block import MAX_LINE_BYTES, Block, Size, Unreadable
from tasks.formats.codes import issue
from tasks.formats.compressed import CHUNK_BYTES, Source
from tasks.text import nests_deeper
from tasks.types import Issue

MAX_DEPTH = 64
BLOCK_BYTES = 1 << 20
TRIED_LINES = 20  # as many lines without a single row, and the file is not JSON Lines

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n\xef\xbb\xbf"
_MAGIC = {
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"PK\x03\x04": "a zip archive or a spreadsheet; export it as JSON Lines",
    b"PAR1": "a Parquet file",
    b"BZh": "a bzip2 archive; unpack it first",
    b"\xfd7zXZ": "an xz archive; unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstd archive; unpack it first",
    b"%PDF": "a PDF document",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"SQLite format 3": "a SQLite database",
    b"\x7fELF": "a program",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
}
_ARRAY = "it is one JSON array; write each element on a line of its own"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_decode = msgspec.json.Decoder().decode


def blocks(source: Source, *, position: int, line: int, size: Size) -> Iterator[Block]:
    """Raw bytes between line breaks. A line that is too long is a block of its own, without its bytes."""
    source.skip(position)
    ahead = b""
    while True:
        data, ahead, lines = _filled(source, ahead, max(1, size(line)))
        if not data and not ahead:
            return
        issues = []
        if data:
            position += len(data)
        else:
            skipped, ahead = _behind_the_line(source, ahead)
            position += skipped
            lines = 1
            issues = [issue("line_too_long", line=line + 1, detail=f"{MAX_LINE_BYTES:,} bytes")]
        yield Block(line, line + lines, position, source.consumed, data, None, issues)
        line += lines


def _filled(source: Source, ahead: bytes, wanted: int) -> tuple[bytes, bytes, int]:
    """(whole lines, what is read behind them, how many lines). No line where the next one is too long, or none is left.

    Lines are counted, not split: a line costs nanoseconds here.
    """
    held, counted, lines = bytearray(ahead), 0, 0
    while True:
        lines += held.count(b"\n", counted)
        counted = len(held)
        if lines >= wanted:
            cut = _behind_break(held, wanted)
            break
        too_long = counted > MAX_LINE_BYTES and held.rfind(b"\n", -MAX_LINE_BYTES - 1) < 0
        if too_long or (lines and counted >= MOST_BYTES):
            cut = held.rfind(b"\n") + 1
            break
        try:
            chunk = source.read(CHUNK_BYTES)
        except Unreadable:
            if not lines:
                raise
            cut = held.rfind(b"\n") + 1  # the rows that are whole; the next call raises
            break
        if not chunk:
            cut = counted
            break
        held += chunk
    cut = _before_long_line(held, cut)
    view = memoryview(held)  # a slice of the bytearray would be one more copy
    data = bytes(view[:cut])
    return data, bytes(view[cut:]), data.count(b"\n") + (bool(data) and not data.endswith(b"\n"))


def _behind_break(held: bytearray, wanted: int) -> int:
    """The offset behind the line break of this number, found by halving."""
    low, high, before = 0, len(held), 0  # `before` breaks lie before `low`
    while high - low > 4096:
        middle = (low + high) // 2
        found = held.count(b"\n", low, middle)
        if before + found >= wanted:
            high = middle
        else:
            low, before = middle, before + found
    for _ in range(wanted - before):
        low = held.find(b"\n", low) + 1
    return low


def _before_long_line(held: bytearray, end: int) -> int:
    """`end`, or the offset of the first line before it that is too long. Looks at one line in a megabyte."""
    start = 0
    while end - start > MAX_LINE_BYTES:
        closing = held.rfind(b"\n", start, start + MAX_LINE_BYTES + 1)
        if closing < 0:
            return start
        start = closing + 1
    return end


def _behind_the_line(source: Source, ahead: bytes) -> tuple[int, bytes]:
    """(bytes thrown away, what is read behind the line)."""
    skipped = 0
    while ahead:
        if (closing := ahead.find(b"\n")) >= 0:
            return skipped + closing + 1, ahead[closing + 1 :]
        skipped += len(ahead)
        ahead = source.read(CHUNK_BYTES)
    return skipped, b""


def rows(block: Block) -> Iterator[tuple[int, dict[str, Any] | Issue, bytes]]:
    """(row number, row or what is wrong with it, its bytes) of every line that is not blank.

    The block's own `issues` are about other rows and come on top.
    """
    sources = block.data.split(b"\n")
    numbers = block.numbers if block.numbers is not None else range(block.line + 1, block.line + 1 + len(sources))
    if block.line == 0 and sources[0].startswith(_BOM):
        sources[0] = sources[0].removeprefix(_BOM)
    open_end = len(sources) - 1
    decode = _decode
    for place, (number, source) in enumerate(zip(numbers, sources, strict=False)):
        try:
            row = decode(source)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            if not source or source.isspace():
                continue
            source = source.removesuffix(b"\r")
            found = parse(source, number)
            if place == open_end and isinstance(found, Issue):  # a whole line is followed by one more piece, empty
                found = _at_the_end(found, source, block.position)
            yield number, found, source
            continue
        if row.__class__ is not dict or source.count(b"[") + source.count(b"{") > MAX_DEPTH:
            yield number, parse(source, number), source
        else:
            yield number, row, source.removesuffix(b"\r")


@dataclass(frozen=True, slots=True)
class Line:
    """One line as read: `row` or `issue`, never both."""

    number: int  # 1-based; 0 with an issue about the file as a whole
    end: int  # byte offset behind the line: where reading may resume, with this number
    row: dict[str, Any] | None
    issue: Issue | None
    source: bytes  # the line without its break, b"" where it was too long to keep


def fault_of_the_head(head: bytes, whole: bool) -> Issue | None:
    """One Issue where none of the first lines is a row, or the file has none. `whole`: the head is all of the file."""
    if not head.strip(_BLANK):
        return issue("empty_file") if whole else None
    lines = list(itertools.islice(_lines_of(head, whole), TRIED_LINES))
    if any(isinstance(found, dict) for _, found, _ in lines):
        return None
    tried = [Line(number, 0, None, found, source) for number, found, source in lines if isinstance(found, Issue)]
    if len(tried) < TRIED_LINES and (not whole or not tried or _tries_to_be_rows(tried)):
        return None
    return _no_row_among(tried).issue


def _lines_of(head: bytes, whole: bool) -> Iterator[tuple[int, dict[str, Any] | Issue, bytes]]:
    """Of a head that ends inside a line only the lines before it."""
    data = head if whole else head[: head.rfind(b"\n") + 1]
    return rows(Block(0, 0, len(data), len(data), data, None, []))


def read(stream: BinaryIO, *, offset: int = 0, line: int = 0) -> Iterator[Line]:
    """Read from a byte offset that an earlier Line gave as `end`, with its number as `line`.

    Until the first row the issues are held back, so that a binary file answers with one sentence, not with thousands.
    """
    stream.seek(offset)
    if not offset and (fault := _not_text(stream)):
        yield Line(0, 0, None, fault, b"")
        return
    held: list[Line] | None = None if offset else []
    last = Line(line, offset, None, None, b"")
    for last in _parsed(stream, offset, line):
        if held is None or last.row is not None:
            yield from held or ()
            held = None
            yield last
            continue
        held.append(last)
        if len(held) >= TRIED_LINES:
            yield _no_row_among(held)
            return
    if not offset and last.number == 0:
        yield Line(0, last.end, None, issue("empty_file"), b"")
    if held and not _tries_to_be_rows(held):
        yield _no_row_among(held)
    else:
        yield from held or ()


def _tries_to_be_rows(lines: list[Line]) -> bool:
    """Broken objects are for their author to mend row by row; text, a table or one big array is another format."""
    if lines[0].source.strip() == b"{":
        return False
    return any(line.source.startswith(b"{") or not line.source for line in lines)


def _no_row_among(lines: list[Line]) -> Line:
    detail = f"none of its first {len(lines)} lines is a JSON object"
    first = lines[0].source.decode("utf-8", "replace")
    if first.startswith("["):
        detail = _ARRAY
    elif first.strip() == "{":
        detail = "an object is spread over several lines; write each on one line"
    return Line(0, lines[-1].end, None, issue("not_jsonl", detail=detail, value=first), b"")


def _not_text(stream: BinaryIO) -> Issue | None:
    """Look at the head of the file and rewind."""
    head = stream.read(8192)
    stream.seek(0)
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return issue("not_jsonl", detail=f"it looks like {name}")
    first = head.removeprefix(_BOM).lstrip().split(b"\n", 1)[0]
    if first.strip() == b"[":
        return issue("not_jsonl", detail=_ARRAY)
    if first.startswith(b"{") or not head.strip():
        return None  # a row, however broken, is judged as a row
    if len(_CONTROL.findall(head)) > len(head) // 100 or _not_utf8(head):
        return issue("not_jsonl", detail="it holds binary data")
    return None


def _not_utf8(head: bytes) -> bool:
    """The last three bytes may be a character that the head cuts."""
    try:
        head.decode()
    except UnicodeDecodeError as fault:
        return fault.start < len(head) - 3
    return False


def _parsed(stream: BinaryIO, offset: int, number: int) -> Iterator[Line]:
    for source, end, closed in _lines(stream, offset):
        number += 1
        if source is None:
            fault = issue("line_too_long", line=number, detail=f"{MAX_LINE_BYTES:,} bytes")
            yield Line(number, end, None, fault, b"")
            continue
        source = source.removesuffix(b"\r")
        if number == 1:
            source = source.removeprefix(_BOM)
        if not source or source.isspace():
            continue
        row = parse(source, number)
        if isinstance(row, Issue):
            fault = row if closed else _at_the_end(row, source, end)
            yield Line(number, end, None, fault, source)
        else:
            yield Line(number, end, row, None, source)


def _lines(stream: BinaryIO, offset: int) -> Iterator[tuple[bytes | None, int, bool]]:
    """(line or None where too long, byte offset behind it, whether a line break closes it)."""
    rest = b""
    overlong = False  # inside a line that is being thrown away
    while block := stream.read(BLOCK_BYTES):
        pieces = block.split(b"\n")
        pieces[0] = rest + pieces[0]
        rest = pieces.pop()
        for piece in pieces:
            offset += len(piece) + 1
            yield (None if overlong or len(piece) > MAX_LINE_BYTES else piece), offset, True
            overlong = False
        if overlong or len(rest) > MAX_LINE_BYTES:
            offset += len(rest)
            rest, overlong = b"", True
    if rest or overlong:
        yield (None if overlong else rest), offset + len(rest), False


def parse(source: bytes, number: int) -> dict[str, Any] | Issue:
    """One line's object, or what is wrong with it."""
    try:
        row = _decode(source)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        return _unreadable(source, number, fault)
    if source.count(b"[") + source.count(b"{") > MAX_DEPTH and nests_deeper(source.decode(), MAX_DEPTH):
        return issue("nested_too_deep", line=number, detail=str(MAX_DEPTH))
    if not isinstance(row, dict):
        return issue("row_not_object", line=number, detail=kind_of(row), value=_shown(source))
    return row


def _unreadable(source: bytes, number: int, fault: Exception) -> Issue:
    shown = _shown(source)
    if isinstance(fault, RecursionError):
        return issue("nested_too_deep", line=number, detail=str(MAX_DEPTH), value=shown)
    if isinstance(fault, UnicodeError):
        return issue("not_utf8", line=number, value=shown)
    if b"\0" in source:
        return issue("nul", line=number, value=shown)
    if _SURROGATE.search(source) and source.rstrip().endswith(b"}"):
        return issue("lone_surrogate", line=number, value=shown)
    if b"NaN" in source or b"Infinity" in source:
        return issue("not_json", line=number, detail="NaN and Infinity are not JSON numbers", value=shown)
    return issue("not_json", line=number, detail=_in_words(str(fault)), value=shown)


def _in_words(fault: str) -> str:
    if fault.startswith("Input data was truncated"):
        return "it ends too early"
    if "out of range" in fault:
        return "it holds a number too large to read"
    return fault.removeprefix("JSON is malformed: ")


def _at_the_end(fault: Issue, source: bytes, end: int) -> Issue:
    """The last line has no line break: if it also stops early, the file was cut."""
    if (
        fault.code not in ("not_json", "not_utf8")
        or not source.lstrip().startswith(b"{")
        or source.rstrip().endswith(b"}")
    ):
        return fault
    detail = f"line {fault.line} stops at byte {end:,} without its end"
    return issue("truncated_file", line=fault.line, detail=detail, value=_shown(source))


def _shown(source: bytes) -> str:
    return source[:1000].decode("utf-8", "replace").replace("\0", "\\0")


def kind_of(value: Any) -> str:
    """A JSON value's kind in a sentence: 'a list'."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "a text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"
