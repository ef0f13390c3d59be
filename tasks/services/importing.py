"""From stored bytes to valid, unique, uncontaminated tasks: chunk by chunk, each a transaction with its resume offset.

Helper processes read, check and key the chunks ahead; this one looks up what is stored, decides, and writes. A kill at
any moment loses at most the chunk under way; the retry goes on behind the last one committed and gives the same rows.
Good rows never wait for bad ones.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from tasks.crash import crash_point
from tasks.crew import Crew
from tasks.dedup import wrappers
from tasks.formats import source
from tasks.formats.block import Block, Layout
from tasks.models import Dataset, ProofRun, RowIssue, Upload, Wrapper
from tasks.models.events import Subject, record
from tasks.preparation import Context, Prepared, approved, prepare
from tasks.services import heldout, leases, mapping, neighbours, openings, rekeying, storing, wrapping
from tasks.services.copying import copy_rows, lock_space
from tasks.services.storing import Merged
from tasks.services.uploads import stored_file
from tasks.services.wake import wake
from tasks.states import UploadState
from tasks.types import Issue

FIRST_ROWS = (500, 2000)  # of the first chunks: what is wrong with a file is seen at once
MOST_PROPOSALS = 20  # of wrappers, an upload
QUARANTINED = "Importing this file stopped its worker three times at the same place: report it, then try again."
MISSING = "The stored file is gone: upload it again."
_ISSUE_COLUMNS = ("line", "field", "code", "sentence", "remedy", "value")
_encode = msgspec.json.Encoder().encode


def import_upload(upload_id: int) -> None:
    """Import an upload, if nobody else does. Repeated or late calls change nothing."""
    for space in Upload.objects.filter(pk=upload_id).values_list("dataset__space", flat=True):
        rekeying.rekey(space)  # before the lease: it may take minutes
    attempt = leases.claim(Upload, upload_id, UploadState.RECEIVED, UploadState.IMPORTING)
    if attempt is None:
        _quarantine(upload_id)
        return
    crash_point("import.after_claim")
    try:
        _import(Upload.objects.get(pk=upload_id), attempt)
    except leases.FencedOff:
        return


def _quarantine(upload_id: int) -> None:
    poisoned = leases.poisoned(Upload, UploadState.RECEIVED, UploadState.IMPORTING)
    now = timezone.now()
    poisoned.advance(upload_id, UploadState.IMPORTING, UploadState.FAILED, failure=QUARANTINED, finished_at=now)


def _import(upload: Upload, attempt: int) -> None:
    try:
        if not upload.format and mapping.look(upload) is None:
            return  # it waits for somebody, or cannot be read
        with ExitStack() as stack:
            work = _Work(upload, attempt, stack)
            work.run()
    except FileNotFoundError:
        _fail(upload, attempt, MISSING)
        return
    _finish(upload, attempt, work.openings)


def chunk_rows(line: int) -> int:
    """Rows of the chunk that begins behind this line: a rule of the line alone, so that a retry cuts the same."""
    for rows in FIRST_ROWS:
        if line < rows:
            return min(rows, int(settings.IMPORT_CHUNK_ROWS))
    return int(settings.IMPORT_CHUNK_ROWS)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a chunk was prepared with, as far as it can change: looked at again under the space's lock."""

    dataset: Dataset
    grader: str | None  # digest of the dataset's default
    suites: int  # generation
    wrappers: tuple[str, ...]
    context: Context


class _Work:
    """One attempt at one import."""

    def __init__(self, upload: Upload, attempt: int, stack: ExitStack) -> None:
        self.upload, self.attempt, self._stack = upload, attempt, stack
        self.path = stored_file(upload)
        self.layout = msgspec.convert(upload.detected.get("layout", {"format": "jsonl"}), Layout)
        self.mapping = msgspec.json.encode(mapping.of(upload))
        self.waived = frozenset(upload.waived)
        self.openings = wrappers.Lines()
        self._under_way: deque[tuple[Block, _Asked]] = deque()

    def run(self) -> None:
        with self._alive():
            self.openings = self._begun()
        chunks = self._prepared()
        while (prepared := self._next(chunks)) is not None:
            block, asked = self._under_way.popleft()
            with self._alive():
                neighbours.caught_up(asked.dataset.space)  # what takes long, before others have to wait for us
            while not self._commit(prepared, asked):
                with self._alive():
                    rekeying.rekey(asked.dataset.space_id)
                asked = self._ask()  # its dataset has got another grader, its space another suite
                prepared = prepare(block, asked.context)
            openings.forget(self.upload.pk, but=prepared.line)
            crash_point("import.after_chunk")

    def _begun(self) -> wrappers.Lines:
        """Counts of the rows that earlier attempts have committed."""
        known = openings.read(self.upload.pk, self.upload.line)
        return self._counted_again() if known is None else known

    def _counted_again(self) -> wrappers.Lines:
        """Up to the resume offset, a chunk in memory at a time; nothing is written."""
        total, end, context = wrappers.Lines(), self.upload.line, self._ask().context
        blocks = source.blocks(self.path, self.layout, size=lambda line: max(1, min(chunk_rows(line), end - line)))
        for block in takewhile(lambda block: block.last <= end, blocks):
            total.merge(prepare(block, context).openings)
        return total

    def _next(self, chunks: Iterator[Prepared]) -> Prepared | None:
        """Gigabytes may lie before the next row: what a resumed archive has to be unpacked again, one endless line."""
        with self._alive():
            return next(chunks, None)

    def _alive(self) -> AbstractContextManager[None]:
        return leases.kept_alive(Upload, self.upload.pk, self.attempt, UploadState.IMPORTING)

    def _prepared(self) -> Iterator[Prepared]:
        """The first chunks here, so that their errors are seen while helpers are still starting."""
        blocks = source.blocks(
            self.path, self.layout, position=self.upload.offset, line=self.upload.line, size=chunk_rows
        )
        for block in blocks:
            yield prepare(*self._call(block))
            if settings.IMPORT_HELPERS and self.upload.bytes - block.read >= settings.IMPORT_ALONE_BYTES:
                break
        crew = None
        for block in blocks:
            if crew is None:
                crew = self._stack.enter_context(Crew(settings.IMPORT_HELPERS))
                yield from crew.map("tasks.preparation:prepare", map(self._call, _chained(block, blocks)))

    def _call(self, block: Block) -> tuple[Block, Context]:
        asked = self._ask()
        self._under_way.append((block, asked))
        return block, asked.context

    def _ask(self) -> _Asked:
        return _asked(self.upload.dataset_id, self.mapping, self.waived)

    def _commit(self, prepared: Prepared, asked: _Asked) -> bool:
        """False where the chunk was prepared with what no longer holds: nothing is written."""
        merged = self._merge(prepared, asked)
        if merged is not None and merged.added is not None:
            neighbours.extend(asked.dataset.space, merged.added)
        return merged is not None

    @transaction.atomic
    def _merge(self, prepared: Prepared, asked: _Asked) -> Merged | None:
        dataset = asked.dataset
        lock_space(dataset.space_id)  # before the upload's row, as everywhere
        grader = Dataset.objects.values_list("default_grader", flat=True).get(pk=dataset.pk)
        now = (grader, heldout.generation(dataset.space_id), wrapping.texts_of(dataset.space_id))
        if now != (asked.grader, asked.suites, asked.wrappers) or rekeying.is_behind(dataset.space_id):
            return None
        held: Upload = leases.hold(Upload, self.upload.pk, self.attempt, UploadState.IMPORTING)
        merged = storing.store(prepared, dataset, self.upload.pk, self.waived)
        issues = [*prepared.issues, *merged.issues]
        keep_issues(self.upload.pk, issues)
        counted = _counted(prepared, merged, issues)
        self.openings.merge(prepared.openings)
        openings.write(self.upload.pk, prepared.line, self.openings)
        crash_point("import.before_commit")
        leases.keep(
            Upload,
            self.upload.pk,
            self.attempt,
            UploadState.IMPORTING,
            offset=prepared.position,
            line=prepared.line,
            read_bytes=prepared.read,
            counts=add_counts(held.counts, counted),
        )
        _record(self.upload, "upload.chunk", {"attempt": self.attempt, "line": prepared.line, **counted})
        return merged


def context_of(dataset: Dataset, mapping: bytes) -> Context:
    """With what rows of the dataset are prepared now. `mapping`: a Mapping as JSON."""
    return _asked(dataset.pk, mapping, frozenset()).context


def _asked(dataset_id: int, mapping: bytes, waived: frozenset[str]) -> _Asked:
    dataset = Dataset.objects.select_related("default_grader", "space").get(pk=dataset_id)
    grader, space = dataset.default_grader, dataset.space
    own = wrapping.texts_of(space.pk)
    suites = heldout.index_file(space.pk, _cache("suites"))
    context = Context(
        domain=dataset.domain,
        default_grader=None if grader is None else _encode(grader.config),
        mapping=mapping,
        policy=_encode(space.screening),
        wrappers=own,
        suites="" if suites is None else str(suites),
        waived=waived,
        salt=space.split_salt,
        held_out=dataset.held_out,
    )
    generation = 0 if suites is None else int(suites.name.rsplit("-", 1)[1])
    return _Asked(dataset, None if grader is None else grader.digest, generation, own, context)


def _chained(first: Block, rest: Iterable[Block]) -> Iterator[Block]:
    yield first
    yield from rest


def _cache(name: str) -> Path:
    folder = Path(settings.DATA_DIR) / "cache" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _counted(prepared: Prepared, merged: Merged, issues: list[Issue]) -> dict[str, Any]:
    """A row with several issues is rejected once, under the first."""
    rejected: dict[int, str] = {}
    for found in issues:
        rejected.setdefault(found.line, found.code)
    return {
        "rows": len(prepared.lines) + len(rejected) - len(merged.issues),
        "valid": merged.states["valid"],
        "needs_grader": merged.states["needs_grader"],
        "conflicts": merged.states["conflict"],
        "duplicates": merged.duplicates,
        "rejected": dict(Counter(rejected.values())),
        "found": {kind: count for kind, count in merged.found.items() if count},
    }


def add_counts(before: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Sums of counts, also inside `rejected`."""
    total = dict(before)
    for name, count in more.items():
        total[name] = add_counts(total.get(name, {}), count) if isinstance(count, dict) else total.get(name, 0) + count
    return total


def keep_issues(upload_id: int, issues: list[Issue]) -> None:
    if issues:
        columns: list[Any] = [RowIssue._meta.get_field(name) for name in _ISSUE_COLUMNS]
        limits = [column.max_length for column in columns]
        copy_rows(
            "tasks_rowissue",
            ("upload_id", "evidence", *_ISSUE_COLUMNS),
            ([upload_id, _evidence(found), *_cut(found, limits)] for found in issues),
        )


def _evidence(found: Issue) -> str | None:
    return None if found.evidence is None else _encode(found.evidence).decode()


def _cut(found: Issue, limits: list[int | None]) -> Iterator[Any]:
    for name, limit in zip(_ISSUE_COLUMNS, limits, strict=True):
        value = getattr(found, name)
        yield value if limit is None else value[:limit]


@transaction.atomic
def _finish(upload: Upload, attempt: int, counted: wrappers.Lines) -> None:
    crash_point("import.before_finish")
    if not Upload.objects.advance(
        upload.pk, UploadState.IMPORTING, UploadState.IMPORTED, attempt=attempt, finished_at=timezone.now()
    ):
        raise leases.FencedOff
    _propose_wrappers(upload, counted)
    transaction.on_commit(partial(openings.forget, upload.pk), robust=True)
    ProofRun.objects.get_or_create(upload=upload)
    wake("settle_upload", upload.pk)
    wake("prove_upload", upload.pk)


def _propose_wrappers(upload: Upload, counted: wrappers.Lines) -> None:
    """What many rows begin or end with is for the space's reviewers to look at; nothing is taken off before."""
    space = upload.dataset.space_id
    for proposal in wrappers.propose(counted, approved(wrapping.texts_of(space)))[:MOST_PROPOSALS]:
        text = f"{proposal.place} {proposal.text}"[:300]
        about = {"rows": proposal.count, "upload": upload, "example": f"line {proposal.line}"}
        Wrapper.objects.get_or_create(space_id=space, text=text, defaults=about)


@transaction.atomic
def _fail(upload: Upload, attempt: int, sentence: str, fault: Issue | None = None) -> None:
    if not Upload.objects.advance(
        upload.pk,
        UploadState.IMPORTING,
        UploadState.FAILED,
        attempt=attempt,
        failure=sentence[:500],
        finished_at=timezone.now(),
    ):
        raise leases.FencedOff
    if fault is not None:
        RowIssue.objects.filter(upload=upload, line=0).delete()
        keep_issues(upload.pk, [fault])


def _record(upload: Upload, kind: str, data: dict[str, Any]) -> None:
    record(kind, subject=Subject("upload", str(upload.pk)), team=upload.team_id, data=data)
