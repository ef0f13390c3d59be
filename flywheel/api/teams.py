"""Teams and who has which role in them."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Given, Resource, teams_of
from flywheel.api.uses import UsedInOut, shown_uses
from tasks.errors import Forbidden, NotFound
from tasks.models import Membership, Team, User
from tasks.services import accounts
from tasks.services.access import require_role
from tasks.states import Role, Scope
from trainer.models import Line
from trainer.services import uses

ROLES = [(r.value, r.value) for r in Role]


class TeamOut(serializers.ModelSerializer[Team]):
    my_roles = serializers.SerializerMethodField()
    screening = serializers.SerializerMethodField(help_text="What rows may come into its space.")

    class Meta:
        model = Team
        fields = ("id", "slug", "name", "is_system", "approval", "screening", "my_roles", "created_at")

    def get_my_roles(self, team: Team) -> list[str]:
        return sorted(self.context["request"].user.roles_in(team))

    def get_screening(self, team: Team) -> dict[str, Any]:
        return accounts.screening_of(team)


class MemberOut(serializers.ModelSerializer[Membership]):
    user = serializers.CharField(source="user.username")

    class Meta:
        model = Membership
        fields = ("user", "role")


class TeamIn(Given):
    name = serializers.CharField(max_length=120)
    slug = serializers.SlugField(max_length=60, required=False, default="")


class TeamChange(Given):
    approval = serializers.ChoiceField(
        choices=Team.Approval.choices, required=False, help_text="Who lets proved tasks in."
    )
    screening = serializers.DictField(
        required=False,
        help_text="The whole screening policy: `secrets` and `personal` (refuse, flag or mask), `languages`, "
        "`min_characters`, `max_characters`, `licences`. What is left out is as by default. Stored rows stay.",
    )


class MemberIn(Given):
    user = serializers.CharField(help_text="User name.")
    role = serializers.ChoiceField(choices=ROLES)


class Teams(Resource):
    model = Team
    scopes = dict.fromkeys(("create", "partial_update", "join", "leave"), Scope.ADMIN)

    def get_queryset(self) -> Any:
        return Team.objects.none() if getattr(self, "swagger_fake_view", False) else teams_of(self.caller)

    @extend_schema(responses=TeamOut(many=True))
    def list(self, request: Request) -> Response:
        """Teams that you are in; with a key, the key's."""
        return self.page(self.get_queryset(), TeamOut)

    @extend_schema(responses=TeamOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One team."""
        return self.shown(self.get_object(), TeamOut)

    @extend_schema(responses=UsedInOut)
    @action(detail=True, url_path="used-in", pagination_class=None)
    def used_in(self, request: Request, pk: str) -> Response:
        """Mixtures, runs and versions that saw what the team contributed, as the mixtures credit it."""
        lines = Line.objects.for_user(self.caller.user, self.caller.team)
        return self.shown(shown_uses(uses.of_contributor(self.get_object(), lines)), UsedInOut)

    @extend_schema(request=TeamIn, responses={201: TeamOut})
    def create(self, request: Request) -> Response:
        """Make a team; you become its administrator. A key is for one team and makes no others."""
        given = self.given(TeamIn)
        if self.caller.team is not None:
            raise Forbidden("key_is_for_one_team", "A key acts in its own team: sign in to make another one.")
        return self.shown(accounts.create_team(actor=self.user, **given), TeamOut, 201)

    @extend_schema(request=TeamChange, responses=TeamOut)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Say who approves proved tasks of the team's own space, and what rows may come into it."""
        team, given = self.get_object(), self.given(TeamChange)
        require_role(self.user, team, Role.ADMINISTRATOR)
        if "screening" in given:  # first: what it refuses must not leave half a change behind
            accounts.set_screening(team, given["screening"], actor=self.user)
        if "approval" in given:
            accounts.set_approval(team, given["approval"], actor=self.user)
        return self.shown(self.get_object(), TeamOut)

    @extend_schema(responses=MemberOut(many=True))
    @action(detail=True)
    def members(self, request: Request, pk: str) -> Response:
        """A row per member and role."""
        return self.page(self.get_object().memberships.select_related("user"), MemberOut)

    @extend_schema(request=MemberIn, responses={201: MemberOut})
    @members.mapping.post
    def join(self, request: Request, pk: str) -> Response:
        """Give a user a role."""
        team, given = self.get_object(), self.given(MemberIn)
        require_role(self.user, team, Role.ADMINISTRATOR)  # before the look-up: it would tell who exists
        user = _user(User.objects.all(), given["user"])
        return self.shown(accounts.join(team, user, given["role"], actor=self.user), MemberOut, 201)

    @extend_schema(responses={204: None})
    @action(detail=True, methods=["delete"], url_path=r"members/(?P<user>[\w.@+-]+)/(?P<role>[a-z]+)")
    def leave(self, request: Request, pk: str, user: str, role: str) -> Response:
        """Take a role away, or give one's own up."""
        team = self.get_object()
        member = _user(User.objects.filter(memberships__team=team), user)
        if not accounts.leave(team, member, role, actor=self.user):
            raise NotFound("not_found", f"{user} does not have the role {role} in this team.", "role")
        return Response(status=204)


def _user(users: Any, username: str) -> User:
    user = users.filter(username=username).first()
    if user is None:
        raise NotFound("not_found", f"There is no user {username[:80]}: check the name.", "user")
    return user
