"""Files that are too long for one import: the features of their rows calculated in batches, de-duplicated by joins.

The same preparation reads the rows as in an import; nothing is stored but Parquet files. With RAY_ADDRESS the batches
go to the machines of that cluster, which must see the same folders and have this code installed. They import this
module with Django not set up: what needs models is imported where it is used.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec
from django.conf import settings

from tasks.dedup import at_scale
from tasks.dedup.at_scale import MEMORY_BYTES, Place, Verdict
from tasks.dedup.contamination import Verdict as Held
from tasks.dedup.fanning import fan
from tasks.dedup.signature import BANDS
from tasks.errors import Invalid
from tasks.formats import mapping as mappings
from tasks.formats import source
from tasks.formats.block import Block
from tasks.preparation import Context, Prepared, prepare

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_ROWS = 5000
BLOCKS_A_FILE = 8  # of Parquet: what one machine reads at a time
LINES = 1 << 40  # more than a file can have: row = number of the file * LINES + line


@contextmanager
def place(
    scratch: Path | None = None, *, memory_bytes: int = MEMORY_BYTES, threads: int = os.cpu_count() or 1
) -> Iterator[Place]:
    """A folder of its own inside `scratch` (None: under DATA_DIR/cache), which goes whatever happens, and whoever
    RAY_ADDRESS names to share the work."""
    parent = Path(settings.DATA_DIR) / "cache" / "at_scale" if scratch is None else scratch
    parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="dedup-", dir=parent) as folder:
        by = fan(os.environ.get("RAY_ADDRESS", ""))
        yield Place(Path(folder), memory_bytes=memory_bytes, threads=threads, fan=by)


def mapping_of(path: Path, given: Mapping[str, Any] | None) -> bytes:
    """How a file's rows are read, as JSON: the mapping given, where it fits the file; else the guess, where it is sure.
    Raises Invalid otherwise: there is no page on which somebody could be asked."""
    from tasks.services import mapping

    found = _detected(path)
    names = [column.name for column in found.columns]
    if given is not None:
        chosen = mapping.parse(given)
        wrong = mappings.problems(chosen, names)
    elif not names:  # not one row can be read: each says so itself
        chosen, wrong = mappings.NATIVE, []
    else:
        chosen, wrong = found.mapping, [] if found.confident else [_unmapped(names, found.mapping)]
    if wrong:
        raise Invalid("bad_mapping", f"{path.name}: {' '.join(wrong)}", "mapping")
    return msgspec.json.encode(mapping.in_order(chosen, names))


def _unmapped(names: Sequence[str], guess: mappings.Mapping) -> str:
    return (
        f"say what its columns are ({', '.join(names)}). Write a mapping into a file, give it as --mapping and call "
        f"again; a first guess: {msgspec.json.encode(guess).decode()}"
    )


def deduplicate(files: Sequence[Path], out: Path, contexts: Sequence[Context], place: Place) -> dict[Verdict, int]:
    """One Parquet file that says of every line of every file what it is to those before it. `contexts`: one a file."""
    blocks, features = place.scratch / "blocks", place.scratch / "features"
    verdicts = place.scratch / "verdicts.parquet"
    cut(files, blocks)
    place.fan(blocks, partial(featured, tuple(contexts)), features, 1)  # a block at a time
    counts = at_scale.decide(features, verdicts, place)
    _name_lines(verdicts, out, place)
    return counts


def cut(files: Sequence[Path], folder: Path) -> None:
    """The blocks of the files, as they stand, into Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    schema = pa.schema([("file", pa.int32()), ("block", pa.binary())])
    for number, path in enumerate(files):
        for part, blocks in enumerate(_some(_blocks(path), BLOCKS_A_FILE)):
            with pq.ParquetWriter(folder / f"{number:05d}-{part:06d}.parquet", schema) as writer:
                for block in blocks:  # each a row group, so that one block at a time is in memory
                    packed = msgspec.msgpack.encode(block)
                    writer.write_table(pa.table({"file": [number], "block": [packed]}, schema=schema))


def _blocks(path: Path) -> Iterator[Block]:
    layout = _detected(path).layout
    assert layout is not None  # of a file without a problem
    return source.blocks(path, layout, size=lambda line: BLOCK_ROWS)


def _detected(path: Path) -> source.Detected:
    found = source.detect(path, path.name)
    if found.problem is not None or found.layout is None:
        sentence = found.problem.sentence if found.problem else "Nobody knows this format."
        raise Invalid("unreadable", f"{path.name}: {sentence}", "file")
    return found


def _some(blocks: Iterable[Block], count: int) -> Iterator[Iterator[Block]]:
    """Runs of at most `count` blocks, each to be read to its end before the next."""
    rest = iter(blocks)
    for first in rest:

        def run(block: Block = first) -> Iterator[Block]:
            yield block
            for _, further in zip(range(count - 1), rest, strict=False):
                yield further

        yield run()


def featured(contexts: Sequence[Context], blocks: "pa.Table") -> "pa.Table":
    """Features of the rows of some blocks: a pure function, for any process of any machine."""
    import pyarrow as pa

    tables = [
        _features(prepare(msgspec.msgpack.decode(packed, type=Block), contexts[file]), file * LINES)
        for file, packed in zip(blocks["file"].to_pylist(), blocks["block"].to_pylist(), strict=True)
    ]
    return pa.concat_tables(tables) if tables else at_scale.features_schema().empty_table()


def _features(prepared: Prepared, first: int) -> "pa.Table":
    import pyarrow as pa

    schema = at_scale.features_schema()
    held = [_is_held_out(prepared, row) for row in range(len(prepared.lines))]
    good = {
        "row": [first + line for line in prepared.lines],
        "exact_key": prepared.exact_keys,
        "bare_key": [bare or key for bare, key in zip(prepared.stripped_keys, prepared.exact_keys, strict=True)],
        "answer": prepared.answers,
        "grader": [digest or "" for digest in prepared.graders],
        "numbers": pa.array(prepared.signatures, pa.uint64()),
        "bands": _lists(prepared.near[:, :BANDS]),
        "sketch": [own.tobytes() for own in prepared.near[:, BANDS:].astype("<u8")],
        "folded": prepared.folded,
        "refused": ["contaminated" if found else "" for found in held],
    }
    codes = {issue.line: issue.code for issue in reversed(prepared.issues)}  # a row is refused under the first
    bad: dict[str, Any] = {name: [None] * len(codes) for name in schema.names}
    bad |= {"row": [first + line for line in codes], "refused": list(codes.values())}
    return pa.concat_tables([pa.table(good, schema=schema), pa.table(bad, schema=schema)])


def _is_held_out(prepared: Prepared, row: int) -> bool:
    found = prepared.overlaps.get(row)
    return found is not None and found.verdict is Held.CONTAMINATED


def _lists(bands: Any) -> "pa.Array":
    """(n, BANDS) as a column of lists, without making Python's numbers of it."""
    import numpy as np
    import pyarrow as pa

    count, width = bands.shape
    return pa.ListArray.from_arrays(np.arange(0, count * width + 1, width, dtype=np.int32), bands.reshape(-1))


def _name_lines(verdicts: Path, out: Path, place: Place) -> None:
    """Rows as file (from 0) and line."""
    import duckdb

    names = [
        f"({column} // {LINES})::INTEGER AS {prefix}file, {column} % {LINES} AS {prefix}line"
        for column, prefix in (("row", ""), ("other", "other_"), ("family", "family_"))
    ]
    with duckdb.connect(":memory:") as database:
        database.execute(f"SET memory_limit = '{place.memory_bytes // 2**20}MiB'")
        database.execute(f"SET threads = {place.threads}")
        rows = database.read_parquet(str(verdicts))
        rows.project(", ".join([names[0], "verdict", "rule", names[1], "similarity", names[2]])).write_parquet(str(out))
