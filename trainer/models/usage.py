"""What engines have spent for whom. Nothing here points at the work: the figures outlive it and its directory."""

from typing import Any

from django.db import models

from tasks.models.accounts import Team, User
from tasks.states import Role


def seen_teams(user: Any, team: Team | None = None) -> models.QuerySet[Team]:
    """The user's teams, or the one that a key is for. Who operates the pool sees all, with a key of the pool too."""
    if team is not None and not team.is_system:
        return Team.objects.filter(pk=team.pk)
    operates = user.memberships.filter(team__is_system=True, role__in=[Role.OPERATOR, Role.ADMINISTRATOR])
    own = [team.pk] if team is not None else user.team_ids()
    return Team.objects.all() if operates.exists() else Team.objects.filter(pk__in=own)


class UsageQuerySet(models.QuerySet["Usage"]):
    def for_user(self, user: Any, team: Team | None = None) -> "UsageQuerySet":
        return self.filter(team__in=seen_teams(user, team))


class Usage(models.Model):
    """One attempt of one piece of engine work. Written while it runs, so that a kill loses a pass of supervision."""

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="usage")
    kind = models.CharField(max_length=20)  # run, evaluation, difficulty, base
    work = models.PositiveBigIntegerField()  # id of the run, evaluation, check or build
    attempt = models.PositiveIntegerField()
    began_at = models.DateTimeField()
    seconds = models.FloatField(default=0)  # wall time of the engine, not of waiting for one
    slots = models.PositiveIntegerField(default=1)  # processes or accelerators that it held
    steps = models.PositiveIntegerField(default=0)  # trained, those of a step that was trained again too
    tokens = models.BigIntegerField(default=0)

    objects = UsageQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["kind", "work", "attempt"], name="one_row_per_attempt")]
        indexes = [models.Index(fields=["team", "began_at"], name="usage_of_a_month")]

    def __str__(self) -> str:
        return f"{self.kind} {self.work} attempt {self.attempt}: {self.seconds:.0f} s"


class UsageBudget(models.Model):
    """How many minutes of engines a team may use in a calendar month. A team without a row has no limit."""

    team = models.OneToOneField(Team, on_delete=models.CASCADE, related_name="usage_budget")
    minutes_per_month = models.FloatField()  # 0: nothing may start
    set_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    set_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.team}: {self.minutes_per_month:g} minutes a month"
