"""Lines and their aliases: what a base becomes, for a purpose."""

from typing import Any

from django.db import models
from django.db.models import Q

from tasks.models.accounts import Team, User
from tasks.models.datasets import Dataset
from tasks.states import Role
from trainer.states import AliasName, LinePurpose


class LineQuerySet(models.QuerySet["Line"]):
    def for_user(self, user: Any, team: Team | None = None) -> "LineQuerySet":
        """Own teams' lines, and the shared lines: everybody may read and chat with what all data together made."""
        mine = Q(team__memberships__user=user)
        if team is not None:
            mine &= Q(team=team)
        return self.filter(mine | Q(purpose=LinePurpose.SHARED)).distinct()

    def for_team(self, team_id: int | None) -> "LineQuerySet":
        """What may be asked on behalf of a team: its own lines and the shared ones; of no team: the shared ones."""
        return self.filter(Q(team_id=team_id) | Q(purpose=LinePurpose.SHARED))


class Line(models.Model):
    """Base + purpose. Owns the aliases, the gate policy and the schedules; version 0 is the base."""

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="lines")
    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    purpose = models.CharField(max_length=10, choices=[(p.value, p.value) for p in LinePurpose])
    dataset = models.OneToOneField(Dataset, null=True, blank=True, on_delete=models.PROTECT, related_name="expert")
    policy = models.JSONField(default=dict)  # trainer.evaluation.gates.GatePolicy; {}: the default
    policy_changed_at = models.DateTimeField(null=True, blank=True)
    auto_evaluate = models.BooleanField(default=True)
    auto_promote = models.BooleanField(default=True)  # False: a PROMOTE waits for a person's sign-off
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = LineQuerySet.as_manager()

    def __str__(self) -> str:
        return self.slug

    def alias(self, name: AliasName) -> Any:
        """The version that the alias points to, or None."""
        row = self.aliases.select_related("version").filter(name=name).first()
        return row.version if row else None

    def locked(self, name: AliasName) -> "Alias | None":
        """The alias, if a person has locked it."""
        held = self.aliases.select_related("locked_by").filter(name=name, locked_at__isnull=False)
        return held.first()

    def shows_rows_to(self, user: Any, team: Team | None = None) -> bool:
        """May the user read prompts and answers of its runs and reports? An expert's: its team. A shared line's hold
        other teams' rows and sealed items: the pool's reviewers and operators only."""
        if team is not None and team.pk != self.team_id:
            return False
        roles = user.roles_in(self.team)
        return bool(roles - {Role.CONTRIBUTOR} if self.purpose == LinePurpose.SHARED else roles)


class Alias(models.Model):
    """A movable name. Moved only by trainer.services.promotion, with a row in AliasMove and an event."""

    line = models.ForeignKey(Line, on_delete=models.CASCADE, related_name="aliases")
    name = models.CharField(max_length=12, choices=[(a.value, a.value) for a in AliasName])
    version = models.ForeignKey("trainer.ModelVersion", on_delete=models.PROTECT, related_name="aliases")
    locked_at = models.DateTimeField(null=True, blank=True)  # while set, nothing moves it
    locked_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    lock_reason = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["line", "name"], name="one_alias_per_name")]

    def __str__(self) -> str:
        return f"{self.line_id}/{self.name}"


class AliasMove(models.Model):
    """History of an alias, newest first."""

    line = models.ForeignKey(Line, on_delete=models.CASCADE, related_name="alias_moves")
    name = models.CharField(max_length=12)
    old = models.ForeignKey("trainer.ModelVersion", null=True, on_delete=models.PROTECT, related_name="+")
    new = models.ForeignKey("trainer.ModelVersion", on_delete=models.PROTECT, related_name="+")
    actor = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")  # None: the gate
    report = models.ForeignKey("trainer.GateReport", null=True, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=500)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.name}: {self.old_id} → {self.new_id}"
