"""Gate policies as they were: each change is a version with its digest, who made it and why."""

from typing import Any

from django.db import models

from tasks.models.accounts import Team, User
from trainer.models.lines import Line


class PolicyVersionQuerySet(models.QuerySet["PolicyVersion"]):
    def for_user(self, user: Any, team: Team | None = None) -> "PolicyVersionQuerySet":
        return self.filter(line__in=Line.objects.for_user(user, team))


class PolicyVersion(models.Model):
    """The newest of a line is the one in force; `Line.policy` holds the same body."""

    line = models.ForeignKey(Line, on_delete=models.CASCADE, related_name="policies")
    number = models.PositiveIntegerField()
    body = models.JSONField()  # trainer.evaluation.policy.GatePolicy, every default written out
    digest = models.CharField(max_length=64)
    reason = models.CharField(max_length=300, blank=True)
    set_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")  # None: the platform
    set_at = models.DateTimeField(auto_now_add=True)

    objects = PolicyVersionQuerySet.as_manager()

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["line", "number"], name="one_policy_number")]

    def __str__(self) -> str:
        return f"policy {self.number} of {self.line}"
