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
# Hash joins whatever the size: NOT IN would compare a million ids with a million ids, one by one.
_IN_GONE = "EXISTS (SELECT FROM gone WHERE gone.exact_key = come.exact_key)"
_IN_COME = "EXISTS (SELECT FROM come WHERE come.exact_key = gone.exact_key)"
# `gone` and `come` are what only one side holds; a prompt in both is changed.
_SIDES = """
WITH old AS ({old}), new AS ({new}),
     gone AS (SELECT t.id, t.exact_key FROM old JOIN tasks_task t ON t.id = old.task_id
               WHERE NOT EXISTS (SELECT FROM new WHERE new.task_id = old.task_id)),
     come AS (SELECT t.id, t.exact_key FROM new JOIN tasks_task t ON t.id = new.task_id
               WHERE NOT EXISTS (SELECT FROM old WHERE old.task_id = new.task_id))
"""
_COUNTS = """
SELECT (SELECT count(*) FROM come WHERE NOT {in_gone}),
       (SELECT count(*) FROM gone WHERE NOT {in_come}),
       (SELECT count(*) FROM come WHERE {in_gone}),
       (SELECT count(*) FROM old) - (SELECT count(*) FROM gone)
"""


class Kind(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"  # the same prompt, another answer or grader


_ROWS: Mapping[Kind, str] = {
    Kind.ADDED: """
        SELECT id, NULL::bigint FROM come
         WHERE NOT {in_gone} AND id > %(after)s ORDER BY id LIMIT %(limit)s""",
    Kind.REMOVED: """
        SELECT NULL::bigint, id FROM gone
         WHERE NOT {in_come} AND id > %(after)s ORDER BY id LIMIT %(limit)s""",
    Kind.CHANGED: """
        SELECT come.id, (SELECT min(gone.id) FROM gone WHERE gone.exact_key = come.exact_key) FROM come
         WHERE {in_gone} AND id > %(after)s ORDER BY id LIMIT %(limit)s""",
}


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


def counts(old: Side, new: Side) -> Counts:
    with connection.cursor() as cursor:
        cursor.execute(_with(old, new) + _asked(_COUNTS))
        return Counts(*cursor.fetchone())


def rows(old: Side, new: Side, kind: Kind, *, after: int = 0, limit: int = PAGE) -> Page:
    """By id of the new task (of the removed one)."""
    with connection.cursor() as cursor:
        cursor.execute(_with(old, new) + _asked(_ROWS[kind]), {"after": after, "limit": limit + 1})
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


def _asked(statement: str) -> str:
    return statement.replace("{in_gone}", _IN_GONE).replace("{in_come}", _IN_COME)
