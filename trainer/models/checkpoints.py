"""What a run leaves on its way: checkpoints that can be used as models, and the teams that may use what it made."""

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from tasks.models.accounts import Team, User
from trainer.models.lines import Line
from trainer.models.runs import TrainingRun
from trainer.models.versions import ModelVersion


class RunCheckpointQuerySet(models.QuerySet["RunCheckpoint"]):
    def for_user(self, user: Any, team: Team | None = None) -> "RunCheckpointQuerySet":
        return self.filter(run__line__in=Line.objects.for_user(user, team))


class RunCheckpoint(models.Model):
    """A step whose weights are kept: in the run's directory, and in the store from its first use on."""

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="checkpoints")
    step = models.PositiveIntegerField()
    digest = models.CharField(max_length=64, blank=True)  # of the artifact, once it is in the store
    gone_at = models.DateTimeField(null=True, blank=True)  # the run, pruning or somebody has let it go
    deleted_at = models.DateTimeField(null=True, blank=True)  # by somebody: never back, also while the run holds it
    created_at = models.DateTimeField(auto_now_add=True)

    objects = RunCheckpointQuerySet.as_manager()

    class Meta:
        ordering = ["-step"]
        constraints = [models.UniqueConstraint(fields=["run", "step"], name="one_checkpoint_per_step")]

    def __str__(self) -> str:
        return f"run {self.run_id} step {self.step}"

    @property
    def line(self) -> Line:
        return self.run.line

    @property
    def name(self) -> str:
        return f"run {self.run_id}, step {self.step}"

    @property
    def path(self) -> str:
        return str(settings.DATA_DIR / "models" / self.digest)


class ModelPermission(models.Model):
    """Another team may use what a run made: its version, or one of its checkpoints."""

    version = models.ForeignKey(ModelVersion, null=True, on_delete=models.CASCADE, related_name="permissions")
    checkpoint = models.ForeignKey(RunCheckpoint, null=True, on_delete=models.CASCADE, related_name="permissions")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="+")
    granted_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(version__isnull=True) ^ Q(checkpoint__isnull=True), name="permission_has_one_model"
            ),
            models.UniqueConstraint(
                fields=["version", "checkpoint", "team"], nulls_distinct=False, name="one_permission_per_team"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.team} may use {self.version or self.checkpoint}"
