"""make bench-ingest: rows from a file to valid, proved, unique, uncontaminated tasks, beside what others do.

    python -m flywheel.bench.ingest [speed] [quality] [scale] [peers] [portal]     all of them where none is named

speed and quality import into a Postgres of their own with a million tasks stored; scale looks up alone, in ten million
synthetic bands; peers de-duplicates the same rows with other tools; portal imports a million rows while pages are read.
FAST=1: the same measures on a hundredth of the rows; portal only where it is named, because a whole stack has to start.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flywheel.bench import importer, peers, quality, rows
from flywheel.bench.importer import Done
from flywheel.bench.quality import Seen
from flywheel.bench.questions import TEXT
from flywheel.bench.rows import Corpus
from flywheel.bench.table import FAST, Measure, at_least, at_most, report, told

if TYPE_CHECKING:
    from tasks.dedup.bands import BandIndex

STORED = 10_000 if FAST else 1_000_000
FEWER = STORED // 10
MEASURED = 4_000 if FAST else 100_000
PLANTED = 0.3  # share of the measured rows
ITEMS = 400 if FAST else 2_000  # held out
PEER_ROWS = 2_000 if FAST else 20_000
BANDS_STORED = (20_000, 200_000) if FAST else (1_000_000, 10_000_000)
PROBED = 20_000  # rows of a chunk
WARM_UP = 3  # look-ups before those that count
IMPORT_PEERS = "Label Studio and doccano import 2,200 to 4,800 rows/s without any de-duplication"


@dataclass(frozen=True, slots=True)
class Space:
    """A space with rows stored, and what came of the measured ones in it."""

    corpus: Corpus  # the measured rows
    dataset: Any
    stored: Done
    measured: Done
    storage: float  # bytes a task, of all spaces together, before any proof


class Bench:
    """What the measures share; made when the first of them asks."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack

    @cached_property
    def served(self) -> bool:
        self._stack.enter_context(importer.served(self.folder))
        return True

    @cached_property
    def small(self) -> Space:
        return self._space("small", FEWER)

    @cached_property
    def large(self) -> Space:
        return self._space("large", STORED)

    @cached_property
    def file(self) -> Path:
        """The measured rows, among those stored in the large space."""
        path = self.folder / "measured.jsonl"
        rows.write(self.measured_among(STORED), path)
        return path

    def measured_among(self, stored: int) -> Corpus:
        return Corpus(2, MEASURED, planted=PLANTED, elders=Corpus(1, stored), held_out=ITEMS)

    def _space(self, name: str, stored: int) -> Space:
        _say(f"{name}: {stored:,} rows stored, {MEASURED:,} measured ...")
        assert self.served
        dataset = importer.dataset(name, TEXT, (rows.held_out(item).prompt for item in range(ITEMS)))
        before = self._written(f"{name}-stored", Corpus(1, stored))
        corpus = self.measured_among(stored)
        path = self.file if stored == STORED else self._written(f"{name}-measured", corpus)
        kept = importer.run_import(importer.receive(dataset, before))
        measured = importer.run_import(importer.receive(dataset, path))
        storage = importer.stored_bytes(*_caches()) / importer.task_count()
        return Space(corpus, dataset, kept, measured, storage)

    def _written(self, name: str, corpus: Corpus) -> Path:
        path = self.folder / f"{name}.jsonl"
        rows.write(corpus, path)
        return path


def _caches() -> list[Path]:
    """What the importer keeps on disk beside the database."""
    from django.conf import settings

    return [Path(settings.DATA_DIR) / "cache"]


# -- speed -------------------------------------------------------------------------------------------------------------


def speed(bench: Bench) -> list[Measure]:
    small, large = bench.small, bench.large
    proof = importer.run_proof(large.measured.upload)
    grown = importer.stored_bytes(*_caches()) - large.storage * importer.task_count()
    beside = f"{STORED:,} tasks stored"
    return [
        at_least(f"rows/s to valid, {beside}", large.measured.rate, "rows/s", 20_000, IMPORT_PEERS),
        told(f"rows/s to valid, {STORED:,} clean rows into an empty space", large.stored.rate, "rows/s", IMPORT_PEERS),
        at_most(
            f"cost of a row: {beside}, against {FEWER:,}",
            small.measured.rate / large.measured.rate,
            "×",
            2,
        ),
        at_least(f"rows/s of proof (string, number, choice), {beside}", proof.rate, "rows/s", 5_000),
        at_most(
            "memory of the importing process and its helpers (largest)",
            max(done.megabytes for done in (small.stored, small.measured, large.stored, large.measured)),
            "MB",
            512,
        ),
        told("memory of the proving process and its helpers (largest)", proof.megabytes, "MB"),
        at_most("storage a task, valid", large.storage / 1000, "kB", 1.3),
        told("storage that proof adds a task", grown / 1000 / proof.rows, "kB"),
        _first_error(bench),
    ]


def _first_error(bench: Bench) -> Measure:
    """Of a file as long as the measured one, whose third row is no JSON."""
    path = bench.folder / "broken.jsonl"
    with bench.file.open("rb") as good, path.open("wb") as file:
        file.writelines(islice(good, 2))
        file.write(b'{"prompt": "What is missing here?",\n')
        file.writelines(good)
    seconds = importer.seconds_to_first_issue(importer.receive(bench.large.dataset, path))
    return at_most(f"first row error visible, third of {MEASURED:,} rows", seconds, "s", 2)


# -- quality -----------------------------------------------------------------------------------------------------------


def judged(bench: Bench) -> list[Measure]:
    large = bench.large
    return quality.measures(large.corpus, quality.cases(large.corpus, _seen(large)))


_MEMBERSHIPS = "SELECT line, task_id, duplicate FROM tasks_datasettask WHERE upload_id = %s"
_CONFLICTS = """
SELECT m.line FROM tasks_datasettask m JOIN tasks_task t ON t.id = m.task_id
 WHERE m.upload_id = %s AND t.reason_code = 'conflict'
"""
_FINDINGS = """
SELECT m.line, f.kind, f.other FROM tasks_datasettask m JOIN tasks_taskfinding f ON f.task_id = m.task_id
 WHERE m.upload_id = %s AND NOT m.duplicate
"""
_REFUSED = "SELECT line FROM tasks_rowissue WHERE upload_id = %s AND code = 'contaminated'"
_PLACES = "SELECT task_id, upload_id, line FROM tasks_datasettask WHERE task_id = ANY(%s) AND NOT duplicate"


def _seen(space: Space) -> dict[int, Seen]:
    """What the database says of the measured rows, by row."""
    upload = space.measured.upload
    found = _ask(_FINDINGS, upload)
    seen: dict[int, Seen] = {}

    def of(line: int) -> Seen:
        return seen.setdefault(line - 1, Seen())

    for line, _, duplicate in _ask(_MEMBERSHIPS, upload):
        of(line).duplicate = duplicate
    for (line,) in _ask(_CONFLICTS, upload):
        of(line).conflict = True
    for (line,) in _ask(_REFUSED, upload):
        of(line).contaminated = True
    first = {space.stored.upload: 0, upload: space.corpus.before}
    others = sorted({other for _, _, other in found if other is not None})
    places = {task: first[source] + line - 1 for task, source, line in _ask(_PLACES, others)}
    for line, kind, other in found:
        if kind == "near_duplicate":
            of(line).near.add(places[other])
        elif kind == "suspect":
            of(line).suspect.add(places[other])
        elif kind == "overlap":
            of(line).review = True
    return seen


def _ask(statement: str, value: Any) -> list[tuple[Any, ...]]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement, [value])
        return list(cursor.fetchall())


# -- scale -------------------------------------------------------------------------------------------------------------


def scale(bench: Bench) -> list[Measure]:
    """The look-up alone: chunks of rows of which one in ten is a copy, in synthetic bands of as many tasks."""
    from tasks.dedup.bands import BandIndex

    fewer, more = BANDS_STORED
    draw = np.random.default_rng(1)
    index, stored = BandIndex(bench.folder / "scale"), 0
    seconds = []
    for size in (fewer, more):
        _say(f"scale: {size:,} tasks in the index ...")
        stored = _fill(index, stored, size)
        passes = [_look_up(index, _probes(draw, size)) for _ in range(WARM_UP + 9)]
        seconds.append(median(passes[WARM_UP:]))
    peer = _beside_postgres(bench, fewer, draw)
    name = "Postgres: table of bands with a covering index"
    return [
        told(f"look-up alone, {fewer:,} tasks", PROBED / seconds[0], "rows/s", name),
        told(f"look-up alone, {more:,} tasks", PROBED / seconds[1], "rows/s"),
        told(f"look-up alone: cost at {more:,} against {fewer:,}", seconds[1] / seconds[0], "×"),
        *_whole_cost(bench, (seconds[1] - seconds[0]) / PROBED),
        told(f"{name}, {fewer:,} tasks", peer, "rows/s"),
        told("look-up alone: ratio", PROBED / seconds[0] / peer, "×", name),
    ]


def _whole_cost(bench: Bench, more_seconds: float) -> list[Measure]:
    """Only the look-up grows with what is stored: its difference on top of what a row has cost, where that is known."""
    if "large" not in vars(bench):
        return []
    row = 1 / bench.large.measured.rate
    fewer, more = BANDS_STORED
    name = f"cost of a row at {more:,} against {fewer:,}: its import, with the look-up's difference"
    return [at_most(name, (row + more_seconds) / row, "×", 2)]


def _signatures(first: int, count: int) -> NDArray[np.uint64]:
    """Of the tasks from `first` on: any of them can be made anew."""
    from tasks.dedup.signature import WORDS

    return np.random.default_rng([2, first]).integers(0, 2**64, size=(count, WORDS), dtype=np.uint64)


def _fill(index: "BandIndex", stored: int, size: int) -> int:
    for first in range(stored, size, PROBED):
        ids = np.arange(first + 1, first + PROBED + 1)
        index.extend(ids, _signatures(first, PROBED), after=first)
    return size


def _probes(draw: np.random.Generator, size: int) -> NDArray[np.uint64]:
    """One row in ten shares half of its bands and its sketch with a stored task."""
    from tasks.dedup.signature import BANDS

    first = int(draw.integers(0, size // PROBED)) * PROBED
    stored = _signatures(first, PROBED)
    probes = draw.integers(0, 2**64, size=stored.shape, dtype=np.uint64)
    probes[::10, :BANDS:2] = stored[::10, :BANDS:2]
    probes[::10, BANDS:] = stored[::10, BANDS:]
    return probes


def _look_up(index: "BandIndex", probes: NDArray[np.uint64]) -> float:
    from tasks.dedup.bands import older

    started = time.perf_counter()
    found = older(index, probes, np.ones(len(probes), dtype=np.bool_))
    seconds = time.perf_counter() - started
    if len(found.rows) < len(probes) // 10:
        raise SystemExit("The index does not find what it was given.")
    return seconds


def _beside_postgres(bench: Bench, size: int, draw: np.random.Generator) -> float:
    import psycopg

    from tasks.dedup.signature import BANDS

    assert bench.served
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        peers.fill_bands(connection, (_signatures(first, PROBED)[:, :BANDS] for first in range(0, size, PROBED)))
        figures = [peers.probe_bands(connection, _probes(draw, size)[:, :BANDS]) for _ in range(3)]
        connection.execute("DROP TABLE lsh")
    return median(figures)


# -- peers -------------------------------------------------------------------------------------------------------------


def beside(bench: Bench) -> list[Measure]:
    """De-duplication alone by the others, on the measured rows."""
    _say(f"peers: {PEER_ROWS:,} rows ...")
    texts = peers.prompts(bench.file, PEER_ROWS)
    ours = peers.ours(texts)
    figures = {
        "datasketch MinHash LSH, 128 permutations, de-duplication alone": peers.datasketch(texts, 128),
        "datasketch MinHash LSH, 40 permutations, de-duplication alone": peers.datasketch(texts, 40),
        "datatrove MinHash, two processes, de-duplication alone": _in_a_process(bench, "datatrove"),
    }
    measured = [told(f"{name}, {PEER_ROWS:,} rows", figure, "rows/s") for name, figure in figures.items()]
    alone = "de-duplication alone: normalise, keys, bands, look-up, one process"
    return [
        told(alone, ours, "rows/s", next(iter(figures))),
        *measured,
        *(told(f"{alone}: ratio", ours / figure, "×", name) for name, figure in figures.items()),
    ]


def _in_a_process(bench: Bench, peer: str) -> float:
    """For what writes a long log of its own."""
    command = [sys.executable, "-m", "flywheel.bench.peers", peer, str(bench.file), str(PEER_ROWS), str(bench.folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{peer} failed: {done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


# -- portal ------------------------------------------------------------------------------------------------------------


def portal(bench: Bench) -> list[Measure]:
    """In a whole stack of its own: see flywheel.bench.portal."""
    _say(f"portal: importing {STORED:,} rows while pages are read ...")
    output = bench.folder / "portal.json"
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    environment |= {"DATA_DIR": str(bench.folder / "stack"), "LOG_LEVEL": "ERROR"}
    command = [sys.executable, "-m", "flywheel.embedded", "run", "--fresh", "--", sys.executable, "-m"]
    command += ["flywheel.bench.portal", str(STORED), str(output)]
    subprocess.run(command, env=environment, check=True)
    return [Measure(**one) for one in json.loads(output.read_text())]


BENCHES = {"speed": speed, "quality": judged, "scale": scale, "peers": beside, "portal": portal}
DEFAULT = [name for name in BENCHES if not FAST or name != "portal"]


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def run(names: Iterable[str]) -> Iterator[Measure]:
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as folder, ExitStack() as stack:
        bench = Bench(Path(folder), stack)
        for name in names:
            yield from BENCHES[name](bench)


def main(arguments: Sequence[str]) -> None:
    if unknown := set(arguments) - set(BENCHES):
        raise SystemExit(f"There is no {', '.join(sorted(unknown))}: choose of {', '.join(BENCHES)}.")
    report("ingest", list(run(arguments or DEFAULT)))


if __name__ == "__main__":
    main(sys.argv[1:])
