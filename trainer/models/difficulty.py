"""How often a version solves each task: the checks that measure it, and the rates that they leave."""

from typing import Any

from django.db import models
from django.db.models import Q

from tasks.models.accounts import Team, User
from tasks.models.columns import HexColumn
from tasks.models.datasets import Dataset
from tasks.models.moves import Moving
from trainer.models.engine_work import EngineWork
from trainer.models.lines import Line
from trainer.models.recipes import Recipe
from trainer.models.schedules import Schedule
from trainer.models.versions import ModelVersion
from trainer.states import EVALUATION_MOVES, EvaluationState


class DifficultyCheckQuerySet(Moving):
    def for_user(self, user: Any, team: Team | None = None) -> "DifficultyCheckQuerySet":
        return self.filter(line__in=Line.objects.for_user(user, team))


class DifficultyCheck(EngineWork):
    """A version answers the tasks of a recipe, or of a dataset, that have no pass rate for it yet, k times each."""

    MOVES = EVALUATION_MOVES

    line = models.ForeignKey(Line, on_delete=models.PROTECT, related_name="difficulty_checks")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="difficulty_checks")
    recipe = models.ForeignKey(Recipe, null=True, on_delete=models.PROTECT, related_name="difficulty_checks")
    dataset = models.ForeignKey(Dataset, null=True, on_delete=models.PROTECT, related_name="difficulty_checks")
    space = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")  # of the tasks
    sampling = models.JSONField()  # trainer.contract.Sampling
    known = models.PositiveIntegerField(default=0)  # tasks that had a rate already: they are not asked again
    asked = models.PositiveIntegerField(default=0)
    measured = models.PositiveIntegerField(default=0)  # tasks with a rate now
    solved = models.PositiveIntegerField(default=0)  # of these, by every answer
    never_solved = models.PositiveIntegerField(default=0)  # of these, by none, and none earned anything
    ungradable = models.PositiveIntegerField(default=0)  # answers that could not be graded
    fault = models.CharField(max_length=300, blank=True)  # why, of the last of them
    tokens = models.BigIntegerField(default=0)
    answers_offset = models.BigIntegerField(default=0)  # bytes of answers.jsonl that are stored
    requested_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")  # None: a schedule
    schedule = models.ForeignKey(Schedule, null=True, on_delete=models.SET_NULL, related_name="+")  # its run waits
    followed_at = models.DateTimeField(null=True)  # when that run was started, or refused
    state = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in EvaluationState], default=EvaluationState.QUEUED
    )

    objects = DifficultyCheckQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(recipe__isnull=True) ^ Q(dataset__isnull=True), name="check_has_one_source"
            )
        ]

    def __str__(self) -> str:
        return f"difficulty check {self.pk} of {self.line.slug} ({self.state})"


class PassRateQuerySet(models.QuerySet["PassRate"]):
    def for_user(self, user: Any, team: Team | None = None) -> "PassRateQuerySet":
        """Of artifacts of lines that the user may see. Of which tasks is for the caller to say."""
        visible = ModelVersion.objects.for_user(user, team)
        return self.filter(version__in=visible)


class PassRate(models.Model):
    """How often one artifact solved one task: a cache by artifact, by what the task asks, and by how it was asked.

    Written by the thousand and looked up by content, which is a digest of messages, item, gold and grader: a task that
    asks something else has no rate. Kept per space, so that no team learns what another has measured.
    """

    space = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    content = HexColumn(max_length=64)  # tasks.models.Task.content_digest
    model = HexColumn(max_length=64)  # digest of the artifact
    sampling = HexColumn(max_length=32)  # of k, temperature and token limit
    version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )  # the first that was asked with this artifact
    task = models.BigIntegerField()  # the task that was asked
    answers = models.PositiveSmallIntegerField()  # k
    graded = models.PositiveSmallIntegerField()  # of these, from 1 to k
    passes = models.PositiveSmallIntegerField()  # with full marks
    reward = models.FloatField()  # mean of the graded ones
    at = models.DateTimeField(auto_now_add=True)

    objects = PassRateQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["space", "content", "model", "sampling"], name="one_rate_per_content")
        ]
        indexes = [models.Index(fields=["space", "model", "sampling"], name="rates_of_a_model")]

    def __str__(self) -> str:
        return f"{self.passes} of {self.graded}"

    @property
    def rate(self) -> float:
        return self.passes / self.graded
