"""A prepared chunk into a space: new rows become tasks, known ones gain provenance, clashing ones go to review.

Runs inside one transaction under the space's lock. Joins go by index: hash and merge joins are off, because the planner
cannot know how small a chunk is beside the table, and reading the table once a chunk would make every import slower
than the one before.
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
  line int, exact_key text, answer_digest text, number_signature text, template text, grader text, messages jsonb,
  item jsonb, gold text, domain text, metadata jsonb, content_digest text, norm_version smallint, split text
) ON COMMIT DROP
"""
_TAKE_CONTAMINATED = """
DELETE FROM incoming i
 WHERE EXISTS (SELECT FROM tasks_heldoutkey h WHERE h.space_id = %(space)s AND h.exact_key = i.exact_key)
   AND NOT EXISTS (SELECT FROM tasks_promptsplit p
                    WHERE p.space_id = %(space)s AND p.exact_key = i.exact_key AND p.split = 'sealed')
RETURNING line
"""
_SPLITS = """
INSERT INTO tasks_promptsplit (space_id, exact_key, split)
SELECT DISTINCT ON (exact_key) %(space)s, exact_key, split FROM incoming ORDER BY exact_key
ON CONFLICT DO NOTHING
"""
_TASKS = """
INSERT INTO tasks_task (space_id, state, reason, reason_code, messages, item, gold, grader_id, domain, metadata,
                        exact_key, answer_digest, number_signature, template, content_digest, norm_version, split,
                        created_at)
SELECT %(space)s, state,
       CASE state WHEN 'conflict' THEN %(clash)s ELSE '' END, CASE state WHEN 'conflict' THEN 'conflict' ELSE '' END,
       messages, item, gold, grader, domain, metadata,
       exact_key, answer_digest, number_signature, template, content_digest, norm_version, split, now()
  FROM (
    SELECT DISTINCT ON (i.exact_key, i.answer_digest, i.grader) i.line, i.messages, i.item, i.gold, i.grader, i.domain,
           i.metadata, i.exact_key, i.answer_digest, i.number_signature, i.template, i.content_digest, i.norm_version,
           p.split,
           CASE WHEN i.grader IS NULL THEN 'needs_grader'
                WHEN i.clashes OR EXISTS (
                     SELECT FROM tasks_task t
                      WHERE t.space_id = %(space)s AND t.exact_key = i.exact_key
                        AND t.answer_digest <> i.answer_digest AND t.state <> 'withdrawn' AND t.state <> 'rejected')
                THEN 'conflict' ELSE 'valid' END AS state
      FROM (SELECT *, min(answer_digest) OVER same_prompt <> max(answer_digest) OVER same_prompt AS clashes
              FROM incoming WINDOW same_prompt AS (PARTITION BY exact_key)) i
      JOIN tasks_promptsplit p ON p.space_id = %(space)s AND p.exact_key = i.exact_key
     ORDER BY i.exact_key, i.answer_digest, i.grader, i.line
  ) fresh
 ORDER BY line
ON CONFLICT DO NOTHING
RETURNING id, state
"""
_MEMBERSHIPS = """
INSERT INTO tasks_datasettask (dataset_id, task_id, upload_id, line, role, duplicate)
SELECT %(dataset)s, t.id, %(upload)s, i.line, 'split', NOT (i.line = i.first_line AND t.id = ANY(%(new)s))
  FROM (SELECT line, exact_key, answer_digest, grader,
               min(line) OVER (PARTITION BY exact_key, answer_digest, grader) AS first_line FROM incoming) i
  JOIN tasks_task t ON t.space_id = %(space)s AND t.exact_key = i.exact_key AND t.answer_digest = i.answer_digest
                   AND t.state <> 'withdrawn' AND coalesce(t.grader_id, '') = coalesce(i.grader, '')
 ORDER BY i.line
RETURNING duplicate
"""
_SAME_PROMPTS = """
SELECT t.id, t.state FROM tasks_task n
  JOIN tasks_task t ON t.space_id = n.space_id AND t.exact_key = n.exact_key AND t.answer_digest <> n.answer_digest
 WHERE n.id = ANY(%(new)s) AND t.state IN ('valid', 'proved', 'unproved')
 ORDER BY t.id FOR UPDATE OF t
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
        cursor.execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
        cursor.execute(_TAKE_CONTAMINATED, values)
        merged.issues = [issue("contaminated", line=line, field="prompt") for (line,) in cursor.fetchall()]
        cursor.execute(_SPLITS, values)
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
        cursor.execute(_SAME_PROMPTS, {"new": list(conflicting)})
        others = cursor.fetchall()
    moved = 0
    for old in (TaskState.VALID, TaskState.PROVED, TaskState.UNPROVED):
        ids = {pk for pk, state in others if state == old}
        if ids:
            moved += len(
                Task.objects.advance_many(
                    ids, old, TaskState.CONFLICT, team=space_id, reason=CLASH, reason_code="conflict"
                )
            )
    return moved
