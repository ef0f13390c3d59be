"""Registered checkpoints, and the builds of local bases."""

from typing import Any

from django.conf import settings
from django.db import models

from tasks.models.accounts import Team
from tasks.models.moves import Moving
from trainer.models.engine_work import EngineWork
from trainer.models.lines import Line
from trainer.states import EVALUATION_MOVES, AliasName, EvaluationState


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    def for_user(self, user: Any, team: Team | None = None) -> "ModelVersionQuerySet":
        return self.filter(line__in=Line.objects.for_user(user, team))

    def without_controls(self) -> "ModelVersionQuerySet":
        """Those that something may be made of: not what a coin has trained."""
        return self.exclude(pk__in=ModelVersion.objects.filter(run__spec__random_rewards=True).values("pk"))

    def to_be_evaluated(self) -> "ModelVersionQuerySet":
        """What training has made, where the line evaluates by itself and has not yet."""
        return self.filter(
            line__auto_evaluate=True,
            run__isnull=False,
            evaluations=None,
            aliases__name=AliasName.CHALLENGER,
            not_evaluated="",
        )


class ModelVersion(models.Model):
    """An immutable artifact in DATA_DIR/models/<digest>, numbered within its line."""

    line = models.ForeignKey(Line, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)  # of the artifact's manifest
    parent = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="children")
    run = models.OneToOneField("trainer.TrainingRun", null=True, on_delete=models.PROTECT, related_name="version")
    origin = models.CharField(max_length=200)  # "built locally", "directory", "hub: owner/name@revision", "run 12"
    revision = models.CharField(max_length=64, blank=True)
    parameters = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)
    kl = models.JSONField(null=True)  # trainer.contract.Estimate: exact KL to its run's start, nats a sequence
    not_evaluated = models.CharField(max_length=500, blank=True)  # why no evaluation started by itself: one sentence
    retired_at = models.DateTimeField(null=True, blank=True)  # from then on no name leads to it
    environment = models.JSONField(default=dict)  # of the engine that made it: trainer.contract.Result.environment
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ModelVersionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["line", "number"], name="one_number_per_line")]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        return f"{self.line.slug}/v{self.number}"

    @property
    def is_control(self) -> bool:
        return self.run is not None and self.run.is_control

    @property
    def path(self) -> str:
        return str(settings.DATA_DIR / "models" / self.digest)


class BaseBuild(EngineWork):
    """The making of a line's version 0: built here from demonstrations, copied, or fetched."""

    class Source(models.TextChoices):
        LOCAL = "local", "Built here from flawed demonstrations"
        DIRECTORY = "directory", "A causal LM directory"
        HUB = "hub", "A hub id with a pinned revision"

    MOVES = EVALUATION_MOVES

    line = models.OneToOneField(Line, on_delete=models.PROTECT, related_name="base_build")
    source = models.CharField(max_length=10, choices=Source)
    location = models.CharField(max_length=500, blank=True)  # directory or hub id
    revision = models.CharField(max_length=64, blank=True)
    seed = models.PositiveIntegerField(default=0)
    steps = models.PositiveIntegerField(default=0)  # of a local build; 0: the engine's default
    demonstrations = models.CharField(max_length=200, blank=True)  # file under DATA_DIR, of a local build
    state = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in EvaluationState], default=EvaluationState.QUEUED
    )

    objects = Moving.as_manager()

    def __str__(self) -> str:
        return f"base of {self.line}"
