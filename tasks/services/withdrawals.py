"""Withdrawal by the contributor: final. Models already trained on a task stay, the next mixture is without it.

A task that other teams brought too stays with them: only the withdrawing team's rows let go of it.
"""

from collections.abc import Sequence

from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery

from tasks.errors import Forbidden, Invalid
from tasks.models import Dataset, DatasetTask, Task, Team, User
from tasks.models.events import Subject, record
from tasks.services.access import require_role
from tasks.states import Role, TaskState

CHUNK = 1000


def withdraw(subject: Task | Dataset, *, actor: User | None, reason: str) -> int:
    """Take a task, or everything of a dataset, out of all that is built from now on; returns how many tasks."""
    reason = reason.strip()
    if not reason or len(reason) > 300:
        raise Invalid("reason_missing", "Say in 1 to 300 characters why it is withdrawn.", "reason")
    if isinstance(subject, Dataset):
        require_role(actor, subject.team, Role.CONTRIBUTOR)
        rows = DatasetTask.objects.filter(dataset=subject)
    else:
        rows = _own_rows(subject, actor)
    taken, after = 0, 0
    while pks := _next(rows, after):
        taken += _withdraw_chunk(rows, pks, actor, reason)
        after = pks[-1]
    _record(subject, actor, reason, taken)
    return taken


def _own_rows(task: Task, actor: User | None) -> QuerySet[DatasetTask]:
    """The task's rows in datasets that the actor contributes to; all of them for the platform."""
    rows = DatasetTask.objects.filter(task=task)
    if actor is None:
        return rows
    contributing = [Role.CONTRIBUTOR, Role.ADMINISTRATOR]
    teams = Team.objects.filter(memberships__user=actor, memberships__role__in=contributing)
    rows = rows.filter(dataset__team__in=teams.values("pk"))
    if not rows.exists():
        raise Forbidden("not_yours", "Only its contributor's team may withdraw a task.")
    return rows


def _next(rows: QuerySet[DatasetTask], after: int) -> list[int]:
    pks = rows.filter(task__gt=after).order_by("task").values_list("task_id", flat=True).distinct()
    return list(pks[:CHUNK])


@transaction.atomic
def _withdraw_chunk(rows: QuerySet[DatasetTask], pks: Sequence[int], actor: User | None, reason: str) -> int:
    own = rows.filter(task__in=pks)
    teams = Dataset.objects.filter(pk__in=own.values("dataset")).values("team")
    others = DatasetTask.objects.filter(task=OuterRef("pk")).exclude(dataset__team__in=teams)
    tasks = list(
        Task.objects.select_for_update()
        .filter(pk__in=pks)
        .annotate(shared=Subquery(others.values("pk")[:1]))
        .order_by("pk")
    )
    kept = [task.pk for task in tasks if task.shared]
    withdrawn = 0
    for space_id, state in sorted({(task.space_id, task.state) for task in tasks if task.pk not in set(kept)}):
        if state == TaskState.WITHDRAWN:
            continue
        going = [
            task.pk for task in tasks if (task.space_id, task.state) == (space_id, state) and task.pk not in set(kept)
        ]
        withdrawn += len(
            Task.objects.advance_many(
                going,
                TaskState(state),
                TaskState.WITHDRAWN,
                team=space_id,
                actor=actor,
                reason=reason,
                reason_code="withdrawn",
                approved_at=None,
            )
        )
    let_go = own.filter(task__in=kept).delete()[0] and len(kept)
    return withdrawn + let_go


def _record(subject: Task | Dataset, actor: User | None, reason: str, count: int) -> None:
    name = str(subject._meta.model_name)
    team = subject.team_id if isinstance(subject, Dataset) else subject.space_id
    data = {"reason": reason, "count": count}
    record(f"{name}.withdrawal", subject=Subject(name, str(subject.pk)), team=team, actor=actor, data=data)
