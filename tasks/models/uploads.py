"""Uploads (files as received) and the issues of their rows."""

from typing import Any

from django.db import models

from tasks.models.accounts import Team, User
from tasks.models.datasets import Dataset
from tasks.models.moves import Moving, StateModel
from tasks.states import PROOF_MOVES, UPLOAD_MOVES, ProofState, UploadState


class UploadQuerySet(Moving):
    def for_user(self, user: Any, team: Team | None = None) -> "UploadQuerySet":
        return self.filter(dataset__in=Dataset.objects.for_user(user, team))


class Upload(StateModel):
    """A file and its import. Stored under team prefix + sha-256; the user's file name is only a label."""

    MOVES = UPLOAD_MOVES

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="uploads")
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="uploads")
    uploaded_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    filename = models.CharField(max_length=255)
    sha256 = models.CharField(max_length=64)
    bytes = models.BigIntegerField()
    state = models.CharField(
        max_length=12, choices=[(s.value, s.value) for s in UploadState], default=UploadState.RECEIVED
    )
    failure = models.CharField(max_length=500, blank=True)  # one sentence, when failed
    attempt = models.PositiveIntegerField(default=0)
    tries = models.PositiveSmallIntegerField(default=0)  # attempts since the last committed chunk; three quarantine
    lease_until = models.DateTimeField(null=True, blank=True)
    offset = models.BigIntegerField(default=0)  # bytes imported and committed: where a retry goes on
    line = models.PositiveIntegerField(default=0)  # last line imported
    counts = models.JSONField(default=dict)  # rows, valid, needs_grader, duplicates, conflicts, rejected {code: n}
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = UploadQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["dataset", "sha256"], name="same_bytes_once_per_dataset")]

    def __str__(self) -> str:
        return f"{self.filename} ({self.state})"

    @property
    def storage_key(self) -> str:
        return f"team-{self.team_id}/{self.sha256[:2]}/{self.sha256}"


class ProofRun(StateModel):
    """The proof of one upload's valid tasks: a stage of its own, with its own state and rate."""

    MOVES = PROOF_MOVES

    upload = models.OneToOneField(Upload, on_delete=models.CASCADE, related_name="proof")
    state = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in ProofState], default=ProofState.PENDING
    )
    attempt = models.PositiveIntegerField(default=0)
    tries = models.PositiveSmallIntegerField(default=0)  # as of Upload
    lease_until = models.DateTimeField(null=True, blank=True)
    # tasks, proved, unproved, rejected, approved; ungradable {grader type: {flag: grades}};
    # matrix {grader type: tasks.proof.Tally}; refused {grader type: [sentence]}
    counts = models.JSONField(default=dict)
    refusals = models.JSONField(default=list)  # sentences, one a refused grader
    estimate = models.JSONField(default=dict)  # of what judges cost: tasks.services.judged.Estimate
    agreed_rows = models.PositiveIntegerField(null=True, blank=True)  # to be judged; null: nobody has agreed yet
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = Moving.as_manager()

    def __str__(self) -> str:
        return f"proof of {self.upload_id} ({self.state})"

    @property
    def owner_team_id(self) -> int:
        return self.upload.team_id


class ProofFinding(models.Model):
    """A cell of an upload's matrix in which a row stands, where that is not as it should be (nearly all are)."""

    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="findings", db_index=False)
    kind = models.CharField(max_length=40)  # of grader
    cell = models.CharField(max_length=20)  # gold, or a decoy's kind
    outcome = models.CharField(max_length=12)
    line = models.PositiveIntegerField()
    task = models.ForeignKey("tasks.Task", on_delete=models.CASCADE, related_name="+", db_index=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["upload", "kind", "cell", "outcome", "line"], name="one_finding_per_cell")
        ]

    def __str__(self) -> str:
        return f"line {self.line}: {self.cell} {self.outcome}"


class RowIssue(models.Model):
    """What is wrong with one row of an upload (tasks.types.Issue, stored)."""

    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="issues", db_index=False)
    line = models.PositiveIntegerField()
    field = models.CharField(max_length=200, blank=True)
    code = models.CharField(max_length=40)
    sentence = models.CharField(max_length=500)
    remedy = models.CharField(max_length=500, blank=True)
    value = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["line", "id"]
        indexes = [
            models.Index(fields=["upload", "code", "line"], name="issue_by_code"),
            models.Index(fields=["upload", "line"], name="issue_by_line"),
        ]

    def __str__(self) -> str:
        return f"line {self.line}: {self.sentence}"
