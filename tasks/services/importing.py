"""From stored bytes to valid, unique, uncontaminated tasks: chunk by chunk, each a transaction with its resume offset.

A kill at any moment loses at most the chunk under way; the retry goes on behind the last one committed and gives the
same rows. Good rows never wait for bad ones.
"""

from collections import Counter
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from tasks.crash import crash_point
from tasks.formats import jsonl
from tasks.graders import judges
from tasks.models import Dataset, ProofRun, RowIssue, Upload
from tasks.models.events import Subject, record
from tasks.services import leases
from tasks.services.copying import copy_rows, lock_space
from tasks.services.merging import Merged, merge
from tasks.services.preparing import Chunk, chunks, prepare
from tasks.services.uploads import stored_file
from tasks.services.wake import wake
from tasks.states import UploadState
from tasks.types import Issue

QUARANTINED = "Importing this file stopped its worker three times at the same place: report it, then try again."
MISSING = "The stored file is gone: upload it again."
_ISSUE_COLUMNS = ("line", "field", "code", "sentence", "remedy", "value")


def import_upload(upload_id: int) -> None:
    """Import an upload, if nobody else does. Repeated or late calls change nothing."""
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
        file = stored_file(upload).open("rb")
    except FileNotFoundError:
        _fail(upload, attempt, MISSING)
        return
    with file:
        lines = jsonl.read(file, offset=upload.offset, line=upload.line)
        for stretch in chunks(lines, settings.IMPORT_CHUNK_ROWS):
            if (fault := stretch[0].issue) is not None and stretch[0].number == 0:
                _fail(upload, attempt, f"{fault.sentence} {fault.remedy}", fault)
                return
            while not _commit(upload, attempt, *_prepared(stretch, upload)):
                pass  # its dataset has got another grader in the meantime
            crash_point("import.after_chunk")
    _finish(upload, attempt)


def _prepared(stretch: list[jsonl.Line], upload: Upload) -> tuple[Chunk, Dataset]:
    dataset = Dataset.objects.select_related("default_grader", "space").get(pk=upload.dataset_id)
    with judges.for_team(dataset.space_id):
        return prepare(stretch, dataset), dataset


@transaction.atomic
def _commit(upload: Upload, attempt: int, chunk: Chunk, dataset: Dataset) -> bool:
    """False where the dataset's grader is no longer the one that the chunk was prepared with: nothing is written."""
    lock_space(dataset.space_id)  # before the upload's row, as everywhere
    if Dataset.objects.values_list("default_grader", flat=True).get(pk=dataset.pk) != dataset.default_grader_id:
        return False
    held: Upload = leases.hold(Upload, upload.pk, attempt, UploadState.IMPORTING)
    merged = merge(chunk, dataset, upload.pk)
    issues = [*chunk.issues, *merged.issues]
    keep_issues(upload.pk, issues)
    counted = _counted(chunk, merged, issues)
    crash_point("import.before_commit")
    leases.keep(
        Upload,
        upload.pk,
        attempt,
        UploadState.IMPORTING,
        offset=chunk.offset,
        line=chunk.line,
        counts=add_counts(held.counts, counted),
    )
    _record(upload, "upload.chunk", {"attempt": attempt, "line": chunk.line, **counted})
    return True


def _counted(chunk: Chunk, merged: Merged, issues: list[Issue]) -> dict[str, Any]:
    """A row with several issues is rejected once, under the first."""
    rejected: dict[int, str] = {}
    for found in issues:
        rejected.setdefault(found.line, found.code)
    return {
        "rows": len(chunk.rows) + len(rejected) - len(merged.issues),
        "valid": merged.states["valid"],
        "needs_grader": merged.states["needs_grader"],
        "conflicts": merged.states["conflict"],
        "duplicates": merged.duplicates,
        "rejected": dict(Counter(rejected.values())),
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
        rows = ([getattr(found, name) for name in _ISSUE_COLUMNS] for found in issues)
        cut = (
            [value if limit is None else value[:limit] for value, limit in zip(row, limits, strict=True)]
            for row in rows
        )
        copy_rows("tasks_rowissue", ("upload_id", *_ISSUE_COLUMNS), ([upload_id, *row] for row in cut))


@transaction.atomic
def _finish(upload: Upload, attempt: int) -> None:
    crash_point("import.before_finish")
    if not Upload.objects.advance(
        upload.pk, UploadState.IMPORTING, UploadState.IMPORTED, attempt=attempt, finished_at=timezone.now()
    ):
        raise leases.FencedOff
    ProofRun.objects.get_or_create(upload=upload)
    wake("settle_upload", upload.pk)
    wake("prove_upload", upload.pk)


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
