"""Two states of a dataset, compared: what came, what went, and which prompts have another answer or grader now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.db import connection

from tasks.models import Dataset, DatasetVersion, Task

PAGE = 50
_OF_VERSION = "SELECT task_id FROM tasks_datasetversiontask WHERE version_id = {}"
_OF_NOW = """
SELECT DISTINCT m.task_id FROM tasks_datasettask m JOIN tasks_task t ON t.id = m.task_id
 WHERE m.dataset_id = {} AND t.state = 'approved'
"""
# Sets and windows only, no join of one side with the other: the planner knows nothing of the sizes of sub-selects, and
# a nested loop over two times 40,000 rows took 25 s. A prompt on both sides is changed.
_SIDES = """
WITH old AS ({old}), new AS ({new}),
     gone AS (SELECT task_id FROM old EXCEPT SELECT task_id FROM new),
     come AS (SELECT task_id FROM new EXCEPT SELECT task_id FROM old),
     sides AS (SELECT t.id, t.exact_key, true AS is_new FROM come JOIN tasks_task t ON t.id = come.task_id
               UNION ALL
               SELECT t.id, t.exact_key, false FROM gone JOIN tasks_task t ON t.id = gone.task_id),
     marked AS (SELECT id, is_new, min(id) FILTER (WHERE NOT is_new) OVER prompt AS before,
                       bool_or(is_new) OVER prompt AND bool_or(NOT is_new) OVER prompt AS changed
                  FROM sides WINDOW prompt AS (PARTITION BY exact_key))
"""
_COUNTS = """
SELECT count(*) FILTER (WHERE is_new AND NOT changed), count(*) FILTER (WHERE NOT is_new AND NOT changed),
       count(*) FILTER (WHERE is_new AND changed), (SELECT count(*) FROM old) - (SELECT count(*) FROM gone)
  FROM marked
"""


class Kind(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"  # the same prompt, another answer or grader


_ROWS: Mapping[Kind, str] = {
    Kind.ADDED: "SELECT id, NULL::bigint FROM marked WHERE is_new AND NOT changed",
    Kind.REMOVED: "SELECT NULL::bigint, id FROM marked WHERE NOT is_new AND NOT changed",
    Kind.CHANGED: "SELECT id, before FROM marked WHERE is_new AND changed",
}
_PAGE = " AND id > %(after)s ORDER BY id LIMIT %(limit)s"


@dataclass(frozen=True, slots=True)
class Side:
    """A frozen version, or the approved tasks of now."""

    dataset: Dataset
    version: DatasetVersion | None = None

    def __str__(self) -> str:
        return f"version {self.version.number}" if self.version else "now"

    @property
    def _sql(self) -> str:
        return _OF_VERSION.format(self.version.pk) if self.version else _OF_NOW.format(self.dataset.pk)


@dataclass(frozen=True, slots=True)
class Counts:
    added: int
    removed: int
    changed: int
    same: int


@dataclass(frozen=True, slots=True)
class Difference:
    new: Task | None
    old: Task | None


@dataclass(frozen=True, slots=True)
class Page:
    rows: Sequence[Difference]
    next_after: int | None

    @property
    def tasks(self) -> list[Task]:
        return [task for row in self.rows for task in (row.old, row.new) if task is not None]


def counts(old: Side, new: Side) -> Counts:
    with connection.cursor() as cursor:
        cursor.execute(_with(old, new) + _COUNTS)
        return Counts(*cursor.fetchone())


def rows(old: Side, new: Side, kind: Kind, *, after: int = 0, limit: int = PAGE) -> Page:
    """By id of the new task (of the removed one)."""
    with connection.cursor() as cursor:
        cursor.execute(_with(old, new) + _ROWS[kind] + _PAGE, {"after": after, "limit": limit + 1})
        pairs: list[tuple[int | None, int | None]] = cursor.fetchall()
    more, pairs = len(pairs) > limit, pairs[:limit]
    tasks = Task.objects.select_related("grader", "space").in_bulk([pk for pair in pairs for pk in pair if pk])
    found = [Difference(_of(tasks, new_pk), _of(tasks, old_pk)) for new_pk, old_pk in pairs]
    last: Any = (pairs[-1][0] or pairs[-1][1]) if more else None
    return Page(found, last)


def _of(tasks: Mapping[int, Task], pk: int | None) -> Task | None:
    return tasks.get(pk) if pk else None


def _with(old: Side, new: Side) -> str:
    return _SIDES.format(old=old._sql, new=new._sql)
