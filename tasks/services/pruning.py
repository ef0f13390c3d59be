"""Nothing grows for ever: what may go, when, and how it goes. Here what the data side keeps; trainer.services.pruning
has the rest; `manage.py prune` and a daily job carry both out.

Never in a rule: events, tasks, versions, and whatever an alias, a version or a mixture refers to. What killed uploads
left over, pieces that nobody goes on with, and remembered replies go within seconds of their time (services.sweeping).

Every chunk leaves one event. Rows go in the event's transaction. Files go behind it, while what guards them is held: a
kill in between leaves files, of which the next run writes an event again; no file goes without one.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.db.models import Count, Exists, OuterRef, Q
from django.utils import timezone

from tasks.crash import crash_point
from tasks.errors import Conflict
from tasks.models import Appeal, File, ProofFinding, RowIssue, Sample, Team, Upload
from tasks.models.events import Subject, record
from tasks.services import parts, resumable, storage, uploads
from tasks.states import AppealState, ProofState

logger = logging.getLogger(__name__)
T = TypeVar("T")
ROWS_AT_ONCE = 10_000
FILES_AT_ONCE = 100
INCOMING_DAYS = 1  # the sweep removes such files within minutes: what it has not is behind a fault, or nobody sweeps
_PRUNE_LOCK = 0x7072756E


@dataclass(frozen=True, slots=True)
class Chunk:
    """What goes at once."""

    count: int
    bytes: int
    remove: Callable[[], None]  # and leave its event


@dataclass(frozen=True, slots=True)
class Rule:
    """`chunks` yields what is older than the moment that it is given."""

    kind: str
    days: int  # 0: kept for ever
    chunks: Callable[[datetime], Iterable[Chunk]]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went of a kind, or would go."""

    kind: str
    days: int
    count: int = 0
    bytes: int = 0
    failure: str = ""  # one sentence, where the rest of the kind stayed because of a fault


def prune(rules: Sequence[Rule], *, dry_run: bool = False) -> list[Pruned]:
    """Carry the rules out, one run at a time. A fault of one kind does not hold up the others."""
    if dry_run:
        return [_carry_out(rule, dry_run) for rule in rules]
    with _alone():
        return [_carry_out(rule, dry_run) for rule in rules]


def prune_by_the_clock(rules: Sequence[Rule]) -> None:
    """The daily job's. Another run that is under way does its work too."""
    with suppress(Conflict):
        prune(rules)


def _carry_out(rule: Rule, dry_run: bool) -> Pruned:
    count = size = 0
    if not rule.days:
        return Pruned(rule.kind, rule.days)
    try:
        for chunk in rule.chunks(timezone.now() - timedelta(days=rule.days)):
            if not dry_run:
                chunk.remove()
                crash_point("prune.after_chunk")
            count, size = count + chunk.count, size + chunk.bytes
    except OSError as fault:
        logger.exception("pruning of %s stopped; the next run goes on", rule.kind)
        return Pruned(rule.kind, rule.days, count, size, f"{fault.filename or rule.kind}: {fault.strerror}.")
    return Pruned(rule.kind, rule.days, count, size)


@contextmanager
def _alone() -> Iterator[None]:
    """A session lock: freed with the connection, so that a killed run cannot keep it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_PRUNE_LOCK])
        if not cursor.fetchone()[0]:
            raise Conflict("pruning", "Another run of prune is under way: wait until it has ended.")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_PRUNE_LOCK])


def rules() -> list[Rule]:
    """Of the data side."""
    return [
        Rule("incoming", INCOMING_DAYS, _incoming),
        Rule("upload_files", settings.PRUNE_FILES_DAYS, _upload_files),
        Rule("row_issues", settings.PRUNE_ISSUES_DAYS, _row_issues),
        Rule("proof_findings", settings.PRUNE_FINDINGS_DAYS, _proof_findings),
        Rule("samples", settings.PRUNE_SAMPLES_DAYS, _samples),
        Rule("logins", settings.PRUNE_LOGINS_DAYS, _logins),
        Rule("caches", settings.PRUNE_CACHE_DAYS, _caches),
        Rule("benches", settings.PRUNE_CACHE_DAYS, _benches),
        Rule("logs", settings.PRUNE_LOGS_DAYS, _logs),
    ]


# What rules are made of


def tell(kind: str, data: Mapping[str, Any], *, team: int | None = None) -> None:
    record(f"prune.{kind}", subject=Subject("prune", kind), team=team, data=data)


def in_rows(kind: str, rows: Any, *, team: int | None = None, data: Mapping[str, Any] | None = None) -> Iterator[Chunk]:
    """Rows by ascending key."""
    pks: list[Any] = []
    while pks := list(
        (rows.filter(pk__gt=pks[-1]) if pks else rows).order_by("pk").values_list("pk", flat=True)[:ROWS_AT_ONCE]
    ):
        yield Chunk(len(pks), row_bytes(rows.model, pks), partial(_delete_rows, kind, rows, pks, team, data or {}))


def row_bytes(model: Any, pks: Sequence[Any]) -> int:
    """About: what the rows take without their index entries."""
    table, key = (connection.ops.quote_name(name) for name in (model._meta.db_table, model._meta.pk.column))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT coalesce(sum(pg_column_size(t.*)), 0) FROM {table} t WHERE {key} = ANY(%s)",  # noqa: S608
            [list(pks)],
        )
        return int(cursor.fetchone()[0])


@transaction.atomic
def _delete_rows(kind: str, rows: Any, pks: Sequence[Any], team: int | None, data: Mapping[str, Any]) -> None:
    """Those that are still old: somebody may have used one since they were looked up."""
    _, deleted = rows.filter(pk__in=pks).order_by().delete()
    if count := deleted.get(rows.model._meta.label, 0):
        tell(kind, {"rows": str(rows.model._meta.verbose_name_plural), "count": count, **data}, team=team)


def batches(found: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(found)
    while batch := list(islice(remaining, FILES_AT_ONCE)):
        yield batch


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files under a folder; of what is gone by now: none."""
    if path.is_dir() and not path.is_symlink():
        return sum(size_of(each) for each in path.iterdir())
    with suppress(FileNotFoundError):
        return path.lstat().st_size
    return 0


def last_use(path: Path) -> datetime:
    """Of a file, or of anything under a folder: written, or read (where the file system keeps note of that)."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return timezone.now()
    used = max(found.st_mtime, found.st_atime if path.is_file() else 0.0)
    moment = datetime.fromtimestamp(used, tz=timezone.get_default_timezone())
    return max([moment, *map(last_use, path.iterdir())]) if path.is_dir() and not path.is_symlink() else moment


def remove(path: Path) -> None:
    """A file, or a folder with all that is in it. Half-way through, the next run goes on."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# Files on their way


def _incoming(before: datetime) -> Iterator[Chunk]:
    """What uploads that were killed or given up have left: no request writes to it, or can go on with it."""
    left = (path for path in sorted(storage.incoming().iterdir()) if _is_old(path, before) and _is_left(path))
    for paths in batches(left):
        yield Chunk(len(paths), sum(map(size_of, paths)), partial(_drop_incoming, paths, before))


def _is_left(path: Path) -> bool:
    with suppress(FileNotFoundError), path.open("rb") as file:
        if storage.has_a_writer(file) or (path.suffix == ".piece" and parts.is_needed(path)):
            return False
        return path.suffix != ".tus" or resumable.is_over(path)
    return False


def _drop_incoming(paths: Sequence[Path], before: datetime) -> None:
    """As the sweep does it: under the file's lock, with the stored file to which no row came."""
    tell("incoming", {"names": [path.name for path in paths], "bytes": sum(map(size_of, paths))})
    crash_point("prune.before_files")
    idle = (timezone.now() - before).total_seconds()
    reapers: Mapping[str, Any] = {".tus": resumable, ".piece": parts}
    for path in paths:
        reapers.get(path.suffix, uploads).reap_one(path, idle)


# Stored files of uploads


def _upload_files(before: datetime) -> Iterator[Chunk]:
    for team in Team.objects.order_by("pk").values_list("pk", flat=True):
        old = (sha256 for sha256 in _unneeded(team, before) if _is_old(_stored(team, sha256), before))
        for sha256s in batches(old):
            size = sum(size_of(_stored(team, sha256)) for sha256 in sha256s)
            yield Chunk(len(sha256s), size, partial(_drop_files, team, sha256s, before))


def _unneeded(team: int, before: datetime) -> Any:
    """Hashes of a team's files whose every import has ended by then, with no question about their rows open; but for
    those that are kept until somebody deletes them."""
    ended = Q(state__in=storage.ENDED, finished_at__lt=before)
    asked = Exists(Appeal.objects.filter(upload=OuterRef("pk"), state=AppealState.OPEN))
    own = Upload.objects.filter(team=team).order_by("sha256")
    needed = own.filter(~ended | asked).values("sha256")
    kept = File.objects.filter(team=team, kept=True, cleared_at=None).values("sha256")
    unneeded = own.filter(ended).exclude(sha256__in=needed).exclude(sha256__in=kept)
    return unneeded.values_list("sha256", flat=True).distinct()


def _stored(team: int, sha256: str) -> Path:
    return storage.stored_file(Upload(team_id=team, sha256=sha256))


def _is_old(path: Path, before: datetime) -> bool:
    """False where it is gone already, or came back: the same bytes were uploaded once more."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime < before.timestamp()
    return False


def _drop_files(team: int, sha256s: Sequence[str], before: datetime) -> None:
    with _locked(sha256s):
        still = _unneeded(team, before).filter(sha256__in=sha256s)
        paths = [path for sha256 in still if _is_old(path := _stored(team, sha256), before)]
        if not paths:
            return
        size = sum(map(size_of, paths))
        tell("upload_files", {"sha256": [path.name for path in paths], "bytes": size}, team=team)
        crash_point("prune.before_files")
        for path in paths:
            path.unlink(missing_ok=True)


@contextmanager
def _locked(sha256s: Sequence[str]) -> Iterator[None]:
    """Nobody stores, or reaps, a file with one of these hashes meanwhile."""
    numbers = sorted({int(sha256[:7], 16) for sha256 in sha256s})
    with connection.cursor() as cursor:
        for number in numbers:
            cursor.execute("SELECT pg_advisory_lock(%s, %s)", [storage.FILE_LOCK, number])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            for number in numbers:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [storage.FILE_LOCK, number])


# Rows


def _row_issues(before: datetime) -> Iterator[Chunk]:
    """Of every code the first rows stay: they say what was wrong. How many there were is in the upload's counts. While
    the file is kept, all of them are: its rejected rows can be downloaded."""
    old = Upload.objects.filter(state__in=storage.ENDED, finished_at__lt=before)
    old = old.exclude(Exists(Appeal.objects.filter(upload=OuterRef("pk"), state=AppealState.OPEN)))
    by_code = RowIssue.objects.filter(upload__in=old).order_by().values_list("upload_id", "code", "upload__team_id")
    crowded = by_code.annotate(rows=Count("pk")).filter(rows__gt=settings.PRUNE_ISSUES_KEPT)
    for upload, code, team, _ in crowded.order_by("upload_id", "code"):
        if storage.stored_file(Upload.objects.get(pk=upload)).exists():
            continue
        beyond = _beyond(RowIssue.objects.filter(upload=upload, code=code), settings.PRUNE_ISSUES_KEPT)
        yield from in_rows("row_issues", beyond, team=team, data={"upload": upload, "code": code})


def _beyond(issues: Any, kept: int) -> Any:
    if not kept:
        return issues
    line, pk = issues.order_by("line", "pk").values_list("line", "pk")[kept - 1]
    return issues.filter(Q(line__gt=line) | Q(line=line, pk__gt=pk))


def _proof_findings(before: datetime) -> Iterator[Chunk]:
    """Which rows stand in which cell of a matrix; its counts stay."""
    under_way = (ProofState.PENDING, ProofState.PROVING)
    found = ProofFinding.objects.filter(upload__proof__finished_at__lt=before)
    return in_rows("proof_findings", found.exclude(upload__proof__state__in=under_way))


def _samples(before: datetime) -> Iterator[Chunk]:
    """Collected and never sent, or sent long ago: then it says only with which upload."""
    return in_rows("samples", Sample.objects.filter(created_at__lt=before))


def _logins(before: datetime) -> Iterator[Chunk]:
    yield from in_rows("logins", Session.objects.filter(expire_date__lt=before))
    for model in (AccessLog, AccessFailureLog, AccessAttempt):
        yield from in_rows("logins", model.objects.filter(attempt_time__lt=before))


# What can be made again


def _caches(before: datetime) -> Iterator[Chunk]:
    """Files under DATA_DIR/cache that were not used since. Those of a folder with a lock belong together, and go while
    it is held; the folder and its lock stay, for whoever has them open."""
    for folder, _, names in os.walk(Path(settings.DATA_DIR) / "cache"):
        paths = [Path(folder, name) for name in sorted(names) if name != "lock"]
        idle = [path for path in paths if last_use(path) < before]
        if "lock" in names and len(idle) < len(paths):
            continue
        for batch in batches(idle):
            lock = Path(folder, "lock") if "lock" in names else None
            yield Chunk(len(batch), sum(map(size_of, batch)), partial(_drop_cached, batch, lock))


def _drop_cached(paths: Sequence[Path], lock: Path | None) -> None:
    if lock is None:
        _drop("caches", paths)
        return
    with _free(lock) as free:
        if free:
            _drop("caches", paths)


@contextmanager
def _free(path: Path) -> Iterator[bool]:
    """Whether nobody holds the file's lock, which is ours then. A file that is not there is free."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield True
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _benches(before: datetime) -> Iterator[Chunk]:
    """What `make bench-…` left beside the code."""
    folder = settings.BASE_DIR / "var" / "bench"
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in found:
        if last_use(path) < before:
            yield Chunk(1, size_of(path), partial(_drop, "benches", [path]))


def _drop(kind: str, paths: Sequence[Path]) -> None:
    tell(kind, {"names": [path.name for path in paths], "bytes": sum(map(size_of, paths))})
    for path in paths:
        remove(path)


# Logs of the embedded stack


def _logs(before: datetime) -> Iterator[Chunk]:
    """So many days after the last time, what a log holds takes the place of what it held the time before."""
    folder = Path(settings.DATA_DIR) / "logs"
    for path in sorted(folder.glob("*.log")):
        past = _past(path)
        if not past.exists() or _is_old(past, before):
            yield Chunk(int(past.exists()), size_of(past), partial(_turn_over, path))


def _past(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")


def _turn_over(log: Path) -> None:
    """In place: its process goes on appending to the same file, and loses what it writes at that very moment."""
    past = _past(log)
    if not past.exists():
        past.touch()  # the days begin
        return
    tell("logs", {"names": [past.name], "bytes": size_of(past)})
    draft = past.with_suffix(".new")
    shutil.copyfile(log, draft)
    draft.replace(past)
    os.truncate(log, 0)
