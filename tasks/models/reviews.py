"""Decisions of people on tasks."""

from django.db import models

from tasks.models.accounts import Team, User
from tasks.models.moves import Moving, StateModel
from tasks.models.tasks import Task
from tasks.models.uploads import Upload
from tasks.states import APPEAL_MOVES, AppealState


class Review(models.Model):
    """One decision on one task, kept when it is undone. `before` is the state to which an undo returns."""

    class Decision(models.TextChoices):
        APPROVED = "approved"
        REJECTED = "rejected"

    class ReasonCode(models.TextChoices):
        WRONG_REFERENCE = "wrong_reference", "The reference is wrong"
        AMBIGUOUS = "ambiguous", "More than one answer is right"
        UNCLEAR = "unclear", "The prompt is unclear"
        WEAK_GRADER = "weak_grader", "The grader accepts wrong answers"
        DUPLICATE = "duplicate", "Says the same as another task"
        OFF_TOPIC = "off_topic", "Not wanted in this pool"
        UNSAFE = "unsafe", "Harmful or private content"
        OTHER = "other", "Other: see the note"

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="reviews")
    space = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")
    reviewer = models.ForeignKey(User, on_delete=models.PROTECT, related_name="reviews")
    decision = models.CharField(max_length=10, choices=Decision)
    reason_code = models.CharField(max_length=20, choices=ReasonCode, blank=True)
    note = models.CharField(max_length=500, blank=True)
    before = models.CharField(max_length=12)
    batch = models.UUIDField(null=True, blank=True, db_index=True)  # decisions of one bulk action, undone together
    at = models.DateTimeField(auto_now_add=True)
    undone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.decision} task {self.task_id}"


class Appeal(StateModel):
    """A contributor asks for another look at a rejection: of a task, or of a row that was refused at import."""

    MOVES = APPEAL_MOVES

    space = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")  # whose reviewers answer
    task = models.ForeignKey(Task, null=True, on_delete=models.CASCADE, related_name="appeals")
    upload = models.ForeignKey(Upload, null=True, on_delete=models.CASCADE, related_name="appeals")
    line = models.PositiveIntegerField(default=0)  # of the upload's file, where the row was refused
    code = models.CharField(max_length=40, blank=True)  # why it was rejected
    note = models.CharField(max_length=1000)  # why the contributor thinks that it is right
    asked_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=10, choices=[(s.value, s.value) for s in AppealState], default=AppealState.OPEN)
    answer = models.CharField(max_length=1000, blank=True)
    answered_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(auto_now_add=True)
    answered_at = models.DateTimeField(null=True, blank=True)

    objects = Moving.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["task"], condition=models.Q(state=AppealState.OPEN), name="one_open_appeal_per_task"
            ),
            models.UniqueConstraint(
                fields=["upload", "line"],
                condition=models.Q(state=AppealState.OPEN, task=None),
                name="one_open_appeal_per_row",
            ),
        ]

    def __str__(self) -> str:
        return f"appeal {self.pk} ({self.state})"

    @property
    def owner_team_id(self) -> int:
        return self.space_id
