"""Tasks that ask the same and have another answer: both sides go to review, and neither is dropped."""

from collections.abc import Sequence

from django.db import connection

from tasks.models import Task
from tasks.states import TaskState

CLASH = "Another task asks the same and has another answer: compare the two and decide."

_OTHER_SIDES = """
SELECT other.id FROM tasks_task n, LATERAL (
       SELECT t.id FROM tasks_task t
        WHERE t.space_id = n.space_id AND t.exact_key = n.exact_key AND t.answer_digest <> n.answer_digest
          AND t.state <> 'withdrawn' OFFSET 0) other
 WHERE n.id = ANY(%(new)s)
"""


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
