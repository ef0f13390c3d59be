"""The rejected rows of a file, in the file's own format, with why in front: to be corrected and uploaded again.

The file is read once more, from its beginning to the last rejected row. JSON rows keep their bytes; a row that is no
JSON object stands under `_raw`. Cells of CSV and TSV stay as they were, too many or too few as well.
"""

import codecs
import csv
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import msgspec

from tasks.formats import csv_rows, jsonl, source, table
from tasks.formats.block import MAX_LINE_BYTES, Layout
from tasks.formats.compressed import Source
from tasks.formats.reasons import COLUMNS, LINE, RAW, WHY, Reason, without
from tasks.types import Issue

BLOCK_ROWS = 2000
PIECE_BYTES = 64 << 10
_encode = msgspec.json.Encoder().encode
_IN_FRONT = (LINE, *WHY)


class Found(NamedTuple):
    """A rejected row: as an object, or as the bytes that are none."""

    reason: Reason
    row: dict[str, Any] | None
    source: bytes


def write(path: Path, layout: Layout, reasons: Iterable[Reason]) -> Iterator[bytes]:
    """`reasons` come by line, one a line."""
    pieces: Iterator[bytes]
    match layout.format:
        case "jsonl":
            pieces = (_line(found) + b"\n" for found in _found(path, layout, reasons))
        case "json":
            pieces = _array(_found(path, layout, reasons), layout.member)
        case "csv" | "tsv":
            encoder = codecs.getincrementalencoder(layout.encoding)(_errors(layout))  # one mark of the order of bytes
            pieces = (encoder.encode(text) for text in _table(path, layout, reasons))
        case "xlsx":
            pieces = _sheet(_found(path, layout, reasons))
        case "parquet":
            pieces = _parquet(_schema(path, layout), _found(path, layout, reasons))
        case _:
            raise ValueError(f"{layout.format} cannot be written")
    return zipped(pieces) if layout.compressed else pieces


def zipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same as gzip."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


def _found(path: Path, layout: Layout, reasons: Iterable[Reason]) -> Iterator[Found]:
    rows = _rows(path, layout)
    number, row, raw = next(rows, (0, None, b""))
    for reason in reasons:
        while number and number < reason.line:
            number, row, raw = next(rows, (0, None, b""))
        here = number == reason.line
        yield Found(reason, row if here else None, raw if here else reason.value.encode())


def _rows(path: Path, layout: Layout) -> Iterator[tuple[int, dict[str, Any] | None, bytes]]:
    for block in source.blocks(path, layout, position=0, line=0, size=lambda _: BLOCK_ROWS):
        for number, row, raw in jsonl.rows(block):
            yield number, _object(row, raw) if isinstance(row, Issue) else row, raw


def _object(fault: Issue, raw: bytes) -> dict[str, Any] | None:
    """What has a key twice is an object all the same: its author mends it where it stands."""
    return msgspec.json.decode(raw, type=dict[str, Any]) if fault.code == "key_twice" else None


# JSON


def _line(found: Found) -> bytes:
    why = found.reason.columns()
    if found.row is None:
        return _encode({**why, RAW: found.source.decode(errors="replace")})
    if COLUMNS & found.row.keys():  # corrected once and rejected again
        return _encode({**why, **without(found.row)})
    return spliced(why, found.source)


def spliced(front: dict[str, Any], row: bytes) -> bytes:
    """A JSON object with other keys in front. Its own bytes stay, so that a number of forty digits or a key given twice
    is there for its author to see."""
    rest = row.strip()[1:].lstrip()
    return _encode(front)[:-1] + (b"}" if rest == b"}" else b"," + rest)


def _array(rows: Iterator[Found], member: str) -> Iterator[bytes]:
    yield b"{%b:[" % json.dumps(member).encode() if member else b"["
    between = b"\n"
    for found in rows:
        yield between + _line(found)
        between = b",\n"
    yield b"\n]}\n" if member else b"\n]\n"


# CSV and TSV


class _Line:
    """A file for csv.writer that hands each line on."""

    def write(self, line: str) -> str:
        return line


def _table(path: Path, layout: Layout, reasons: Iterable[Reason]) -> Iterator[str]:
    writer = csv.writer(_Line(), delimiter=layout.delimiter)
    with Source(path, layout.compressed) as stored:
        records = csv_rows.records(csv_rows.text_of(stored, layout.encoding), layout.delimiter)
        number, cells = next(records, (0, []))
        names = table.names(cells, layout.header) if not isinstance(cells, Issue) else []
        kept = [place for place, name in enumerate(names) if name not in COLUMNS]
        yield writer.writerow([*_IN_FRONT, RAW, *(names[place] for place in kept)])
        raw = _PhysicalLines(path, layout)
        for reason in reasons:
            while number and number < reason.line:
                number, cells = next(records, (0, []))
            front = list(reason.columns().values())
            if number == reason.line and not isinstance(cells, Issue):
                beyond = cells[len(names) :]
                yield writer.writerow([*front, "", *(cells[at] for at in kept if at < len(cells)), *beyond])
            else:
                yield writer.writerow([*front, raw.at(reason.line)])


def _errors(layout: Layout) -> str:
    return "surrogatepass" if layout.encoding.startswith("utf-16") else "surrogateescape"


class _PhysicalLines:
    """Lines of the file by number, ascending: for records that csv cannot tell apart."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._path, self._layout, self._number = path, layout, 0
        self._text: io.TextIOWrapper | None = None

    def at(self, number: int) -> str:
        if self._text is None:
            stored = Source(self._path, self._layout.compressed)
            self._text = csv_rows.text_of(stored, self._layout.encoding)
        line = ""
        while self._number < number:
            line = self._text.readline(MAX_LINE_BYTES)
            if not line:
                break
            self._number += line.endswith(("\n", "\r"))
        return line.rstrip("\r\n")


# XLSX and Parquet


def _sheet(rows: Iterator[Found]) -> Iterator[bytes]:
    """Rows wait in a file until all are seen: an empty cell is not in its row, so only all rows tell the columns."""
    from openpyxl import Workbook

    names: dict[str, None] = dict.fromkeys((*_IN_FRONT, RAW))
    book = Workbook(write_only=True)
    sheet = book.create_sheet("rejected")
    with TemporaryFile() as waiting, TemporaryFile() as file:
        for found in rows:
            row = _flat(found)
            names |= dict.fromkeys(row)
            waiting.write(_encode(row) + b"\n")
        waiting.seek(0)
        sheet.append(list(names))
        for line in waiting:
            row = msgspec.json.decode(line)
            sheet.append([_cell(row.get(name)) for name in names])
        book.save(file)
        file.seek(0)
        while piece := file.read(PIECE_BYTES):
            yield piece


def _flat(found: Found) -> dict[str, Any]:
    row = {RAW: found.source.decode(errors="replace")} if found.row is None else without(found.row)
    return {**found.reason.columns(), **row}


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

        return ILLEGAL_CHARACTERS_RE.sub("\ufffd", value)[:32_767]  # what a cell can hold
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _schema(path: Path, layout: Layout) -> Any:
    """Only the footer of the file is read."""
    import pyarrow.parquet as pq

    with Source(path, layout.compressed) as stored, TemporaryFile() as unpacked:
        if not layout.compressed:
            return pq.read_schema(path)
        while piece := stored.read():
            unpacked.write(piece)
        return pq.read_schema(unpacked)


def _parquet(own: Any, rows: Iterator[Found]) -> Iterator[bytes]:
    """With the file's own types as far as JSON rows carry them: times, decimals and bytes are texts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {field.name: _carried(field.type) for field in own if field.name not in COLUMNS}
    front = [(LINE, pa.int64()), *((name, pa.string()) for name in (*WHY, RAW))]
    schema = pa.schema([*front, *((name, kind or pa.string()) for name, kind in kinds.items())])
    tube = Tube()
    with pq.ParquetWriter(pa.PythonFile(tube, mode="w"), schema) as writer:
        for batch in _batches(rows, BLOCK_ROWS):
            writer.write_batch(pa.RecordBatch.from_pylist([_typed(found, kinds) for found in batch], schema=schema))
            yield tube.take()
    yield tube.take()


def _typed(found: Found, kinds: dict[str, Any]) -> dict[str, Any]:
    raw = None if found.row is not None else found.source.decode(errors="replace")
    row = found.row or {}
    own = {
        name: row.get(name) if kind is not None or row.get(name) is None else json.dumps(row[name], ensure_ascii=False)
        for name, kind in kinds.items()
    }
    return {**found.reason.columns(), RAW: raw, **own}


def _carried(kind: Any) -> Any:
    """The Arrow type in which a column's JSON can be written; None: as JSON text."""
    import pyarrow as pa
    import pyarrow.types as is_

    if is_.is_dictionary(kind):
        return _carried(kind.value_type)
    if is_.is_list(kind) or is_.is_large_list(kind):
        inner = _carried(kind.value_type)
        return None if inner is None else pa.list_(inner)
    if is_.is_struct(kind):
        fields = [(field.name, _carried(field.type)) for field in kind]
        return None if not fields or any(inner is None for _, inner in fields) else pa.struct(fields)
    if is_.is_boolean(kind) or is_.is_integer(kind) or is_.is_null(kind):
        return kind
    if is_.is_floating(kind):
        return pa.float64()
    return None if is_.is_map(kind) or is_.is_union(kind) or is_.is_fixed_size_list(kind) else pa.string()


def _batches(rows: Iterator[Found], size: int) -> Iterator[list[Found]]:
    batch: list[Found] = []
    for found in rows:
        batch.append(found)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


class Tube(io.RawIOBase):
    """What a writer writes, taken out again in pieces: a file that is sent while it grows."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        self._written += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        return self._written

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken
