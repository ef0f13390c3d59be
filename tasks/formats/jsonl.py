"""JSON Lines: bytes to rows or Issues, in bounded memory.

`blocks` only cuts the file at line breaks; `rows` parses a block, in another process where there is one. Blank lines
are counted and skipped, CRLF and a leading BOM are accepted. A key that an object has twice is an Issue: most parsers
take the last value, and whoever wrote the row may have meant the first. A broken line is an Issue and the reading goes
on.
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from tasks.formats.block import BLOCK_BYTES, MAX_LINE_BYTES, Block, Size, Unreadable
from tasks.formats.codes import issue
from tasks.formats.compressed import CHUNK_BYTES, Source
from tasks.text import nests_deeper
from tasks.types import Issue

MAX_DEPTH = 64
TRIED_LINES = 20  # as many lines without a single row, and the file is not JSON Lines

_BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_BEHIND_KEY = b'":'
_decode = msgspec.json.Decoder().decode


def blocks(source: Source, *, position: int, line: int, size: Size) -> Iterator[Block]:
    """Raw bytes between line breaks. A line that is too long is a block of its own, without its bytes."""
    source.skip(position)
    ahead = b""
    while True:
        skipped, passed, ahead = _behind_blanks(source, ahead)
        position, line = position + skipped, line + passed
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


def _behind_blanks(source: Source, ahead: bytes) -> tuple[int, int, bytes]:
    """(bytes of blank lines thrown away, how many, what is read behind them). A small archive can hold a billion."""
    skipped = lines = 0
    ahead = ahead or source.read(CHUNK_BYTES)
    while cut := ahead.rfind(b"\n", 0, len(ahead) - len(ahead.lstrip())) + 1:
        skipped += cut
        lines += ahead.count(b"\n", 0, cut)
        ahead = ahead[cut:] or source.read(CHUNK_BYTES)
    return skipped, lines, ahead


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
        if too_long or (lines and counted >= BLOCK_BYTES):
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
        elif source.count(_BEHIND_KEY) != len(row) and (key := _given_twice(source, row)) is not None:
            yield number, issue("key_twice", line=number, detail=key[:80], value=_shown(source)), source
        else:
            yield number, row, source.removesuffix(b"\r")


def fault_of_the_head(head: bytes, whole: bool) -> Issue | None:
    """One Issue where TRIED_LINES of a file hold no row. Fewer of them are for their author to mend, one by one.
    `whole`: the head is all of the file."""
    data = head if whole else head[: head.rfind(b"\n") + 1]  # it may end inside a line
    tried = list(itertools.islice(rows(Block(0, 0, len(data), len(data), data, None, [])), TRIED_LINES))
    if len(tried) < TRIED_LINES or any(isinstance(found, dict) for _, found, _ in tried):
        return None
    detail = f"none of its first {TRIED_LINES} lines is a JSON object"
    return issue("not_jsonl", detail=detail, value=_shown(tried[0][2]))


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
    if (key := _given_twice(source, row)) is not None:
        return issue("key_twice", line=number, detail=key[:80], value=_shown(source))
    return row


def _given_twice(source: bytes, row: dict[str, Any]) -> str | None:
    """A key that stands twice in one object of a row that could be decoded.

    Every key that was written adds one to the count, as `":` in a text does: equal to the keys that are left, none was
    lost. Only rows whose texts hold such a piece, or with blanks before their colons, are read once more.
    """
    if source.count(_BEHIND_KEY) == _keys_in(row):
        return None
    twice: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        read = dict(pairs)
        if len(read) < len(pairs):
            twice.extend(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return read

    json.loads(source, object_pairs_hook=look, parse_int=str)  # a number of 5,000 digits is no concern of ours
    return twice[0] if twice else None


def _keys_in(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_keys_in, value.values()))
    return sum(map(_keys_in, value)) if isinstance(value, list) else 0


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
