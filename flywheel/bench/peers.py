"""What the ingest bench is measured beside: de-duplication alone, by the tools that others use, on the same rows.

datasketch: MinHash and MinHashLSH in one process, at its default of 128 permutations and at 40. datatrove: its
documented pipeline of four stages (14 buckets of 8, SHA-1 of 64 bits) on two processes. Postgres: a table of bands with
a covering index, probed by the plan that is fastest for it.
"""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flywheel.bench.rows import shingles

if TYPE_CHECKING:
    import psycopg

BUCKET = 32  # tasks of a band that a look-up reads at most
CHUNK = 20_000  # rows


def prompts(path: Path, count: int) -> list[str]:
    with path.open() as file:
        return [json.loads(line)["prompt"] for line in islice(file, count)]


def ours(texts: Sequence[str]) -> float:
    """Rows/s of the same work by the product, in one process: keys, bands, look-up, insert, a chunk at a time."""
    from tasks.dedup import bands, fingerprint, signature
    from tasks.types import Message

    with TemporaryDirectory() as folder:
        index, started = bands.BandIndex(Path(folder)), time.perf_counter()
        for start in range(0, len(texts), CHUNK):
            chunk = texts[start : start + CHUNK]
            keys = [fingerprint.fingerprint((Message("user", text),)) for text in chunk]
            numbers = [int(key.number_signature, 16) for key in keys]
            signatures = signature.signatures([key.folded for key in keys], numbers)
            bands.older(index, signatures, np.ones(len(chunk), dtype=np.bool_))
            index.extend(np.arange(start + 1, start + len(chunk) + 1), signatures, after=start)
        return len(texts) / (time.perf_counter() - started)


def datasketch(texts: Sequence[str], permutations: int) -> float:
    """Rows/s of: shingles, MinHash, query, insert."""
    from datasketch import MinHash, MinHashLSH

    started = time.perf_counter()
    index = MinHashLSH(threshold=0.8, num_perm=permutations)
    for number, text in enumerate(texts):
        sketch = MinHash(num_perm=permutations)
        sketch.update_batch([shingle.encode() for shingle in shingles(text, 5)])
        index.query(sketch)
        index.insert(number, sketch)
    return len(texts) / (time.perf_counter() - started)


def datatrove(texts: Sequence[str], folder: Path, processes: int = 2) -> float:
    """Rows/s of its four stages. Words are split at blanks, which is faster than its own tokenizer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = folder / "rows"
    rows.mkdir(parents=True)
    for part in range(processes):
        names = [str(number) for number in range(part, len(texts), processes)]
        pq.write_table(pa.table({"text": list(texts[part::processes]), "id": names}), rows / f"{part}.parquet")
    stages = _stages(rows, folder, processes)
    started = time.perf_counter()
    for stage in stages:
        stage.run()
    return len(texts) / (time.perf_counter() - started)


def _stages(rows: Path, folder: Path, processes: int) -> list[Any]:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter
    from datatrove.utils.hashing import HashConfig
    from loguru import logger

    logger.remove()  # it tells every file that it opens
    config = MinhashConfig(hash_config=HashConfig(hash_fc="sha1", precision=64))  # as in its example
    signatures, buckets, removed = (str(folder / name) for name in ("signatures", "buckets", "removed"))
    steps: list[tuple[int, list[Any]]] = [
        (processes, [ParquetReader(str(rows)), MinhashDedupSignature(signatures, config=config, language=_words())]),
        (config.num_buckets, [MinhashDedupBuckets(signatures, buckets, config=config)]),
        (1, [MinhashDedupCluster(buckets, removed, config=config)]),
        (processes, [ParquetReader(str(rows)), MinhashDedupFilter(removed), ParquetWriter(str(folder / "kept"))]),
    ]
    return [
        LocalPipelineExecutor(
            steps, tasks=tasks, workers=min(tasks, processes), logging_dir=str(folder / f"log{number}")
        )
        for number, (tasks, steps) in enumerate(steps)
    ]


def _words() -> Any:
    from datatrove.utils.word_tokenizers import WordTokenizer

    class AtBlanks(WordTokenizer):
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            return [text]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [(0, len(text))]

    return AtBlanks()


# -- Postgres ----------------------------------------------------------------------------------------------------------

_PROBE = """
SELECT p.n, l.t FROM (SELECT n, h FROM probe ORDER BY h) p,
       LATERAL (SELECT t FROM lsh WHERE lsh.h = p.h ORDER BY t LIMIT %s) l
"""


def fill_bands(connection: "psycopg.Connection[Any]", stretches: Iterable[NDArray[np.uint64]]) -> None:
    """The table of the bands of tasks, named by their numbers, and its index."""
    connection.execute("DROP TABLE IF EXISTS lsh")
    connection.execute("CREATE UNLOGGED TABLE lsh (h int8, t int8)")
    with connection.cursor() as cursor, cursor.copy("COPY lsh FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        first = 0
        for bands_n_b in stretches:
            copy.write(_binary_rows(bands_n_b, first))
            first += len(bands_n_b)
        copy.write(b"\xff\xff")
    connection.execute("CREATE INDEX lsh_h ON lsh (h) INCLUDE (t)")
    connection.execute("VACUUM ANALYZE lsh")


def _binary_rows(bands_n_b: NDArray[np.uint64], first: int) -> bytes:
    """Two int8 fields a row, as COPY BINARY wants them."""
    count, width = bands_n_b.shape
    rows = np.empty(
        count * width,
        dtype=[("fields", ">i2"), ("size_h", ">i4"), ("h", ">i8"), ("size_t", ">i4"), ("t", ">i8")],
    )
    rows["fields"], rows["size_h"], rows["size_t"] = 2, 8, 8
    rows["h"] = bands_n_b.reshape(-1).view(np.int64)
    rows["t"] = np.repeat(np.arange(first, first + count), width)
    return rows.tobytes()


def probe_bands(connection: "psycopg.Connection[Any]", bands_n_b: NDArray[np.uint64]) -> float:
    """Look-ups (tasks) per second: probes from a temporary table in the order of the index."""
    started = time.perf_counter()
    with connection.transaction():
        connection.execute("CREATE TEMP TABLE probe (h int8, n int8) ON COMMIT DROP")
        with connection.cursor() as cursor, cursor.copy("COPY probe FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8) + _binary_rows(bands_n_b, 0) + b"\xff\xff")
        connection.execute("ANALYZE probe")
        connection.execute("SET LOCAL enable_hashjoin = off")
        connection.execute("SET LOCAL enable_mergejoin = off")
        connection.execute(_PROBE, [BUCKET]).fetchall()
    return len(bands_n_b) / (time.perf_counter() - started)


if __name__ == "__main__":  # datatrove FILE ROWS FOLDER: in a process of its own, because of the log that it writes
    _, _, given, wanted, scratch = sys.argv
    print(datatrove(prompts(Path(given), int(wanted)), Path(scratch) / "datatrove"))
