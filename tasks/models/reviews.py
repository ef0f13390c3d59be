"""Decisions of people on tasks."""

from django.db import models

from tasks.models.accounts import Team, User
from tasks.models.tasks import Task


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
