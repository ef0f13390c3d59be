"""Withdrawals: one receipt each, and the tasks that it covers."""

from typing import Any

from django.db import models
from django.db.models import Q

from tasks.models.accounts import Team, User
from tasks.models.datasets import Dataset
from tasks.models.events import Event
from tasks.models.tasks import Task
from tasks.models.uploads import Upload


class WithdrawalReceiptQuerySet(models.QuerySet["WithdrawalReceipt"]):
    def for_user(self, user: Any, team: Team | None = None) -> "WithdrawalReceiptQuerySet":
        """Those of the user's own teams: what a team withdrew, and why, is told to nobody else."""
        mine = Q(team__memberships__user=user)
        if team is not None:
            mine &= Q(team=team)
        return self.filter(mine).distinct()

    def finished(self) -> "WithdrawalReceiptQuerySet":
        return self.exclude(finished_at=None)


class WithdrawalReceipt(models.Model):
    """What was withdrawn, when, by whom, and who had seen it. Begun with the first chunk, a receipt with the last:
    a withdrawal that was killed in between is the same one when it is asked for again.
    """

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="withdrawals")  # that withdrew
    dataset = models.ForeignKey(Dataset, null=True, on_delete=models.PROTECT, related_name="withdrawals")
    upload = models.ForeignKey(
        Upload, null=True, on_delete=models.PROTECT, related_name="+"
    )  # of the dataset: only its rows
    task = models.ForeignKey(
        Task, null=True, on_delete=models.PROTECT, related_name="receipts", db_index=False, db_constraint=False
    )
    reason = models.CharField(max_length=300)
    withdrawn_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")  # None: the platform
    begun_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)  # null: not through yet, and no receipt
    withdrawn = models.PositiveIntegerField(default=0)  # tasks that went
    kept = models.PositiveIntegerField(default=0)  # tasks that stay, because other teams brought them too
    digest = models.CharField(max_length=64, blank=True)  # of the tasks that went: services.receipts.digest
    seen = models.JSONField(null=True)  # trainer.services.consequences: who had seen them, what the next mixture is
    event = models.OneToOneField(Event, null=True, on_delete=models.PROTECT, related_name="+")

    objects = WithdrawalReceiptQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(dataset__isnull=True) ^ Q(task__isnull=True), name="one_subject"),
            models.UniqueConstraint(
                fields=["dataset"], condition=Q(finished_at=None, upload=None), name="one_open_withdrawal_per_dataset"
            ),
            models.UniqueConstraint(
                fields=["upload"], condition=Q(finished_at=None), name="one_open_withdrawal_per_upload"
            ),
            models.UniqueConstraint(
                fields=["task", "team"], condition=Q(finished_at=None), name="one_open_withdrawal_per_task"
            ),
        ]

    def __str__(self) -> str:
        return f"withdrawal {self.pk} of {self.subject}"

    @property
    def subject(self) -> str:
        if self.upload is not None:
            return f"the file {self.upload.filename} of dataset {self.dataset}"
        return f"dataset {self.dataset}" if self.dataset is not None else f"task {self.task_id}"


class WithdrawnTask(models.Model):
    """A task under a receipt. A task that other teams brought too was let go of, and is `kept` by them."""

    receipt = models.ForeignKey(WithdrawalReceipt, on_delete=models.PROTECT, related_name="tasks", db_index=False)
    task = models.ForeignKey(Task, on_delete=models.PROTECT, related_name="withdrawals", db_constraint=False)
    kept = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["receipt", "task"], name="one_row_per_withdrawn_task")]

    def __str__(self) -> str:
        return f"{self.receipt_id}: {self.task_id}"
