"""What versions did on their contributors' own held-out rows, and under which names contributors are credited."""

from typing import Any

from django.db import models
from django.db.models import Q

from tasks.models.accounts import Team
from tasks.models.datasets import Dataset
from trainer.evaluation.claim import Claim
from trainer.models.gates import GateReport


class CreditEntryQuerySet(models.QuerySet["CreditEntry"]):
    def for_user(self, user: Any, team: Team | None = None) -> "CreditEntryQuerySet":
        """Of datasets that the user may see, and of their teams as a whole."""
        teams = Q(team__memberships__user=user) if team is None else Q(team=team, team__memberships__user=user)
        datasets = Q(dataset__in=Dataset.objects.for_user(user, team))
        reports = GateReport.objects.for_user(user, team)
        return self.filter(datasets | (Q(dataset=None) & teams), report__in=reports).distinct()


class CreditEntry(models.Model):
    """A candidate beside the champion of its day, on the held-out items that one dataset brought. Derived from the
    answers of an evaluation by trainer.services.credit, and remembered because those files go.

    What is measured of all datasets of a team together has no dataset: two of them may share items.
    """

    report = models.ForeignKey(GateReport, on_delete=models.CASCADE, related_name="credit")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")
    dataset = models.ForeignKey(Dataset, null=True, on_delete=models.PROTECT, related_name="credit")
    rows = models.PositiveIntegerField()  # of what trained the candidate; 0: measured, had no part in it
    # trainer.evaluation.credit.Effect, in score units; null where none of its rows was asked
    effect = models.JSONField(null=True)
    sums = models.JSONField(default=dict)  # cluster → [items, Σ difference]: what promotions are added up from
    claim = models.CharField(max_length=24, choices=[(c.value, c.value) for c in Claim])
    adjusted_p = models.FloatField(default=1.0)  # over all datasets, or all teams, of the report
    fewest = models.PositiveIntegerField()  # clusters that the gate's policy asked for

    objects = CreditEntryQuerySet.as_manager()

    class Meta:
        ordering = ["-report_id", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["report", "dataset"], name="one_credit_per_dataset"),
            models.UniqueConstraint(fields=["report", "team"], condition=Q(dataset=None), name="one_credit_per_team"),
        ]

    def __str__(self) -> str:
        return f"{self.dataset or self.team} in report {self.report_id}: {self.claim}"


class CreditName(models.Model):
    """How a team is named on the leaderboard. A team without a row goes by its own name."""

    team = models.OneToOneField(Team, on_delete=models.CASCADE, related_name="credit_name")
    name = models.CharField(max_length=60, blank=True)  # "": the team's own
    anonymous = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"{self.team_id}: {'anonymous' if self.anonymous else self.name}"
