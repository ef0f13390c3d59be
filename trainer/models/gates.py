"""Gate reports: what a verdict was, and why. Immutable."""

from typing import Any

from django.db import models

from tasks.models.accounts import Team
from trainer.models.evaluations import Evaluation
from trainer.models.lines import Line
from trainer.states import Verdict


class GateReportQuerySet(models.QuerySet["GateReport"]):
    def for_user(self, user: Any, team: Team | None = None) -> "GateReportQuerySet":
        return self.filter(line__in=Line.objects.for_user(user, team))


class GateReport(models.Model):
    """The decision of trainer.evaluation.gates on one evaluation."""

    line = models.ForeignKey(Line, on_delete=models.PROTECT, related_name="reports")
    evaluation = models.OneToOneField(Evaluation, on_delete=models.PROTECT, related_name="report")
    verdict = models.CharField(max_length=12, choices=[(v.value, v.value) for v in Verdict])
    sentence = models.CharField(max_length=500)
    decision = models.JSONField()  # trainer.evaluation.gates.GateDecision
    flips = models.JSONField(default=list)  # regressions first: prompt, both answers, both reasons
    policy_digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = GateReportQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.verdict}: {self.sentence}"
