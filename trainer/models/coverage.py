"""What was counted of a shared line's domains, for the public list of what is wanted."""

from typing import Any

from django.db import models

from tasks.models.accounts import Team
from trainer.models.lines import Line
from trainer.models.versions import ModelVersion


class DomainCountQuerySet(models.QuerySet["DomainCount"]):
    def for_user(self, user: Any, team: Team | None = None) -> "DomainCountQuerySet":
        return self.filter(line__in=Line.objects.for_user(user, team))


class DomainCount(models.Model):
    """The newest count of a line's domains: one row a line, replaced by a job. Derived: lost, it is counted again."""

    line = models.OneToOneField(Line, on_delete=models.CASCADE, related_name="domain_count")
    champion = models.ForeignKey(ModelVersion, null=True, on_delete=models.SET_NULL, related_name="+")  # whose rates
    domains = models.JSONField(default=dict)  # {domain: {rows, measured, solved, sealed}}
    needed = models.JSONField(default=dict)  # {domain: sealed rows for its guard, or null}: planning takes a moment
    policy = models.CharField(max_length=64)  # digest of the gate policy that `needed` was planned with
    seconds = models.FloatField(default=0.0)  # that counting took
    counted_at = models.DateTimeField()

    objects = DomainCountQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.line}: {len(self.domains)} domains"
