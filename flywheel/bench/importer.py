"""The importer as the ingest bench drives it: servers of its own, one process for every import, its memory watched.

What is imported is imported as a worker does it, by tasks.services in a process of its own; beside it runs nothing else
of the product, so that one stage is measured at a time. Needs Django to be set up (see `served`).
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil

MEGABYTE = 2**20
SAMPLE_SECONDS = 0.1
_WORK = "import sys, django; django.setup(); from tasks.services import {module}; {module}.{verb}(int(sys.argv[1]))"


@contextmanager
def served(folder: Path) -> Iterator[None]:
    """Postgres and the broker with an empty, migrated database; this process and its children are told where."""
    environment = {"DATA_DIR": str(folder / "data"), "DJANGO_SETTINGS_MODULE": "flywheel.settings"}
    os.environ.update(environment, LOG_LEVEL="ERROR")
    for name in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(name, None)
    command = [sys.executable, "-m", "flywheel.embedded", "services", "--owner", str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as servers:
        assert servers.stdout is not None
        try:
            for _ in ("DATABASE_URL", "REDIS_URL"):
                variable, _, address = servers.stdout.readline().rstrip("\n").partition("=")
                os.environ[variable] = address
            import django

            django.setup()
            _manage("migrate", "--noinput", "--verbosity", "0")
            yield
        finally:
            servers.terminate()


def _manage(*words: str) -> None:
    subprocess.run([sys.executable, "manage.py", *words], check=True)


@dataclass(frozen=True, slots=True)
class Done:
    upload: int
    rows: int
    seconds: float  # from its claim to its last commit
    megabytes: float  # largest share of memory of the process and its helpers

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


def dataset(name: str, grader: Any, items: Iterable[str] = ()) -> Any:
    """A private dataset in a space of its own, in which these prompts are held out."""
    from tasks.services import accounts, datasets, heldout
    from tasks.types import Message

    team = accounts.create_team(name, actor=None)
    if prompts := [(Message("user", item),) for item in items]:
        heldout.register(team, "0" * 64, "held out by the bench", prompts)
    return datasets.create(team, name, actor=None, default_grader=grader)


def receive(into: Any, path: Path) -> int:
    """The id of its upload."""
    from tasks.services import uploads

    with path.open("rb") as file:
        return int(uploads.receive(into, iter(lambda: file.read(MEGABYTE), b""), filename=path.name, actor=None)[0].pk)


def run_import(upload: int) -> Done:
    from tasks.models import Upload

    megabytes = _watched("importing", "import_upload", upload)
    done = Upload.objects.get(pk=upload)
    if done.state != "imported" or done.finished_at is None or done.started_at is None:
        raise SystemExit(f"The import of {done.filename} ended as {done.state}: {done.failure}")
    return Done(upload, done.line, (done.finished_at - done.started_at).total_seconds(), megabytes)


def run_proof(upload: int) -> Done:
    from tasks.models import ProofRun

    megabytes = _watched("proving", "prove_upload", upload)
    done = ProofRun.objects.get(upload=upload)
    if done.state != "done" or done.finished_at is None or done.started_at is None:
        raise SystemExit(f"The proof of upload {upload} ended as {done.state}: {' '.join(done.refusals)}")
    return Done(upload, done.counts["tasks"], (done.finished_at - done.started_at).total_seconds(), megabytes)


def _watched(module: str, verb: str, pk: int) -> float:
    """Do it in a process of its own; the most memory that it and its descendants held, in MB."""
    process = start(module, verb, pk)
    with watching(process.pid) as peak:
        code = process.wait()
    if code != 0:
        raise SystemExit(f"{module}.{verb} failed with exit code {code}.")
    return peak()


def start(module: str, verb: str, pk: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", _WORK.format(module=module, verb=verb), str(pk)])


@contextmanager
def watching(pid: int, megabytes: Callable[[int], float] | None = None) -> Iterator[Callable[[], float]]:
    """Samples a process and all below it; gives a function that tells the largest sum so far, in MB."""
    largest, over = [0.0], Event()
    measured = megabytes or tree_megabytes

    def sample() -> None:
        while not over.wait(SAMPLE_SECONDS):
            largest[0] = max(largest[0], measured(pid))

    thread = Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield lambda: largest[0]
    finally:
        over.set()
        thread.join()


def tree_megabytes(pid: int) -> float:
    """Proportional share, so that pages which forks have in common count once."""
    total = 0.0
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.Error, OSError):
                total += process.memory_full_info().pss / MEGABYTE
    return total


def largest_child_megabytes(pid: int) -> float:
    """Of a worker's processes the one that works hardest, with its helpers."""
    with suppress(psutil.Error):
        return max((tree_megabytes(child.pid) for child in psutil.Process(pid).children()), default=0.0)
    return 0.0


def seconds_to_first_issue(upload: int) -> float:
    """From the claim of an import until somebody else sees its first row issue; the import goes on to its end."""
    from django.utils import timezone

    from tasks.models import RowIssue, Upload

    process = start("importing", "import_upload", upload)
    while not RowIssue.objects.filter(upload=upload).exists():
        if process.poll() is not None:
            raise SystemExit("The import told nothing of its bad row.")
        time.sleep(0.01)
    seen = timezone.now()
    process.wait()
    started = Upload.objects.values_list("started_at", flat=True).get(pk=upload)
    assert started is not None
    return (seen - started).total_seconds()


# -- storage -----------------------------------------------------------------------------------------------------------

TABLES = ("tasks_task", "tasks_datasettask", "tasks_taskfinding", "tasks_proof")


def stored_bytes(*caches: Path) -> int:
    """Of the tasks, their memberships, findings and proofs with all indexes, and of files kept beside them."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM ANALYZE {', '.join(TABLES)}")
        cursor.execute(
            "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s::text[]) AS t (name)", [list(TABLES)]
        )
        size = int(cursor.fetchone()[0])
    files = [path for cache in caches if cache.exists() for path in cache.rglob("*") if path.is_file()]
    return size + sum(path.stat().st_blocks * 512 for path in files)  # blocks: a run has a hole where nothing stands


def task_count() -> int:
    from tasks.models import Task

    return int(Task.objects.count())
