"""Who is calling: a browser session, or an API key without cookies. Plumbing with no knowledge of resources."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from tasks.models import ApiKey, Team, User
from tasks.states import Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """A user, and the one team that an API key is for (None in a browser: all of the user's teams)."""

    user: User
    team: Team | None


def caller(request: Any) -> Caller:
    key = getattr(request, "auth", None)
    return Caller(request.user, key.team if isinstance(key, ApiKey) else None)


class ApiKeyAuthentication(BaseAuthentication):
    """Authorization: Bearer fw_…"""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != b"bearer":
            return None
        key = ApiKey.find(words[1].decode("latin-1")) if len(words) == 2 else None
        if key is None:
            raise AuthenticationFailed(
                "This API key is not known here, has expired or was revoked: create one under API keys.",
                "invalid_api_key",
            )
        now = timezone.now()
        if key.last_used_at is None or now - key.last_used_at > timedelta(minutes=1):
            ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
        return key.user, key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class SignedInWithScope(BasePermission):
    """Signed in; a key needs the view's scope: read for safe methods, else the view's `scope` (default write)."""

    message = "This API key lacks the scope for that: create one with it under API keys."

    def has_permission(self, request: Request, view: Any) -> bool:
        if not request.user.is_authenticated:
            return False
        if not isinstance(request.auth, ApiKey):
            return True
        needed = Scope.READ if request.method in SAFE_METHODS else getattr(view, "scope", Scope.WRITE)
        return request.auth.allows(needed)
