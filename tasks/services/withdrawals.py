"""Withdrawal by the contributor: final. Models already trained on a task stay, the next mixture is without it.

A task that other teams brought too stays with them: only the withdrawing team's rows let go of it. Of a single upload,
a task stays that any other file brought too. Chunks are
transactions of their own under one receipt, which the last one completes; a withdrawal that was killed in between goes
on when it is asked for again, and ends with one receipt for all of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, QuerySet
from django.utils import timezone

from tasks.crash import crash_point
from tasks.errors import Conflict, Forbidden, Invalid
from tasks.models import Dataset, DatasetTask, Event, Task, Team, Upload, User, WithdrawalReceipt, WithdrawnTask
from tasks.models.events import Subject, record
from tasks.services import receipts
from tasks.services.access import require_role, who_brings
from tasks.services.copying import lock_space
from tasks.states import Role, TaskState, UploadState

CHUNK = 1000
_ARRIVING = (UploadState.RECEIVED, UploadState.UNMAPPED, UploadState.IMPORTING)

# What the model side knows of the tasks of a receipt: asked inside the transaction that completes it.
Told = Callable[[WithdrawalReceipt], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Preview:
    """What a withdrawal would do on the data side. No row is written."""

    subject: Task | Dataset
    team: Team
    goes: int
    stays: int  # because other teams brought them too
    elsewhere: int  # of those that go: in other datasets of the same team as well, and gone from these too
    going: QuerySet[Task]  # those that go, as a question to the database
    arriving: int  # uploads whose rows are not all in yet: what comes after is not withdrawn
    exports: int  # of the dataset, as files: they cannot be called back
    exported_at: datetime | None


def preview(subject: Task | Dataset, *, actor: User | None) -> Preview:
    rows = _rows(subject, actor)
    team = _team_of(subject, rows)
    datasets = Dataset.objects.filter(pk__in=rows.values("dataset"))
    live = Task.objects.filter(pk__in=rows.values("task")).exclude(state=TaskState.WITHDRAWN).order_by()
    going = live.filter(~_brought_by_others(datasets.values("team")))
    goes = going.count()
    elsewhere = DatasetTask.objects.filter(task=OuterRef("pk")).exclude(dataset__in=datasets)
    named = [str(pk) for pk in datasets.values_list("pk", flat=True)]
    exports = Event.objects.filter(kind="dataset.exported", subject_type="dataset", subject_id__in=named)
    return Preview(
        subject=subject,
        team=team,
        goes=goes,
        stays=live.count() - goes,
        elsewhere=going.filter(Exists(elsewhere)).count(),
        going=going,
        arriving=Upload.objects.filter(dataset__in=datasets, state__in=_ARRIVING).count(),
        exports=exports.count(),
        exported_at=exports.aggregate(last=Max("at"))["last"],
    )


def withdraw(
    subject: Task | Dataset | Upload, *, actor: User | None, reason: str, told: Told | None = None
) -> WithdrawalReceipt:
    """Take a task, or everything of a dataset or of one file in it, out of all that is built from now on.

    Repeated, it goes on where it was; where nothing is left to do, the receipt that there is.
    """
    reason = reason.strip()
    if not reason or len(reason) > 300:
        raise Invalid("reason_missing", "Say in 1 to 300 characters why it is withdrawn.", "reason")
    rows = _rows(subject, actor)
    receipt = _open(subject, rows, actor, reason)
    after = 0
    while receipt.finished_at is None and (pks := _next(rows, after)):
        _withdraw_chunk(receipt, rows, pks, actor)
        crash_point("withdrawal.after_chunk")
        after = pks[-1]
    return receipt if receipt.finished_at else _finish(receipt, actor, told)


def _rows(subject: Task | Dataset | Upload, actor: User | None) -> QuerySet[DatasetTask]:
    """The rows that the actor's team may let go of."""
    if isinstance(subject, Upload):
        require_role(actor, subject.team, who_brings(subject.dataset))
        return DatasetTask.objects.filter(upload=subject)
    if isinstance(subject, Dataset):
        require_role(actor, subject.team, who_brings(subject))
        return DatasetTask.objects.filter(dataset=subject)
    return _own_rows(subject, actor)


def _own_rows(task: Task, actor: User | None) -> QuerySet[DatasetTask]:
    """The task's rows in datasets that the actor contributes to; all of them for the platform."""
    rows = DatasetTask.objects.filter(task=task)
    if actor is None:
        return rows
    teams = contributing(actor)
    rows = rows.filter(dataset__team__in=teams.values("pk"))
    begun = WithdrawalReceipt.objects.filter(task=task, finished_at=None, team__in=teams)
    if not rows.exists() and not begun.exists():
        raise Forbidden("not_yours", "Only its contributor's team may withdraw a task.")
    return rows


def contributing(actor: User) -> QuerySet[Team]:
    """Teams whose data the actor may withdraw."""
    roles = [Role.CONTRIBUTOR, Role.ADMINISTRATOR]
    return Team.objects.filter(memberships__user=actor, memberships__role__in=roles)


def _team_of(subject: Task | Dataset | Upload, rows: QuerySet[DatasetTask]) -> Team:
    if isinstance(subject, Dataset | Upload):
        return subject.team
    first = rows.select_related("dataset__team").order_by("pk").first()
    return first.dataset.team if first else subject.space


@transaction.atomic
def _open(
    subject: Task | Dataset | Upload, rows: QuerySet[DatasetTask], actor: User | None, reason: str
) -> WithdrawalReceipt:
    """The receipt of this withdrawal: the one that was begun, the finished one where nothing is left, or a new one."""
    named = _named(subject)
    team = _team_of(subject, rows)
    Team.objects.select_for_update(no_key=True).get(pk=team.pk)  # two that are asked for at once are one
    of_this = WithdrawalReceipt.objects.filter(**named) if actor is None else _of(named, actor)
    if begun := of_this.filter(finished_at=None).first():
        return begun
    if not rows.exclude(task__state=TaskState.WITHDRAWN).exists():
        if last := of_this.first():
            return last
        raise Conflict("nothing_to_withdraw", f"{_called(subject)} holds nothing that could be withdrawn any more.")
    return WithdrawalReceipt.objects.create(**named, team=team, reason=reason, withdrawn_by=actor)


def _named(subject: Task | Dataset | Upload) -> dict[str, Any]:
    if isinstance(subject, Upload):
        return {"dataset": subject.dataset, "upload": subject}
    return {"dataset": subject, "upload": None} if isinstance(subject, Dataset) else {"task": subject}


def _of(named: Mapping[str, Any], actor: User) -> QuerySet[WithdrawalReceipt]:
    return WithdrawalReceipt.objects.filter(**named, team__in=contributing(actor).values("pk"))


def _called(subject: Task | Dataset | Upload) -> str:
    if isinstance(subject, Upload):
        return subject.filename
    return str(subject) if isinstance(subject, Dataset) else f"Task {subject.pk}"


def _next(rows: QuerySet[DatasetTask], after: int) -> list[int]:
    pks = rows.filter(task__gt=after).order_by("task").values_list("task_id", flat=True).distinct()
    return list(pks[:CHUNK])


def _brought_by_others(teams: Any, upload: int | None = None) -> Exists:
    """By other teams; of one upload: by any other."""
    if upload is not None:
        return Exists(DatasetTask.objects.filter(task=OuterRef("pk")).exclude(upload=upload))
    return Exists(DatasetTask.objects.filter(task=OuterRef("pk")).exclude(dataset__team__in=teams))


@transaction.atomic
def _withdraw_chunk(
    receipt: WithdrawalReceipt, rows: QuerySet[DatasetTask], pks: Sequence[int], actor: User | None
) -> None:
    for space in sorted(set(Task.objects.filter(pk__in=pks).values_list("space_id", flat=True))):
        lock_space(space)  # an import that adds another team's row to one of them comes before, or after
    own = rows.filter(task__in=pks)
    teams = list(Dataset.objects.filter(pk__in=own.values("dataset")).values_list("team_id", flat=True).distinct())
    tasks = list(
        Task.objects.select_for_update()
        .filter(pk__in=pks)
        .exclude(state=TaskState.WITHDRAWN)
        .annotate(shared=_brought_by_others(teams, receipt.upload_id))
        .order_by("pk")
    )
    kept = [task.pk for task in tasks if task.shared]
    moved = _move([task for task in tasks if not task.shared], receipt, actor)
    own.filter(task__in=kept).delete()
    made = [WithdrawnTask(receipt=receipt, task_id=pk, kept=pk in set(kept)) for pk in sorted([*kept, *moved])]
    WithdrawnTask.objects.bulk_create(made, ignore_conflicts=True)


def _move(tasks: Sequence[Task], receipt: WithdrawalReceipt, actor: User | None) -> list[int]:
    moved: list[int] = []
    for space_id, state in sorted({(task.space_id, task.state) for task in tasks}):
        moved += Task.objects.advance_many(
            [task.pk for task in tasks if (task.space_id, task.state) == (space_id, state)],
            TaskState(state),
            TaskState.WITHDRAWN,
            team=space_id,
            actor=actor,
            data={"receipt": receipt.pk},
            reason=receipt.reason,
            reason_code="withdrawn",
            approved_at=None,
        )
    return moved


@transaction.atomic
def _finish(receipt: WithdrawalReceipt, actor: User | None, told: Told | None) -> WithdrawalReceipt:
    """The receipt and the event that says what is in it, together. Of two at once the second finds it finished."""
    receipt = WithdrawalReceipt.objects.select_for_update().get(pk=receipt.pk)
    if receipt.finished_at is not None:
        return receipt
    receipt.digest, receipt.withdrawn = receipts.digest(receipt)
    receipt.kept = receipt.tasks.filter(kept=True).count()
    receipt.seen = dict(told(receipt)) if told else None
    receipt.finished_at = timezone.now()
    name, subject = ("dataset", receipt.dataset_id) if receipt.dataset_id else ("task", receipt.task_id)
    receipt.event = record(
        f"{name}.withdrawal",
        subject=Subject(name, str(subject)),
        team=receipt.team_id,
        actor=actor,
        data={
            "reason": receipt.reason,
            "count": receipt.withdrawn,
            "kept": receipt.kept,
            "tasks_digest": receipt.digest,
            "receipt": receipt.pk,
            "receipt_digest": receipts.content_digest(receipt),
        },
    )
    receipt.save()
    return receipt
