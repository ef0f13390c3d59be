"""Parquet to JSON rows, in a process of its own (isolated.py): a dictionary can repeat one long text for ever.

Numbers, texts, true and false, lists and structs are their JSON; decimals, dates and times are texts; NaN and infinity
are null. A column of bytes that are UTF-8 is text; any other, and one that holds bytes within a list or a struct, is
left out, which is told. A row's number is its place in the file.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from tasks.formats.block import MAX_LINE_BYTES, Unreadable
from tasks.formats.codes import issue
from tasks.formats.isolated import About, Ask
from tasks.formats.table import MAX_COLUMNS
from tasks.types import Issue

MAX_ROWS = 100_000_000
SLICE_ROWS = 1024
SLICE_BYTES = 4 << 20  # of texts that are written at once
_encode = msgspec.json.Encoder().encode


def rows(stream: BinaryIO, ask: Ask) -> Iterator[About | tuple[int, bytes | Issue]]:
    import pyarrow as pa

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    try:
        yield from _rows(stream, ask.position)
    except (pa.ArrowMemoryError, MemoryError):
        raise MemoryError from None
    except (pa.ArrowException, OSError, ValueError) as fault:
        raise Unreadable(
            "damaged_file", f"it is no Parquet that can be read ({str(fault).splitlines()[0][:200]})"
        ) from None


def _rows(stream: BinaryIO, position: int) -> Iterator[About | tuple[int, bytes | Issue]]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20)  # else a column of a row group is read whole
    if len(file.schema_arrow) > MAX_COLUMNS:
        raise Unreadable("unknown_format", f"it has {len(file.schema_arrow):,} columns, more than {MAX_COLUMNS:,}")
    if twice := [name for name, count in Counter(file.schema_arrow.names).items() if count > 1]:
        raise Unreadable("unknown_format", f"two of its columns are called '{twice[0][:80]}'")
    if file.metadata.num_rows > MAX_ROWS:
        raise Unreadable("file_too_costly", f"it has {file.metadata.num_rows:,} rows, more than {MAX_ROWS:,}")
    kept, left_out = _columns(file.schema_arrow)
    notes = [f"The column '{name}' holds binary data and was left out." for name in left_out]
    yield About(file.metadata.num_rows, notes)
    number = 0
    for group in range(file.num_row_groups):
        footer = file.metadata.row_group(group)
        if number + footer.num_rows <= position:
            number += footer.num_rows
            continue
        at_once = max(16, min(SLICE_ROWS, SLICE_BYTES * footer.num_rows // max(1, footer.total_byte_size)))
        for batch in file.iter_batches(at_once, [group], columns=kept, use_threads=False):
            start = max(0, min(position - number, batch.num_rows))
            yield from _of_batch(batch.slice(start), number + start)
            number += batch.num_rows


def _columns(schema: Any) -> tuple[list[str], list[str]]:
    """(kept, left out)."""
    import pyarrow.types as kinds

    kept: list[str] = []
    left_out: list[str] = []
    for field in schema:
        top = kinds.is_binary(field.type) or kinds.is_large_binary(field.type)
        (left_out if not top and _holds_bytes(field.type) else kept).append(field.name)
    return kept, left_out


def _holds_bytes(kind: Any) -> bool:
    import pyarrow.types as kinds

    if kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_fixed_size_binary(kind):
        return True
    return any(_holds_bytes(kind.field(place).type) for place in range(kind.num_fields))


def _of_batch(batch: Any, before: int) -> Iterator[tuple[int, bytes | Issue]]:
    columns = [_plain(column) for column in batch.columns]
    names = batch.schema.names
    longest = sum(map(_longest, columns))
    step = max(1, min(SLICE_ROWS, SLICE_BYTES // max(1, longest)))
    for start in range(0, batch.num_rows, step):
        values = [column.slice(start, step).to_pylist() for column in columns]
        for place, cells in enumerate(zip(*values, strict=True) if values else (), before + start + 1):
            yield place, _row(names, cells, place)


def _row(names: list[str], cells: tuple[Any, ...], number: int) -> bytes | Issue:
    filled = dict(zip(names, cells, strict=True))
    for name, cell in filled.items():
        if cell.__class__ is bytes:
            try:
                filled[name] = cell.decode()
            except UnicodeDecodeError:
                return issue("cell_unreadable", line=number, field=name, detail="it holds binary data")
    data = _encode(filled)
    return (
        data if len(data) <= MAX_LINE_BYTES else issue("line_too_long", line=number, detail=f"{MAX_LINE_BYTES:,} bytes")
    )


def _plain(column: Any) -> Any:
    """Times and decimals as texts, which JSON has no other form for."""
    import pyarrow as pa
    import pyarrow.types as kinds

    kind = column.type
    if kinds.is_temporal(kind) or kinds.is_decimal(kind) or kinds.is_float16(kind):
        return column.cast(pa.float32() if kinds.is_float16(kind) else pa.string())
    return column


def _longest(column: Any) -> int:
    """Bytes of the longest text of a column; a guess of 1 KB for what is no text."""
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    if kinds.is_string(column.type) or kinds.is_large_string(column.type) or kinds.is_binary(column.type):
        return pc.max(pc.binary_length(column)).as_py() or 0
    return 1024
