"""JSON Lines: bytes to rows or Issues, one line at a time, in bounded memory.

Blank lines are counted and skipped, CRLF and a leading BOM are accepted, and of a repeated key the last value counts,
as in most parsers. A broken line is an Issue and the reading goes on; a file that is no JSON Lines at all is one Issue.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from tasks.formats.codes import issue
from tasks.text import nests_deeper
from tasks.types import Issue

MAX_LINE_BYTES = 1_000_000
MAX_DEPTH = 64
BLOCK_BYTES = 1 << 20
TRIED_LINES = 20  # as many lines without a single row, and the file is not JSON Lines

_BOM = b"\xef\xbb\xbf"
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


@dataclass(frozen=True, slots=True)
class Line:
    """One line as read: `row` or `issue`, never both."""

    number: int  # 1-based; 0 with an issue about the file as a whole
    end: int  # byte offset behind the line: where reading may resume, with this number
    row: dict[str, Any] | None
    issue: Issue | None
    source: bytes  # the line without its break, b"" where it was too long to keep


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
