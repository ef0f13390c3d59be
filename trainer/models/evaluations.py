"""Frozen suites and evaluations of versions on them."""

from typing import Any

from django.db import models

from tasks.models.accounts import Team, User
from tasks.models.moves import Moving
from trainer.models.engine_work import EngineWork
from trainer.models.lines import Line
from trainer.models.versions import ModelVersion
from trainer.states import EVALUATION_MOVES, EvaluationState


class SuiteVersionQuerySet(models.QuerySet["SuiteVersion"]):
    def for_user(self, user: Any, team: Team | None = None) -> "SuiteVersionQuerySet":
        return self.filter(line__in=Line.objects.for_user(user, team))


class SuiteVersion(models.Model):
    """Held-out tasks of one domain, frozen by digest. Only the gate reads sealed items, through one of these."""

    line = models.ForeignKey(Line, on_delete=models.PROTECT, related_name="suites")
    name = models.CharField(max_length=80)  # the domain
    number = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    item_count = models.PositiveIntegerField()
    looks = models.PositiveIntegerField(default=0)  # candidates that were evaluated on it
    created_at = models.DateTimeField(auto_now_add=True)

    objects = SuiteVersionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["line", "name", "number"], name="one_suite_number"),
            models.UniqueConstraint(fields=["line", "name", "digest"], name="one_suite_per_content"),
        ]

    def __str__(self) -> str:
        return f"{self.name} v{self.number} ({self.item_count} items)"


class SuiteItem(models.Model):
    suite = models.ForeignKey(SuiteVersion, on_delete=models.CASCADE, related_name="items")
    position = models.PositiveIntegerField()
    task = models.ForeignKey("tasks.Task", on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["suite", "position"], name="one_item_per_position")]

    def __str__(self) -> str:
        return f"{self.suite_id}[{self.position}]"


class EvaluationQuerySet(Moving):
    def for_user(self, user: Any, team: Team | None = None) -> "EvaluationQuerySet":
        return self.filter(line__in=Line.objects.for_user(user, team))


class Evaluation(EngineWork):
    """Champion and candidate on the same sealed items, K answers each. What is known of a side is not asked again."""

    MOVES = EVALUATION_MOVES

    line = models.ForeignKey(Line, on_delete=models.PROTECT, related_name="evaluations")
    candidate = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="evaluations")
    champion = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="defences")
    anchor = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="+")
    suites = models.ManyToManyField(SuiteVersion, related_name="evaluations")
    sampling = models.JSONField()  # trainer.contract.Sampling
    policy = models.JSONField()  # the gate policy as it was when this started
    policy_digest = models.CharField(max_length=64)
    plan = models.JSONField(default=dict)  # what planning said: n, K, minimal detectable effect a suite, sentences
    exposure = models.JSONField(default=list)  # trainer.evaluation.exposure.Exposure of each suite, as it began
    extends = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="extensions")
    look = models.PositiveSmallIntegerField(default=1)  # which of the policy's looks at the candidate
    requested_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    state = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in EvaluationState], default=EvaluationState.QUEUED
    )

    objects = EvaluationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"evaluation {self.pk}: {self.candidate} against {self.champion}"


class AnsweredSuite(models.Model):
    """A suite as a side answered it. Known by model, items and settings: the same three are not answered again."""

    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="answered")
    side = models.CharField(max_length=10)
    suite = models.CharField(max_length=80)
    model_digest = models.CharField(max_length=64)
    items_digest = models.CharField(max_length=64)  # of the items that were asked: a further look may ask a part
    settings_digest = models.CharField(max_length=64)  # sampling, and the programs that graded
    taken_from = models.ForeignKey(Evaluation, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["evaluation", "side", "suite"], name="one_answer_per_side")]
        indexes = [models.Index(fields=["model_digest", "items_digest", "settings_digest"], name="answered_before")]

    def __str__(self) -> str:
        return f"{self.side} on {self.suite} in evaluation {self.evaluation_id}"
