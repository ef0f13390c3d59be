"""Stored proofs: the rows that a proof reads, and what is kept of it under (task, grader digest)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from tasks import evidence, proof
from tasks.evidence import Kept
from tasks.models import Proof, Task
from tasks.services.copying import copy_lines
from tasks.stretch import Row

# Codes of proofs that a repair can change while row and grader stay the same: done again when somebody asks.
RETRIED = (proof.UNAVAILABLE, proof.GOLD_UNGRADABLE, proof.DECOY_UNGRADABLE)
MAX_STORED_BYTES = 8_000_000  # of prompts and items in a stretch, as the database packs them
_COLUMNS = ("task_id", "grader_id", "outcome", "code", "reason", "gold", "decoys", "at")

# LATERAL and OFFSET 0: by index, row by row. The planner, whose statistics lag behind an import, has read whole tables.
_STRETCH = """
SELECT line, task_id, duplicate, state, grader_id, kind, proved, gold, messages::text, item::text
  FROM (
    SELECT m.line, m.task_id, m.duplicate, t.*, g.type AS kind, p.id IS NOT NULL AS proved,
           sum(t.size) OVER (ORDER BY m.line) - t.size AS before
      FROM (SELECT line, task_id, duplicate FROM tasks_datasettask
             WHERE upload_id = %(upload)s AND line > %(after)s ORDER BY line LIMIT %(lines)s) m
      JOIN LATERAL (SELECT state, grader_id, gold, messages, item,
                           pg_column_size(messages) + pg_column_size(item) AS size
                      FROM tasks_task WHERE id = m.task_id OFFSET 0) t ON true
      LEFT JOIN LATERAL (SELECT type FROM tasks_grader WHERE digest = t.grader_id OFFSET 0) g ON true
      LEFT JOIN LATERAL (SELECT id FROM tasks_proof
                          WHERE task_id = m.task_id AND grader_id = t.grader_id OFFSET 0) p ON true
  ) found
 WHERE before < %(bytes)s
 ORDER BY line
"""

_FOUND = """
SELECT m.line, m.task_id, m.duplicate, t.state, t.grader_id, g.type, p.outcome, p.code,
       (SELECT id FROM tasks_review r
         WHERE r.task_id = m.task_id AND (r.decision = 'rejected' OR r.undone_at IS NOT NULL) LIMIT 1)
  FROM (SELECT line, task_id, duplicate FROM tasks_datasettask
         WHERE upload_id = %(upload)s AND line > %(after)s ORDER BY line LIMIT %(lines)s) m
  JOIN LATERAL (SELECT state, grader_id FROM tasks_task WHERE id = m.task_id OFFSET 0) t ON true
  LEFT JOIN LATERAL (SELECT type FROM tasks_grader WHERE digest = t.grader_id OFFSET 0) g ON true
  LEFT JOIN LATERAL (SELECT outcome, code FROM tasks_proof
                      WHERE task_id = m.task_id AND grader_id = t.grader_id OFFSET 0) p ON true
 ORDER BY m.line
"""


class Found(NamedTuple):
    """One row of an upload with what its proof said."""

    line: int
    task_id: int
    duplicate: bool
    state: str
    grader_id: str | None  # digest
    kind: str | None  # of grader
    outcome: str | None  # of its proof with that grader; None where there is none
    code: str | None
    with_people: int | None  # a review, where a person has refused the task or taken a decision back


def found(upload_id: int, after: int, lines: int) -> list[Found]:
    """The next rows of an upload."""
    with connection.cursor() as cursor:
        cursor.execute(_FOUND, {"upload": upload_id, "after": after, "lines": lines})
        return list(map(Found._make, cursor.fetchall()))


def stretch(upload_id: int, after: int, lines: int) -> list[Row]:
    """The next rows of an upload: as many lines, or fewer where they are large. Where a stretch ends depends on nothing
    but the rows, so that a proof which goes on after a kill finds the same."""
    with connection.cursor() as cursor:
        cursor.execute(_STRETCH, {"upload": upload_id, "after": after, "lines": lines, "bytes": MAX_STORED_BYTES})
        return list(map(Row._make, cursor.fetchall()))


def store(tasks: Mapping[int, Row], kept: Sequence[Kept]) -> set[int]:
    """Keep proofs; returns the ids of those that nobody had kept before."""
    now = str(timezone.now())
    lines = [_line(one, tasks[one.task_id].grader_id, now) for one in sorted(kept)]
    try:
        with transaction.atomic(), connection.wrap_database_errors:
            copy_lines("tasks_proof", _COLUMNS, lines)
    except IntegrityError:  # another upload holds some of these tasks too, and its proof was here first
        return _store_missing(lines)
    return {one.task_id for one in kept}


def _line(one: Kept, grader: str, now: str) -> bytes:
    """As COPY reads it; JSON has no other character than the backslash that it reads apart."""
    gold = "\\N" if one.gold is None else one.gold.replace("\\", "\\\\")
    reason, decoys = one.reason.translate(_APART), one.decoys.replace("\\", "\\\\")
    return "\t".join((str(one.task_id), grader, one.outcome, one.code, reason, gold, decoys, now)).encode()


_APART = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _store_missing(lines: Sequence[bytes]) -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE found (LIKE tasks_proof) ON COMMIT DROP; ALTER TABLE found DROP COLUMN id")
        copy_lines("found", _COLUMNS, lines)
        names = ", ".join(_COLUMNS)
        cursor.execute(
            f"INSERT INTO tasks_proof ({names}) SELECT {names} FROM found ON CONFLICT DO NOTHING RETURNING task_id"  # noqa: S608
        )
        new = {pk for (pk,) in cursor.fetchall()}
        cursor.execute("DROP TABLE found")
    return new


def of(task: Task) -> Proof | None:
    """The proof of a task under the grader it has now, whole again: to be shown, never to be saved."""
    row = Proof.objects.filter(task=task, grader=task.grader_id).first()
    if row is not None:
        row.reason, row.gold, row.decoys = whole(row)
    return row


def whole(row: Proof) -> evidence.Whole:
    return evidence.whole(row.code, row.reason, row.gold, row.decoys)
