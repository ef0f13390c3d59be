"""Uploads (files as received) and the issues of their rows."""

import uuid
from typing import Any

from django.db import models

from tasks.models.accounts import Team, User
from tasks.models.columns import HexColumn
from tasks.models.datasets import Dataset
from tasks.models.moves import Moving, StateModel
from tasks.states import (
    PROOF_MOVES,
    UPLOAD_MOVES,
    WRAPPER_MOVES,
    ProofState,
    UploadMode,
    UploadState,
    WrapperState,
)

# The failure of an upload that somebody has given up.
WITHDRAWN = "Withdrawn before a row of it was imported: upload the same file again to have it after all."


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
    mode = models.CharField(max_length=10, choices=[(m.value, m.value) for m in UploadMode], default=UploadMode.APPEND)
    corrects = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="corrections")
    waived = models.JSONField(default=list)  # codes of checks that a reviewer has lifted for these rows (Appeal)
    format = models.CharField(max_length=20, blank=True)  # tasks.formats.source; "" until its head was read
    mapping = models.JSONField(null=True)  # tasks.formats.mapping.Mapping; null: not decided yet
    detected = models.JSONField(default=dict)  # columns with samples, dialect, the mapping guessed, rows if known
    failure = models.CharField(max_length=500, blank=True)  # one sentence, when failed
    attempt = models.PositiveIntegerField(default=0)
    tries = models.PositiveSmallIntegerField(default=0)  # attempts since the last committed chunk; three quarantine
    lease_until = models.DateTimeField(null=True, blank=True)
    offset = models.BigIntegerField(default=0)  # where a retry goes on: bytes of JSON Lines, rows of other formats
    read_bytes = models.BigIntegerField(default=0)  # of the stored file, imported and committed: how far it is
    line = models.PositiveIntegerField(default=0)  # last line imported
    # rows, valid, needs_grader, duplicates, conflicts, rejected {code: n}, found {kind of finding: n}
    counts = models.JSONField(default=dict)
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
    def withdrawn(self) -> bool:
        """Ended by a person, not by a fault."""
        return bool(self.state == UploadState.FAILED and self.failure == WITHDRAWN)

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

    upload = models.ForeignKey(
        Upload, on_delete=models.CASCADE, related_name="issues", db_index=False, db_constraint=False
    )
    line = models.PositiveIntegerField()
    field = models.CharField(max_length=200, blank=True)
    code = models.CharField(max_length=40)
    sentence = models.CharField(max_length=500)
    remedy = models.CharField(max_length=500, blank=True)
    value = models.CharField(max_length=200, blank=True)
    evidence = models.JSONField(null=True)  # what a check decided by: the suite, the share, the shared text

    class Meta:
        ordering = ["line", "id"]
        indexes = [
            models.Index(fields=["upload", "code", "line"], name="issue_by_code"),
            models.Index(fields=["upload", "line"], name="issue_by_line"),
        ]

    def __str__(self) -> str:
        return f"line {self.line}: {self.sentence}"


class SavedMapping(models.Model):
    """How a person mapped these columns the last time."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", db_index=False)
    columns = HexColumn(max_length=32)  # hash of the columns' names
    mapping = models.JSONField()
    used_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "columns"], name="one_mapping_per_columns")]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.columns[:8]}"


class PartialUpload(models.Model):
    """A file on its way in pieces (tus 1.0). Its bytes lie in incoming/<id>.tus; how many there are is its offset."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    filename = models.CharField(max_length=255)
    length = models.BigIntegerField()
    options = models.JSONField(default=dict)  # mode, mapping, corrects: as of Upload
    upload = models.ForeignKey(Upload, null=True, on_delete=models.CASCADE, related_name="+")  # once it is whole
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.filename} ({self.length} bytes)"


class Wrapper(StateModel):
    """An instruction line around questions. Approved ones are taken off before prompts of their space are compared."""

    MOVES = WRAPPER_MOVES

    space = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="wrappers")
    text = models.CharField(max_length=300)  # folded, as tasks.dedup.wrappers reads it
    state = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in WrapperState], default=WrapperState.PROPOSED
    )
    rows = models.PositiveIntegerField(default=0)  # of the upload that proposed it
    example = models.CharField(max_length=300, blank=True)
    upload = models.ForeignKey(Upload, null=True, on_delete=models.SET_NULL, related_name="+")
    decided_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    rekeyed = models.BigIntegerField(default=0)  # id of the last stored task keyed by the decision; -1: all are
    at = models.DateTimeField(auto_now_add=True)

    objects = Moving.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["space", "text"], name="one_wrapper_per_text")]

    def __str__(self) -> str:
        return self.text

    @property
    def owner_team_id(self) -> int:
        return self.space_id
