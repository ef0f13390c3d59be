"""A stored file: what it is (`detect`), and its rows in Blocks that can be read on behind any of them (`blocks`)."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.formats import csv_rows, isolated, json_array, jsonl, mapping, sniff
from tasks.formats.block import Block, Layout, Size, Unreadable
from tasks.formats.codes import issue
from tasks.formats.compressed import MAX_UNPACKED_BYTES, Source
from tasks.formats.mapping import Mapping
from tasks.graders.templates import as_text
from tasks.text import excerpt
from tasks.types import Issue

SAMPLE_ROWS = 20
_OF_THE_FILE = frozenset({"damaged_file", "file_too_costly", "unpacks_too_large"})
_SHOWN_VALUES = 3
_SHOWN_COLUMNS = 200


@dataclass(frozen=True, slots=True)
class Column:
    name: str  # dotted where it stands inside an object: reward_model.ground_truth
    values: tuple[str, ...]  # of the first rows, shortened


@dataclass(frozen=True, slots=True)
class Detected:
    """What a file is. With a `problem` it cannot be read at all, and nothing else counts."""

    layout: Layout | None
    columns: tuple[Column, ...] = ()
    sample: tuple[dict[str, Any], ...] = ()  # the first rows, as they stand
    mapping: Mapping = mapping.NATIVE
    confident: bool = False  # a known dialect: the mapping needs nobody to look at it
    grader: dict[str, Any] | None = None  # that fits its references, where neither the rows nor a dataset bring one
    rows: int | None = None  # where the file says so
    notes: tuple[str, ...] = ()  # what was decided or left out, in sentences
    problem: Issue | None = None

    @property
    def format(self) -> str:
        return self.layout.format if self.layout else ""

    @property
    def dialect(self) -> str:
        return self.mapping.dialect


def detect(path: Path, filename: str, *, max_bytes: int = MAX_UNPACKED_BYTES) -> Detected:
    with path.open("rb") as stream:
        seen = sniff.sniff(stream, filename)
    if seen.problem is not None or seen.layout is None:
        return Detected(seen.layout, notes=seen.notes, problem=seen.problem)
    layout, rows, notes = seen.layout, None, seen.notes
    if layout.format in ("parquet", "xlsx"):
        try:
            about, first = _isolated(path, layout, max_bytes)
        except Unreadable as fault:
            return Detected(layout, notes=notes, problem=issue(fault.code, detail=fault.detail))
        rows, notes = about.rows, (*notes, *about.notes)
        layout = Layout(layout.format, layout.compressed, header=about.header)
    else:
        first = next(blocks(path, layout, size=lambda _: SAMPLE_ROWS, max_bytes=max_bytes), None)
    if first is None:
        return Detected(layout, notes=notes, problem=issue("empty_file"))
    objects = ((row, raw) for _, row, raw in jsonl.rows(first) if isinstance(row, dict))
    sample = tuple(_without_nul(row) if b"\\u0000" in raw else row for row, raw in objects)
    if not sample and layout.format != "jsonl" and (problem := _only_faults(first)):
        return Detected(layout, notes=notes, problem=problem)
    columns = columns_of(sample)
    guessed = mapping.guess([column.name for column in columns], sample)
    return Detected(layout, columns, sample, guessed.mapping, guessed.confident, guessed.grader, rows, notes)


def _without_nul(value: Any) -> Any:
    """As an issue shows it: a sample is kept in the database, which has no such character."""
    if isinstance(value, str):
        return value.replace("\0", "\\0")
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(part) for name, part in value.items()}
    return [_without_nul(part) for part in value] if isinstance(value, list) else value


def _isolated(path: Path, layout: Layout, max_bytes: int) -> tuple[isolated.About, Block | None]:
    """What the file says of itself and its first rows, in one reading: opening a large workbook takes seconds."""
    about = isolated.About(None, [])
    with (
        Source(path, layout.compressed, max_bytes) as source,
        contextlib.closing(isolated.frames(source, layout, 0, None)) as frames,
    ):
        for frame in frames:
            if isinstance(frame, isolated.About):
                about = frame
                continue
            first = frame.entries[:SAMPLE_ROWS]
            kept = [(number, row) for number, row in first if row is not None]
            data, numbers = b"\n".join(row for _, row in kept), [number for number, _ in kept]
            return about, Block(0, first[-1][0], len(first), 0, data, numbers, frame.issues[:SAMPLE_ROWS])
    return about, None


def _only_faults(first: Block) -> Issue | None:
    """Of a file without a single row among the first, the first fault is the file's."""
    found = [*first.issues, *(row for _, row, _ in jsonl.rows(first) if isinstance(row, Issue))]
    if found and found[0].code in _OF_THE_FILE:
        return replace(found[0], line=0)
    return issue("unknown_format", detail=f"none of its first rows can be used: {found[0].sentence}") if found else None


def columns_of(sample: tuple[dict[str, Any], ...]) -> tuple[Column, ...]:
    """Every column of the first rows, those inside objects with their path, in the order in which they come."""
    values: dict[str, list[str]] = {}
    for row in sample:
        for name, value in _flat(row, "", 0):
            shown = values.setdefault(name, [])
            if len(shown) < _SHOWN_VALUES and value is not None:
                shown.append(excerpt(as_text(value)))
    return tuple(Column(name, tuple(shown)) for name, shown in list(values.items())[:_SHOWN_COLUMNS])


def _flat(row: dict[str, Any], path: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        name = f"{path}{key}"
        yield name, value
        if isinstance(value, dict) and depth < 2:
            yield from _flat(value, f"{name}.", depth + 1)


def blocks(
    path: Path,
    layout: Layout,
    *,
    position: int = 0,
    line: int = 0,
    size: Size,
    max_bytes: int = MAX_UNPACKED_BYTES,
) -> Iterator[Block]:
    """Blocks from `position` on, which an earlier Block gave, with its `last` as `line`.

    The position of a file that stops making sense does not move on: its last Block holds one Issue and no data, and
    reading again from there says the same.
    """
    with Source(path, layout.compressed, max_bytes) as source:
        try:
            for block in _blocks(path, source, layout, position, line, size):
                position, line = block.position, block.last
                yield block
        except Unreadable as fault:
            found = issue(fault.code, line=line + 1, detail=fault.detail)
            yield Block(line, line + 1, position, source.consumed, b"", None, [found])


def _blocks(path: Path, source: Source, layout: Layout, position: int, line: int, size: Size) -> Iterator[Block]:
    if layout.format == "jsonl":
        return jsonl.blocks(source, position=position, line=line, size=size)
    if layout.format == "json":
        return json_array.blocks(source, layout, position=position, line=line, size=size)
    if layout.format in ("csv", "tsv"):
        return csv_rows.blocks(source, layout, position=position, line=line, size=size)
    total = path.stat().st_size
    return isolated.blocks(source, layout, position=position, line=line, size=size, total=total)
