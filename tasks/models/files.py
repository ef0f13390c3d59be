"""Stored files: what a team keeps under a name and a purpose, whichever way it came."""

import uuid
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

from tasks.models.accounts import Team, User
from tasks.models.datasets import Dataset
from tasks.models.moves import Moving, StateModel
from tasks.models.uploads import RowIssue, Upload
from tasks.states import PARTS_MOVES, FilePurpose, PartsState

_PURPOSES = [(purpose.value, purpose.value) for purpose in FilePurpose]


class FileQuerySet(models.QuerySet["File"]):
    def live(self) -> "FileQuerySet":
        """Neither deleted nor past their time."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), deleted_at=None)

    def for_user(self, user: Any, team: Team | None = None) -> "FileQuerySet":
        """Live ones: a file of rows is seen by whoever sees its dataset, any other by the members of its team."""
        members = Q(upload=None, team__in=user.team_ids())
        if team is not None:
            members &= Q(team=team)
        return self.live().filter(members | Q(upload__dataset__in=Dataset.objects.for_user(user, team)))

    def with_first_issue(self) -> "FileQuerySet":
        """`first_line` and `first_sentence`: what is wrong with the first bad row of its import."""
        first = RowIssue.objects.filter(upload=models.OuterRef("upload")).order_by("line", "pk")
        return self.select_related("upload").annotate(
            first_line=models.Subquery(first.values("line")[:1]),
            first_sentence=models.Subquery(first.values("sentence")[:1]),
        )


class File(models.Model):
    """Bytes under team prefix + sha-256, as an upload's, which they are where they have one: there is one store."""

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="files")
    uploaded_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    filename = models.CharField(max_length=255)  # a label
    purpose = models.CharField(max_length=20, choices=_PURPOSES)
    sha256 = models.CharField(max_length=64)
    bytes = models.BigIntegerField()
    upload = models.OneToOneField(Upload, null=True, on_delete=models.CASCADE, related_name="file")
    # Its bytes stay until it is deleted. Else they go some time after its rows are in, as PRUNE_FILES_DAYS says.
    kept = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)
    deleted_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    cleared_at = models.DateTimeField(null=True)  # when its rows and bytes were gone as well

    objects = FileQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["team", "sha256"], name="file_by_bytes"),
            models.Index(fields=["expires_at"], condition=Q(deleted_at=None), name="file_expiring"),
            models.Index(
                fields=["deleted_at"], condition=Q(cleared_at=None, deleted_at__isnull=False), name="file_to_clear"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.filename} ({self.purpose})"

    @property
    def storage_key(self) -> str:
        return f"team-{self.team_id}/{self.sha256[:2]}/{self.sha256}"


class FileInPartsQuerySet(Moving):
    def for_user(self, user: Any, team: Team | None = None) -> "FileInPartsQuerySet":
        rows = self.filter(team__in=user.team_ids())
        return rows if team is None else rows.filter(team=team)


class FileInParts(StateModel):
    """A file that comes in parts and becomes a File when its sender names them in order."""

    MOVES = PARTS_MOVES

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    filename = models.CharField(max_length=255)
    purpose = models.CharField(max_length=20, choices=_PURPOSES)
    bytes = models.BigIntegerField()  # announced
    mime_type = models.CharField(max_length=255, blank=True)
    seconds = models.PositiveIntegerField(null=True)  # how long the file shall live; null: until it is deleted
    state = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in PartsState], default=PartsState.PENDING
    )
    file = models.OneToOneField(File, null=True, on_delete=models.SET_NULL, related_name="+")
    order = models.JSONField(default=list)  # keys of the parts of which it was put together
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()

    objects = FileInPartsQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["expires_at"], condition=Q(state="pending"), name="parts_expiring")]

    def __str__(self) -> str:
        return f"{self.filename} in parts ({self.state})"


class FilePart(models.Model):
    """Bytes in incoming/<name>.piece, until the whole is completed, cancelled or expired."""

    whole = models.ForeignKey(FileInParts, on_delete=models.CASCADE, related_name="parts")
    name = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    bytes = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.whole_id}: {self.bytes} bytes"
