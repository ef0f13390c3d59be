"""Tasks: verifiable units of training data; their proofs; what was found about them."""

from typing import Any

from django.db import models
from django.db.models import Exists, F, Func, OuterRef, Q, Value
from django.db.models.functions import Cast, Coalesce, Concat

from tasks.models.accounts import Team, pool_roles
from tasks.models.columns import HexColumn
from tasks.models.datasets import Dataset, DatasetTask, Grader
from tasks.models.moves import Moving, StateModel
from tasks.states import TASK_MOVES, Role, Split, TaskState


class TaskQuerySet(Moving):
    def for_user(self, user: Any, team: Team | None = None) -> "TaskQuerySet":
        """Tasks of datasets that the user may see; the pool's reviewers and operators see the whole pool."""
        mine = Exists(DatasetTask.objects.filter(task=OuterRef("pk"), dataset__in=Dataset.objects.for_user(user, team)))
        visible = Q(mine)
        if pool_roles(user) - {Role.CONTRIBUTOR} and (team is None or team.is_system):
            visible |= Q(space__is_system=True)
        return self.filter(visible)


# What sets tasks with one prompt apart: 64 bits of answer and grader instead of 100 bytes of both in every index entry.
ANSWER_AND_GRADER = Func(
    Concat(Cast("answer_digest", models.TextField()), Coalesce(F("grader"), Value(""))),
    Value(0),
    function="hashtextextended",
    output_field=models.BigIntegerField(),
)


class Task(StateModel):
    """Prompt messages + item + optional gold + grader. Unique by (space, exact key, answer, grader).

    Written by the hundred thousand, always by set and under a lock of the space: the database checks no foreign keys
    here, which would cost as much as the rows (ARCHITECTURE.md).
    """

    MOVES = TASK_MOVES
    is_tombstone = False  # in memory only: withdrawn, and its reader may not read it (services.tombstones)

    space = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="tasks", db_index=False, db_constraint=False)
    state = models.CharField(max_length=12, choices=[(s.value, s.value) for s in TaskState])
    reason = models.CharField(max_length=300, blank=True)  # why rejected, unproved or in conflict: one sentence
    reason_code = models.CharField(max_length=40, blank=True)
    messages = models.JSONField()
    item = models.JSONField(default=dict)
    gold = models.TextField(null=True, blank=True)  # noqa: DJ001  None: derived by the grader; "" is an answer
    grader = models.ForeignKey(
        Grader, null=True, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    domain = models.CharField(max_length=64, blank=True)
    metadata = models.JSONField(default=dict)
    exact_key = HexColumn(max_length=32)
    stripped_key = HexColumn(max_length=32, null=True)  # without its approved wrappers, where it has any
    answer_digest = HexColumn(max_length=32)
    number_signature = HexColumn(max_length=16)
    template = HexColumn(max_length=32)
    bands = models.BinaryField(null=True)  # tasks.dedup.signature: unsigned 64-bit little-endian hashes
    family = models.BigIntegerField(null=True, blank=True)  # near-duplicate set: id of its oldest member; null: its own
    content_digest = HexColumn(max_length=64)  # sha-256 of messages, item, gold and grader digest
    norm_version = models.PositiveSmallIntegerField()
    # Decided when its space first sees the prompt (a family: its oldest member), and never computed again
    split = models.CharField(max_length=10, choices=[(s.value, s.value) for s in Split])
    created_at = models.DateTimeField(auto_now_add=True)
    approved_at = models.DateTimeField(null=True, blank=True)

    objects = TaskQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            # A withdrawn task is gone: whoever brings the same row again brings a new one.
            models.UniqueConstraint(
                F("space"),
                F("exact_key"),
                ANSWER_AND_GRADER,
                condition=~Q(state=TaskState.WITHDRAWN),
                name="one_task_per_key",
            )
        ]
        indexes = [
            # The state first: a look-up of keys in a space must not be able to choose this index.
            models.Index(fields=["state", "space", "id"], name="task_queue"),
            models.Index(fields=["space", "approved_at"], condition=Q(state=TaskState.APPROVED), name="task_approved"),
            models.Index(fields=["id"], condition=Q(state=TaskState.NEEDS_GRADER), name="task_waits_for_grader"),
            models.Index(
                fields=["space", "stripped_key"], condition=Q(stripped_key__isnull=False), name="task_wrapped"
            ),
            models.Index(fields=["family"], condition=Q(family__isnull=False), name="task_family"),
            models.Index(
                fields=["space", "exact_key"], condition=Q(state=TaskState.WITHDRAWN), name="task_withdrawn_key"
            ),
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

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="proofs", db_index=False, db_constraint=False)
    grader = models.ForeignKey(Grader, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    outcome = models.CharField(max_length=10)  # proved | unproved | rejected
    code = models.CharField(max_length=40, blank=True)  # as of tasks.proof.Proof
    reason = models.CharField(max_length=300, blank=True)
    gold = models.JSONField(null=True)  # the grade of the gold completion
    decoys = models.JSONField(default=list)  # [{kind, outcome: DecoyOutcome, excerpt, reason}]
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [  # of the grader 64 bits: an entry of 64 hex digits would be longer than most proofs
            models.UniqueConstraint(
                F("task"),
                Func(F("grader"), Value(0), function="hashtextextended", output_field=models.BigIntegerField()),
                name="one_proof_per_grader",
            )
        ]

    def __str__(self) -> str:
        return f"{self.task_id}: {self.outcome}"


class TaskFinding(models.Model):
    """What a check found about a stored task, with its evidence: a rule never decides without saying by what."""

    class Kind(models.TextChoices):
        NEAR_DUPLICATE = "near_duplicate", "Nearly the same as another task"
        SUSPECT = "suspect", "Nearly the same prompt, another answer"
        OVERLAP = "overlap", "Shares text with a held-out suite"
        SIBLING = "sibling", "A held-out task with other numbers"
        SECRET = "secret", "Looks like a secret"
        PERSONAL = "personal", "Looks like personal data"
        LANGUAGE = "language", "Not in a wanted language"
        NEVER_SOLVED = "never_solved", "Never solved: is the reference right?"

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="findings", db_constraint=False)
    kind = models.CharField(max_length=20, choices=Kind)
    rule = models.CharField(max_length=40)  # near | wrapped | grams | a pattern's name | no_answer_passed | upheld
    other = models.BigIntegerField(null=True)  # the other task, where there is one
    similarity = models.FloatField(null=True)  # in [0, 1]
    evidence = models.JSONField(default=dict)  # shared text; field, start and end of what was found

    class Meta:
        indexes = [models.Index(fields=["other"], condition=Q(other__isnull=False), name="finding_other")]
        constraints = [
            models.UniqueConstraint(fields=["task"], condition=Q(kind="never_solved"), name="one_suspicion_per_task")
        ]

    def __str__(self) -> str:
        return f"{self.task_id}: {self.kind} ({self.rule})"
