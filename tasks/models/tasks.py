"""Tasks: verifiable units of training data; the splits of their prompts; their proofs."""

from typing import Any

from django.db import models
from django.db.models import Exists, OuterRef, Q

from tasks.models.accounts import Team, pool_roles
from tasks.models.datasets import Dataset, DatasetTask, Grader
from tasks.models.moves import Moving, StateModel
from tasks.states import TASK_MOVES, Role, Split, TaskState


class PromptSplit(models.Model):
    """The split of a prompt, decided once when its space first sees the exact key, and never computed again."""

    space = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+", db_index=False)
    exact_key = models.CharField(max_length=32)
    split = models.CharField(max_length=10, choices=[(s.value, s.value) for s in Split])

    class Meta:
        constraints = [models.UniqueConstraint(fields=["space", "exact_key"], name="one_split_per_prompt")]

    def __str__(self) -> str:
        return f"{self.exact_key}: {self.split}"


class TaskQuerySet(Moving):
    def for_user(self, user: Any, team: Team | None = None) -> "TaskQuerySet":
        """Tasks of datasets that the user may see; the pool's reviewers and operators see the whole pool."""
        mine = Exists(DatasetTask.objects.filter(task=OuterRef("pk"), dataset__in=Dataset.objects.for_user(user, team)))
        visible = Q(mine)
        if pool_roles(user) - {Role.CONTRIBUTOR} and (team is None or team.is_system):
            visible |= Q(space__is_system=True)
        return self.filter(visible)


class Task(StateModel):
    """Prompt messages + item + optional gold + grader. Unique by (space, exact key, answer, grader)."""

    MOVES = TASK_MOVES

    space = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="tasks", db_index=False)
    state = models.CharField(max_length=12, choices=[(s.value, s.value) for s in TaskState])
    reason = models.CharField(max_length=300, blank=True)  # why rejected, unproved or in conflict: one sentence
    reason_code = models.CharField(max_length=40, blank=True)
    messages = models.JSONField()
    item = models.JSONField(default=dict)
    gold = models.TextField(null=True, blank=True)  # noqa: DJ001  None: derived by the grader; "" is an answer
    grader = models.ForeignKey(Grader, null=True, on_delete=models.PROTECT, related_name="+")
    domain = models.CharField(max_length=64, blank=True)
    metadata = models.JSONField(default=dict)
    exact_key = models.CharField(max_length=32)
    answer_digest = models.CharField(max_length=32)
    number_signature = models.CharField(max_length=16)
    template = models.CharField(max_length=32)
    family = models.BigIntegerField(null=True, blank=True)  # near-duplicate set: id of its oldest member; null: its own
    content_digest = models.CharField(max_length=64)  # sha-256 of messages, item, gold and grader digest
    norm_version = models.PositiveSmallIntegerField()
    split = models.CharField(max_length=10, choices=[(s.value, s.value) for s in Split])  # copy of PromptSplit's
    created_at = models.DateTimeField(auto_now_add=True)
    approved_at = models.DateTimeField(null=True, blank=True)

    objects = TaskQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            # A withdrawn task is gone: whoever brings the same row again brings a new one.
            models.UniqueConstraint(
                fields=["space", "exact_key", "answer_digest", "grader"],
                condition=~Q(state=TaskState.WITHDRAWN),
                nulls_distinct=False,
                name="one_task_per_key",
            )
        ]
        indexes = [
            # The state first: a look-up of keys in a space must not be able to choose this index.
            models.Index(fields=["state", "space", "id"], name="task_queue"),
            models.Index(fields=["space", "approved_at"], condition=Q(state=TaskState.APPROVED), name="task_approved"),
            models.Index(fields=["id"], condition=Q(state=TaskState.NEEDS_GRADER), name="task_waits_for_grader"),
        ]

    def __str__(self) -> str:
        return f"task {self.pk} ({self.state})"

    @property
    def owner_team_id(self) -> int:
        return self.space_id

    @property
    def prompt(self) -> str:
        return "\n".join(message["content"] for message in self.messages)


class Proof(models.Model):
    """What the proof of a task found, kept per grader digest."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="proofs", db_index=False)
    grader = models.ForeignKey(Grader, on_delete=models.PROTECT, related_name="+")
    outcome = models.CharField(max_length=10)  # proved | unproved | rejected
    code = models.CharField(max_length=40, blank=True)  # as of tasks.proof.Proof
    reason = models.CharField(max_length=300, blank=True)
    gold = models.JSONField(null=True)  # the grade of the gold completion
    decoys = models.JSONField(default=list)  # [{kind, outcome: DecoyOutcome, excerpt, reason}]
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["task", "grader"], name="one_proof_per_grader")]

    def __str__(self) -> str:
        return f"{self.task_id}: {self.outcome}"
