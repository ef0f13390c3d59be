"""API keys. The secret is shown once, in the reply that makes it; so that reply is never stored for a repetition."""

from typing import Any

from django.db.models import Q
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Resource, teams_of
from tasks.errors import NotFound
from tasks.models import ApiKey, Membership, User
from tasks.services import accounts
from tasks.states import Role, Scope

SCOPES = [(s.value, s.value) for s in Scope]


class KeyOut(serializers.ModelSerializer[ApiKey]):
    team = serializers.CharField(source="team.slug")
    user = serializers.CharField(source="user.username")
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=SCOPES))

    class Meta:
        model = ApiKey
        fields: tuple[str, ...] = (
            "id", "team", "user", "name", "prefix", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at",
        )  # fmt: skip


class NewKeyOut(KeyOut):
    secret = serializers.CharField(help_text="Shown once: keep it now.")

    class Meta(KeyOut.Meta):
        fields = (*KeyOut.Meta.fields, "secret")


class KeyIn(Given):
    team = serializers.SlugField(required=False, help_text="Slug; needed where you are in several teams.")
    user = serializers.CharField(required=False, help_text="User name; default: you.")
    name = serializers.CharField(max_length=80)
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=SCOPES))
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)


class KeyFilter(Asked):
    team = serializers.SlugField(required=False)


class Keys(Resource):
    model = ApiKey
    remembers_replies = False
    scopes = {"create": Scope.ADMIN, "destroy": Scope.ADMIN}

    def get_queryset(self) -> Any:
        """One's own keys, and every key of teams that one administers."""
        if getattr(self, "swagger_fake_view", False):
            return ApiKey.objects.none()
        user, teams = self.caller.user, teams_of(self.caller)
        administered = Membership.objects.filter(user=user, role=Role.ADMINISTRATOR, team__in=teams).values("team")
        rows = ApiKey.objects.filter(Q(user=user, team__in=teams) | Q(team__in=administered))
        return rows.select_related("team", "user").order_by("-id")

    @extend_schema(parameters=[KeyFilter], responses=KeyOut(many=True))
    def list(self, request: Request) -> Response:
        """Your keys, and those of teams that you administer."""
        asked = self.asked(KeyFilter)
        rows = self.get_queryset()
        return self.page(rows.filter(team__slug=asked["team"]) if "team" in asked else rows, KeyOut)

    @extend_schema(responses=KeyOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One key; never its secret."""
        return self.shown(self.get_object(), KeyOut)

    @extend_schema(request=KeyIn, responses={201: NewKeyOut})
    def create(self, request: Request) -> Response:
        """Make a key that acts as a user in one team, within its scopes."""
        given = self.given(KeyIn)
        team = self.team(given.pop("team", None))
        user = self._member(team, given.pop("user", None))
        key, secret = accounts.create_key(team, user, actor=self.user, **given)
        return Response({**KeyOut(key).data, "secret": secret}, status=201)

    def _member(self, team: Any, username: str | None) -> User:
        if username is None:
            return self.caller.user
        member = User.objects.filter(username=username, memberships__team=team).first()
        if member is None:
            raise NotFound("not_found", f"There is no {username[:80]} in this team: let them join it first.", "user")
        return member

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Revoke the key, at once and for good."""
        accounts.revoke_key(self.get_object(), actor=self.user)
        return Response(status=204)
