"""Datasets, the graders of their rows, their memberships and their frozen versions."""

from typing import Any

from django.db import models
from django.db.models import Q

from tasks.models.accounts import Team, User, pool_roles
from tasks.models.moves import Moving, StateModel
from tasks.states import CHANGE_MOVES, ChangeState, Role, Visibility


class Grader(models.Model):
    """A grader configuration, versioned by digest: equal configurations are one row."""

    digest = models.CharField(primary_key=True, max_length=64)
    type = models.CharField(max_length=40)
    config = models.JSONField()

    def __str__(self) -> str:
        return f"{self.type} {self.digest[:8]}"


class DatasetQuerySet(models.QuerySet["Dataset"]):
    def for_user(self, user: Any, team: Team | None = None) -> "DatasetQuerySet":
        """Own teams' datasets; the pool's workers see contributed ones too. `team` narrows to an API key's team.

        Who brings rows to train on sees no held-out dataset of the team: its reviewers and operators do."""
        trusted = [role for role in Role if role is not Role.CONTRIBUTOR]
        mine = Q(team__memberships__user=user) & (Q(held_out=False) | Q(team__memberships__role__in=trusted))
        if team is not None:
            mine &= Q(team=team)
        if pool_roles(user) - {Role.CONTRIBUTOR} and (team is None or team.is_system):
            mine |= Q(visibility=Visibility.CONTRIBUTED)
        return self.filter(mine).distinct()


class Dataset(models.Model):
    """A named collection of tasks of one team. Private: its own space. Contributed: its tasks are in the pool."""

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="datasets")
    space = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")  # the pool's system team, or `team`
    slug = models.SlugField(max_length=80)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    domain = models.CharField(max_length=64, blank=True)  # of rows that name none
    visibility = models.CharField(max_length=12, choices=[(v.value, v.value) for v in Visibility])
    licence = models.CharField(max_length=60, blank=True)  # SPDX id; required where contributed
    consent_version = models.CharField(max_length=20, blank=True)
    held_out = models.BooleanField(default=False)  # every row is sealed: it is a suite, and nothing is trained on it
    default_grader = models.ForeignKey(Grader, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = DatasetQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["team", "slug"], name="one_dataset_per_slug")]

    def __str__(self) -> str:
        return f"{self.team.slug}/{self.slug}"


class DatasetTask(models.Model):
    """A membership: this row of this upload is that task. A repeated task adds provenance, not a copy.

    Without foreign keys in the database, as tasks are.
    """

    class MembershipRole(models.TextChoices):
        SPLIT = "split", "By the prompt's split"
        TRAIN = "train", "Trains (OpenAI jobs, small private sets)"
        VALIDATION = "validation", "Validates"

    dataset = models.ForeignKey(
        Dataset, on_delete=models.CASCADE, related_name="memberships", db_index=False, db_constraint=False
    )
    task = models.ForeignKey("tasks.Task", on_delete=models.CASCADE, related_name="memberships", db_constraint=False)
    upload = models.ForeignKey(
        "tasks.Upload", on_delete=models.CASCADE, related_name="memberships", db_index=False, db_constraint=False
    )
    line = models.PositiveIntegerField()
    role = models.CharField(max_length=10, choices=MembershipRole, default=MembershipRole.SPLIT)
    duplicate = models.BooleanField(default=False)  # the task was there before this row

    class Meta:
        constraints = [models.UniqueConstraint(fields=["upload", "line"], name="one_membership_per_row")]
        indexes = [models.Index(fields=["dataset", "task"], name="dataset_task")]

    def __str__(self) -> str:
        return f"{self.dataset_id}:{self.line} → {self.task_id}"


class GraderChange(StateModel):
    """A dataset's change to another grader: its tasks that the old one graded go back to proof, chunk by chunk."""

    MOVES = CHANGE_MOVES

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="grader_changes")
    old = models.ForeignKey(Grader, null=True, on_delete=models.PROTECT, related_name="+")
    new = models.ForeignKey(Grader, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in ChangeState], default=ChangeState.PENDING
    )
    attempt = models.PositiveIntegerField(default=0)
    tries = models.PositiveSmallIntegerField(default=0)  # as of Upload
    lease_until = models.DateTimeField(null=True, blank=True)
    counts = models.JSONField(default=dict)  # changed, copied, twins, rejected
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = Moving.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.dataset_id}: {self.new_id[:8]} ({self.state})"

    @property
    def owner_team_id(self) -> int:
        return self.dataset.team_id


class DatasetVersionQuerySet(models.QuerySet["DatasetVersion"]):
    def for_user(self, user: Any, team: Team | None = None) -> "DatasetVersionQuerySet":
        return self.filter(dataset__in=Dataset.objects.for_user(user, team))


class DatasetVersion(models.Model):
    """Frozen, content-hashed set of approved tasks: what the data side hands to the model side."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)  # sha-256 over the sorted content digests of its tasks
    task_count = models.PositiveIntegerField()
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = DatasetVersionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "number"], name="one_number_per_dataset"),
            models.UniqueConstraint(fields=["dataset", "digest"], name="one_version_per_content"),
        ]

    def __str__(self) -> str:
        return f"{self.dataset} v{self.number}"


class DatasetVersionTask(models.Model):
    version = models.ForeignKey(DatasetVersion, on_delete=models.CASCADE, related_name="entries", db_index=False)
    task = models.ForeignKey("tasks.Task", on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "task"], name="one_entry_per_task")]

    def __str__(self) -> str:
        return f"{self.version_id}:{self.task_id}"
