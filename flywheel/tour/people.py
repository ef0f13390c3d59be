"""The cast of the tour: two contributors with a team each, a reviewer and an operator of the shared pool."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from tasks.models import ApiKey, Team, User
from tasks.services import accounts
from tasks.states import Role, Scope

KEY_NAME = "tour"


@dataclass(frozen=True, slots=True)
class Person:
    user: User
    team: Team
    key: str  # secret, for this process only


def contributor(name: str, team_name: str) -> Person:
    user = _user(name)
    team = Team.objects.filter(name=team_name).first() or accounts.create_team(team_name, actor=user)
    return _with_key(user, team, [Scope.READ, Scope.WRITE, Scope.TRAIN])


def of_the_pool(name: str, role: Role, scopes: Iterable[Scope]) -> Person:
    user = _user(name)
    pool = accounts.pool()
    accounts.join(pool, user, role, actor=None)
    return _with_key(user, pool, scopes)


def _user(name: str) -> User:
    """Signs in with a random password that nobody knows: the tour works by keys, an administrator may set another."""
    return User.objects.filter(username=name).first() or accounts.create_user(
        name, secrets.token_urlsafe(24), actor=None
    )


def _with_key(user: User, team: Team, scopes: Iterable[Scope]) -> Person:
    """A secret is shown once, so a repeated tour makes a new key and revokes the one before."""
    for old in ApiKey.objects.filter(user=user, team=team, name=KEY_NAME, revoked_at=None):
        accounts.revoke_key(old, actor=None)
    _, secret = accounts.create_key(team, user, KEY_NAME, list(scopes), actor=None)
    return Person(user, team, secret)
