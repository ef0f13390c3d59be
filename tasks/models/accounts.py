"""Users, teams, memberships and API keys. Everything in the product belongs to a team."""

import hashlib
import secrets
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from tasks.states import Role, Scope

_KEY_PREFIX = "fw_"


def _salt() -> str:
    return secrets.token_hex(16)


class User(AbstractUser):
    """A person. Roles are per team (Membership); is_staff and is_superuser only open the Django admin."""

    email = models.EmailField(blank=True)

    def roles_in(self, team: "Team") -> frozenset[Role]:
        return frozenset(Role(role) for role in self.memberships.filter(team=team).values_list("role", flat=True))

    def team_ids(self) -> list[int]:
        return list(self.memberships.values_list("team_id", flat=True).distinct())


class Team(models.Model):
    """An owner, and a space: keys are compared only within one. The system team owns the shared pool."""

    class Approval(models.TextChoices):
        PERSON = "person", "A person approves proved tasks"
        PROVED = "proved", "Proved tasks are approved by themselves"
        ALL = "all", "Proved and unproved tasks are approved by themselves"

    slug = models.SlugField(unique=True, max_length=60)
    name = models.CharField(max_length=120)
    is_system = models.BooleanField(default=False)
    approval = models.CharField(max_length=10, choices=Approval, default=Approval.ALL)
    screening = models.JSONField(default=dict, blank=True)  # tasks.screening.policy.Policy; {} is its defaults
    split_salt = models.CharField(max_length=32, default=_salt, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["is_system"], condition=Q(is_system=True), name="one_system_team"),
        ]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A role of a user in a team. Several rows where somebody has several roles."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=[(r.value, r.value) for r in Role])

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "team", "role"], name="one_row_per_role")]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.team}"


class ApiKey(models.Model):
    """fw_ + 32 random bytes, shown once, stored as SHA-256. Acts as its user within one team, within its scopes."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="api_keys")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=12)  # for people to tell keys apart
    digest = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @staticmethod
    def new_secret() -> str:
        return _KEY_PREFIX + secrets.token_urlsafe(32)

    @staticmethod
    def digest_of(secret: str) -> str:
        return hashlib.sha256(secret.encode()).hexdigest()

    @classmethod
    def find(cls, secret: str) -> "ApiKey | None":
        """The live key of this secret; revoked and expired keys are not found, nor those of people who have left."""
        now = timezone.now()
        in_team = Membership.objects.filter(user=OuterRef("user"), team=OuterRef("team"))
        return (
            cls.objects.select_related("user", "team")
            .filter(digest=cls.digest_of(secret), revoked_at__isnull=True, user__is_active=True)
            .filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now))
            .filter(Exists(in_team))
            .first()
        )

    def allows(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


def pool_roles(user: Any) -> frozenset[Role]:
    """The user's roles in the system team: who may work on the shared pool."""
    if not user.is_authenticated:
        return frozenset()
    return frozenset(
        Role(role) for role in user.memberships.filter(team__is_system=True).values_list("role", flat=True)
    )
