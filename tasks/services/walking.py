"""The stored tasks of a space in the order of their ids: for jobs that go through all of them, chunk by chunk."""

from collections.abc import Iterator
from heapq import merge

from tasks.models import Task
from tasks.states import TaskState


def tasks_after(space_id: int, after: int, most: int) -> Iterator[int]:
    """Ids in ascending order, state by state out of the index: a space may be a small part of the table."""
    rows = Task.objects.filter(space=space_id, pk__gt=after).order_by("pk").values_list("pk", flat=True)
    return merge(*(rows.filter(state=state)[:most] for state in TaskState if state is not TaskState.WITHDRAWN))
