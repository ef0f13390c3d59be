"""Rows of an upload that are not good: refused at import, or tasks that proof or a person has rejected.

A line that a corrected row has taken over (services.correcting) is none of them any more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

import msgspec
from django.db.models import OuterRef, QuerySet, Subquery

from tasks.errors import Conflict, NotFound
from tasks.formats import rejected, source
from tasks.formats.block import Layout
from tasks.formats.codes import CODES
from tasks.formats.jsonl import rows as rows_of
from tasks.formats.reasons import Reason
from tasks.models import DatasetTask, RowIssue, Upload
from tasks.models.reviews import Review
from tasks.services import storage
from tasks.states import TaskState
from tasks.types import Issue

WINDOW = 2000
KINDS = {
    "jsonl": "application/jsonl",
    "json": "application/json",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "parquet": "application/vnd.apache.parquet",
}


@dataclass(frozen=True, slots=True)
class File:
    name: str
    kind: str  # media type
    pieces: Iterator[bytes]


def file(upload: Upload) -> File:
    """Only the rejected rows, in the format uploaded, with why in front of each."""
    found = reasons(upload)
    first = next(found, None)
    if first is None:
        raise NotFound("nothing_rejected", "No row of this upload is rejected: there is nothing to correct.")
    layout, path = layout_of(upload), storage.kept_file(upload)
    pieces = rejected.write(path, layout, _with(first, found))
    kind = "application/gzip" if layout.compressed else KINDS[layout.format]
    return File(_name(upload.filename, layout), kind, pieces)


def _with(first: Reason, rest: Iterator[Reason]) -> Iterator[Reason]:
    yield first
    yield from rest


def _name(filename: str, layout: Layout) -> str:
    stem = PurePath(filename.removesuffix(".gz")).stem or "rows"
    plain = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in stem if sign.isascii()) or "rows"
    return f"{plain}.rejected.{layout.format}{'.gz' if layout.compressed else ''}"


def layout_of(upload: Upload) -> Layout:
    """How its file is laid out: as the import kept it, else as the file looks."""
    if kept := upload.detected.get("layout"):
        return msgspec.convert(kept, Layout)
    layout = source.detect(storage.kept_file(upload), upload.filename).layout
    if layout is None:
        raise Conflict("unreadable_file", "This file could not be read as a whole: correct it and upload it again.")
    return layout


def reasons(upload: Upload) -> Iterator[Reason]:
    """One a line, by line; a window at a time, so that no row of the database is held while a slow client reads."""
    after = 0
    while window := _window(upload, after):
        yield from window.values()
        after = max(window) if len(window) else after


def _window(upload: Upload, after: int) -> dict[int, Reason]:
    """The next lines that are rejected. Lines that are corrected are passed over, never an end."""
    while True:
        refused = _refused(upload).filter(line__gt=after).order_by("line").values_list("line", flat=True)
        rejected_tasks = _rejected(upload).filter(line__gt=after).order_by("line").values_list("line", flat=True)
        lines = sorted({*refused.distinct()[:WINDOW], *rejected_tasks[:WINDOW]})[:WINDOW]
        if not lines:
            return {}
        if found := _reasons(upload, lines):
            return found
        after = lines[-1]


def _refused(upload: Upload) -> QuerySet[RowIssue]:
    return RowIssue.objects.filter(upload=upload, line__gt=0)


def _rejected(upload: Upload) -> QuerySet[DatasetTask]:
    return DatasetTask.objects.filter(upload=upload, task__state=TaskState.REJECTED)


def _reasons(upload: Upload, lines: list[int]) -> dict[int, Reason]:
    good = set(
        DatasetTask.objects.filter(upload=upload, line__in=lines)
        .exclude(task__state=TaskState.REJECTED)
        .values_list("line", flat=True)
    )
    found: dict[int, Reason] = {}
    for issue in _refused(upload).filter(line__in=lines).order_by("line", "id"):
        if issue.line not in good:
            found[issue.line] = _and(found.get(issue.line), issue)
    for row in _rejected(upload).filter(line__in=lines).select_related("task").defer("task__messages", "task__item"):
        code = row.task.reason_code
        reason = Reason(row.line, "", code, row.task.reason, CODES[code].remedy if code in CODES else _remedy(code))
        found.setdefault(row.line, reason)
    return dict(sorted(found.items()))


def _and(before: Reason | None, issue: RowIssue) -> Reason:
    """Several issues of a row are one reason: the first one's field and code, everything that is to be done."""
    if before is None:
        return Reason(issue.line, issue.field, issue.code, issue.sentence, issue.remedy, issue.value)
    sentence, remedy = f"{before.sentence} {issue.sentence}", before.remedy
    if issue.remedy not in remedy:
        remedy = f"{remedy} {issue.remedy}"
    return Reason(before.line, before.field, before.code, sentence, remedy, before.value)


def _remedy(code: str) -> str:
    """What to do about a reviewer's reason."""
    if code in Review.ReasonCode.values:
        return "Correct the row as the reviewer says, or ask for another look at it."
    return "Correct the row, or ask for another look at it."


def any_of(upload: Upload) -> bool:
    return bool(_window(upload, 0))


def row_at(upload: Upload, line: int) -> bytes | None:
    """The bytes of one row of the file as JSON, or None where the line holds none that can be read."""
    wanted = line
    size = lambda _: rejected.BLOCK_ROWS  # noqa: E731
    for block in source.blocks(storage.kept_file(upload), layout_of(upload), size=size):
        if block.last < wanted:
            continue
        for number, row, raw in rows_of(block):
            if number == wanted:
                return None if isinstance(row, Issue) else raw
        return None
    return None


def corrected(upload: Upload) -> dict[int, int]:
    """{line: upload whose row has taken its place}, of lines that were refused or whose task was rejected."""
    by = DatasetTask.objects.filter(task=OuterRef("task"), upload__corrects=upload).values("upload")[:1]
    rows = DatasetTask.objects.filter(upload=upload, duplicate=True).annotate(by=Subquery(by)).exclude(by=None)
    return {row.line: row.by for row in rows.order_by("line")[:WINDOW]}
