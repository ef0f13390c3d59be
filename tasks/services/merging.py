"""A prepared chunk into a space: new rows become tasks, known ones gain provenance, clashing ones go to review.

Runs inside one transaction under the space's lock. Every look-up is a scalar subquery or fenced by OFFSET 0, so that it
goes by index, row by row: the planner's statistics lag behind an import, and a join that it believes small has read the
whole space once a row.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.db import connection

from tasks.formats.codes import issue
from tasks.models import Dataset, Grader, Task
from tasks.services.copying import copy_rows
from tasks.services.preparing import Chunk, KnownGrader, PreparedRow
from tasks.states import TaskState
from tasks.types import Issue

CLASH = "Another task asks the same and has another answer: compare the two and decide."

_INCOMING = """
CREATE TEMP TABLE incoming (
  line int, exact_key uuid, answer_digest uuid, number_signature bytea, template uuid, grader text, messages jsonb,
  item jsonb, gold text, domain text, metadata jsonb, content_digest bytea, norm_version smallint, split text
) ON COMMIT DROP
"""
_TAKE_CONTAMINATED = """
DELETE FROM incoming i
 WHERE (SELECT true FROM tasks_heldoutitem h
         WHERE h.space_id = %(space)s AND h.exact_key = i.exact_key LIMIT 1)
   AND (SELECT t.split FROM tasks_task t
         WHERE t.space_id = %(space)s AND t.exact_key = i.exact_key LIMIT 1) IS DISTINCT FROM 'sealed'
RETURNING line
"""
_TASKS = """
INSERT INTO tasks_task (space_id, state, reason, reason_code, messages, item, gold, grader_id, domain, metadata,
                        exact_key, answer_digest, number_signature, template, content_digest, norm_version, split,
                        created_at)
SELECT %(space)s, state,
       CASE state WHEN 'conflict' THEN %(clash)s ELSE '' END, CASE state WHEN 'conflict' THEN 'conflict' ELSE '' END,
       messages, item, gold, grader, domain, metadata,
       exact_key, answer_digest, number_signature, template, content_digest, norm_version,
       coalesce((SELECT t.split FROM tasks_task t WHERE t.space_id = %(space)s AND t.exact_key = fresh.exact_key LIMIT 1),
                split), now()
  FROM (
    SELECT DISTINCT ON (i.exact_key, i.answer_digest, i.grader) i.*,
           CASE WHEN i.grader IS NULL THEN 'needs_grader'
                WHEN i.clashes OR (
                     SELECT true FROM tasks_task t
                      WHERE t.space_id = %(space)s AND t.exact_key = i.exact_key
                        AND t.answer_digest <> i.answer_digest AND t.state <> 'withdrawn' AND t.state <> 'rejected'
                      LIMIT 1)
                THEN 'conflict' ELSE 'valid' END AS state
      FROM (SELECT *, min(answer_digest::text) OVER same_prompt <> max(answer_digest::text) OVER same_prompt AS clashes
              FROM incoming WINDOW same_prompt AS (PARTITION BY exact_key)) i
     ORDER BY i.exact_key, i.answer_digest, i.grader, i.line
  ) fresh
 ORDER BY line
ON CONFLICT DO NOTHING
RETURNING id, state
"""
_MEMBERSHIPS = """
INSERT INTO tasks_datasettask (dataset_id, task_id, upload_id, line, role, duplicate)
SELECT %(dataset)s, task, %(upload)s, line, 'split', NOT (line = first_line AND task = ANY(%(new)s))
  FROM (
    SELECT i.line, min(i.line) OVER (PARTITION BY i.exact_key, i.answer_digest, i.grader) AS first_line,
           (SELECT t.id FROM tasks_task t
             WHERE t.space_id = %(space)s AND t.exact_key = i.exact_key AND t.answer_digest = i.answer_digest
               AND t.state <> 'withdrawn' AND coalesce(t.grader_id, '') = coalesce(i.grader, '')) AS task
      FROM incoming i OFFSET 0
  ) known
 ORDER BY line
RETURNING duplicate
"""
_OTHER_SIDES = """
SELECT other.id FROM tasks_task n, LATERAL (
       SELECT t.id FROM tasks_task t
        WHERE t.space_id = n.space_id AND t.exact_key = n.exact_key AND t.answer_digest <> n.answer_digest
          AND t.state <> 'withdrawn' OFFSET 0) other
 WHERE n.id = ANY(%(new)s)
"""


@dataclass(slots=True)
class Merged:
    """Counts of one chunk; rows that were good but may not come in are issues."""

    states: Counter[str] = field(default_factory=Counter)  # of new tasks
    duplicates: int = 0
    issues: list[Issue] = field(default_factory=list)


def merge(chunk: Chunk, dataset: Dataset, upload_id: int) -> Merged:
    """The caller holds the lock of the dataset's space."""
    merged = Merged()
    if not chunk.rows:
        return merged
    keep_graders(chunk.graders.values())
    values: dict[str, Any] = {"space": dataset.space_id, "dataset": dataset.pk, "upload": upload_id, "clash": CLASH}
    with connection.cursor() as cursor:
        cursor.execute(_INCOMING)
        copy_rows("incoming", PreparedRow._fields, chunk.rows)
        cursor.execute(_TAKE_CONTAMINATED, values)
        merged.issues = [issue("contaminated", line=line, field="prompt") for (line,) in cursor.fetchall()]
        cursor.execute(_TASKS, values)
        new = cursor.fetchall()
        merged.states.update(state for _, state in new)
        cursor.execute(_MEMBERSHIPS, {**values, "new": [pk for pk, _ in new]})
        merged.duplicates = sum(duplicate for (duplicate,) in cursor.fetchall())
        assert cursor.rowcount == len(chunk.rows) - len(merged.issues), "every good row has its task"
        cursor.execute("DROP TABLE incoming")
    open_conflicts(dataset.space_id, [pk for pk, state in new if state == TaskState.CONFLICT])
    return merged


def keep_graders(graders: Iterable[KnownGrader]) -> None:
    """In the order of their digests: two imports that meet wait for each other instead of dead-locking."""
    Grader.objects.bulk_create(
        (
            Grader(digest=known.digest, type=known.type, config=msgspec.json.decode(known.config))
            for known in sorted(graders, key=lambda known: known.digest)
        ),
        ignore_conflicts=True,
    )


def open_conflicts(space_id: int, conflicting: Sequence[int]) -> int:
    """Send the other sides of new conflicts to review, unless a person has decided them; returns how many."""
    if not conflicting:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_OTHER_SIDES, {"new": list(conflicting)})
        others = sorted({pk for (pk,) in cursor.fetchall()})
    found = Task.objects.select_for_update().filter(pk__in=others).order_by("pk").values_list("pk", "state")
    sides = list(found)  # locked in the order of their ids, before any of them moves
    moved = 0
    for old in (TaskState.VALID, TaskState.PROVED, TaskState.UNPROVED):
        if pks := {pk for pk, state in sides if state == old}:
            done = Task.objects.advance_many(
                pks, old, TaskState.CONFLICT, team=space_id, reason=CLASH, reason_code="conflict"
            )
            moved += len(done)
    return moved
