"""The cast of the tests: contributor, reviewer, operator, stranger. Each has a team, a session and an API key."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rest_framework.test import APIClient

from tasks.models import Team, User
from tasks.services import accounts
from tasks.states import Role, Scope


@dataclass(frozen=True)
class Person:
    user: User
    team: Team
    secret: str

    @property
    def api(self) -> APIClient:
        """A program with the person's key."""
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {self.secret}")
        return client

    @property
    def browser(self) -> APIClient:
        """A browser in which the person is signed in; CSRF is enforced as for any."""
        client = APIClient(enforce_csrf_checks=True)
        client.force_login(self.user, backend="django.contrib.auth.backends.ModelBackend")
        return client


def of_own_team(name: str, scopes: Iterable[Scope] = tuple(Scope)) -> Person:
    """Somebody with every role in a team called like them."""
    user = User.objects.create_user(name)
    team = accounts.create_team(f"{name}s team", f"{name}-team", actor=user)
    return Person(user, team, key(user, team, scopes))


def of_the_pool(name: str, role: Role, scopes: Iterable[Scope] = tuple(Scope)) -> Person:
    user, pool = User.objects.create_user(name), accounts.pool()
    accounts.join(pool, user, role, actor=None)
    return Person(user, pool, key(user, pool, scopes))


def key(user: User, team: Team, scopes: Iterable[Any] = tuple(Scope)) -> str:
    return accounts.create_key(team, user, "test", list(scopes), actor=None)[1]
