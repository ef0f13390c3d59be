"""What is withdrawn is not given out again: number, state, reason, split and digests stay for everybody who could see
the task; prompt, item, gold and grader are for the people of the teams that brought it.

Whoever shows tasks buries them first. The instances in memory are changed, never a row.
"""

from collections.abc import Iterable
from typing import Any

from tasks.models import DatasetTask, Task, Team
from tasks.states import TaskState

WORDS = "Withdrawn: what it asked is not given out again."


def bury(tasks: Iterable[Task], user: Any, team: Team | None = None) -> None:
    """Take the content out of those that this reader may no longer read. `team`: of an API key, the only one then."""
    gone = [task for task in tasks if task.state == TaskState.WITHDRAWN]
    if not gone:
        return
    teams = user.team_ids() if team is None else [team.pk]
    own = DatasetTask.objects.filter(task__in=[task.pk for task in gone], dataset__team__in=teams)
    readable = set(own.values_list("task_id", flat=True))
    for task in gone:
        if task.pk not in readable:
            empty(task)


def empty(task: Task) -> None:
    task.messages = [{"role": "user", "content": WORDS}]
    task.item, task.gold, task.metadata, task.grader = {}, None, {}, None
    task.is_tombstone = True
