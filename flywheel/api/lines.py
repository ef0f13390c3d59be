"""Lines: what a base becomes, for a purpose. Aliases, gate policy, and their history."""

from typing import Any

from django.utils.text import slugify
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Resource
from tasks.errors import Invalid
from tasks.states import Scope
from trainer.models import AliasMove, BaseBuild, Line, ModelVersion, PolicyVersion
from trainer.services import lines, locks, policies, promotion
from trainer.states import AliasName, LinePurpose

PURPOSES = [(p.value, p.value) for p in LinePurpose]


class LineOut(serializers.ModelSerializer[Line]):
    team = serializers.CharField(source="team.slug")
    aliases = serializers.SerializerMethodField(help_text="champion, challenger, anchor → version name.")
    locks = serializers.SerializerMethodField(help_text="Names that nothing moves → why.")
    base_build = serializers.SerializerMethodField(help_text="State of the making of version 0.")

    class Meta:
        model = Line
        fields = (
            "id", "slug", "name", "team", "purpose", "aliases", "locks", "base_build", "policy", "auto_evaluate",
            "auto_promote", "created_at",
        )  # fmt: skip

    def get_aliases(self, line: Line) -> dict[str, str]:
        return {alias.name: f"{line.slug}/v{alias.version.number}" for alias in line.aliases.all()}

    def get_locks(self, line: Line) -> dict[str, str]:
        return {alias.name: alias.lock_reason for alias in line.aliases.all() if alias.locked_at}

    def get_base_build(self, line: Line) -> str | None:
        build = getattr(line, "base_build", None)
        return build.state if build else None


class AliasMoveOut(serializers.ModelSerializer[AliasMove]):
    actor = serializers.CharField(source="actor.username", default=None, help_text="null: the gate.")
    old = serializers.CharField(source="old.name", default=None)
    new = serializers.CharField(source="new.name")

    class Meta:
        model = AliasMove
        fields = ("id", "name", "old", "new", "actor", "report", "reason", "at")


class LineIn(Given):
    purpose = serializers.ChoiceField(choices=PURPOSES)
    name = serializers.CharField(max_length=120)
    slug = serializers.SlugField(max_length=60, required=False, default="", help_text="Of a shared line.")
    team = serializers.SlugField(required=False, help_text="Of an expert.")
    start = serializers.IntegerField(required=False, help_text="Version id that an expert starts from.")
    source = serializers.ChoiceField(  # type: ignore[assignment]  # a field, not the attribute
        choices=BaseBuild.Source.choices, required=False
    )
    location = serializers.CharField(max_length=500, required=False, help_text="Directory or hub id of the base.")
    revision = serializers.CharField(max_length=64, required=False, help_text="Commit of the hub id.")
    seed = serializers.IntegerField(min_value=0, required=False)
    demonstrations = serializers.CharField(max_length=200, required=False, help_text="File of a local build.")


class PolicyIn(Given):
    policy = serializers.DictField(help_text="Gate policy; {} means the default.")
    reason = serializers.CharField(max_length=300, required=False, default="", help_text="Why; kept in the history.")


class PolicyVersionOut(serializers.ModelSerializer[PolicyVersion]):
    policy = serializers.JSONField(source="body", help_text="Every knob, its default where it was not set.")
    set_by = serializers.CharField(source="set_by.username", default=None, help_text="null: the platform.")

    class Meta:
        model = PolicyVersion
        fields = ("id", "line", "number", "policy", "digest", "reason", "set_by", "set_at")


class RollBackIn(Given):
    reason = serializers.CharField(max_length=500)


class LockIn(Given):
    reason = serializers.CharField(max_length=300)


class LineFilter(Asked):
    purpose = serializers.ChoiceField(choices=PURPOSES, required=False)


class Lines(Resource):
    model = Line
    scopes = {"create": Scope.ADMIN, "policy": Scope.TRAIN, "roll_back": Scope.TRAIN, "lock": Scope.TRAIN}

    def get_queryset(self) -> Any:
        rows = super().get_queryset().select_related("team", "base_build")
        return rows.prefetch_related("aliases__version").order_by("-id")

    @extend_schema(parameters=[LineFilter], responses=LineOut(many=True))
    def list(self, request: Request) -> Response:
        """The shared lines, and the experts of your teams."""
        return self.page(self.get_queryset().filter(**self.asked(LineFilter)), LineOut)

    @extend_schema(responses=LineOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One line."""
        return self.shown(self.get_object(), LineOut)

    @extend_schema(request=LineIn, responses={201: LineOut})
    def create(self, request: Request) -> Response:
        """Register a shared line on a base, or a team's expert line that starts from a version."""
        given = self.given(LineIn)
        name, purpose = given.pop("name"), given.pop("purpose")
        if purpose == LinePurpose.SHARED:
            given.pop("team", None), given.pop("start", None)
            slug = given.pop("slug") or slugify(name)
            return self.shown(lines.create_shared(name, slug, actor=self.user, **given), LineOut, 201)
        if "start" not in given:
            raise Invalid("start_missing", "Name the version that the expert starts from: give its id.", "start")
        start = self.find(self.rows(ModelVersion), given["start"], "start")
        line = lines.create_expert(self.team(given.get("team")), name, start, actor=self.user)
        return self.shown(line, LineOut, 201)

    @extend_schema(request=PolicyIn, responses=PolicyVersionOut)
    @action(detail=True, methods=["put"])
    def policy(self, request: Request, pk: str) -> Response:
        """Set the gate policy. A candidate that is under evaluation becomes INVALID: evaluate it again."""
        line = self.get_object()
        given = self.given(PolicyIn)
        version = policies.change(line, given["policy"], actor=self.user, reason=given["reason"])
        return self.shown(version, PolicyVersionOut)

    @extend_schema(responses=PolicyVersionOut(many=True))
    @action(detail=True, url_path="policies")
    def policy_versions(self, request: Request, pk: str) -> Response:
        """Every policy that the line has had, the one in force first."""
        return self.page(self.get_object().policies.select_related("set_by").order_by("-id"), PolicyVersionOut)

    @extend_schema(request=RollBackIn, responses={201: AliasMoveOut})
    @action(detail=True, methods=["post"], url_path="roll-back")
    def roll_back(self, request: Request, pk: str) -> Response:
        """Make the champion before this one champion again."""
        move = promotion.roll_back(self.get_object(), actor=self.user, reason=self.given(RollBackIn)["reason"])
        return self.shown(move, AliasMoveOut, 201)

    @extend_schema(methods=["PUT"], request=LockIn, responses=LineOut)
    @extend_schema(methods=["DELETE"], responses=LineOut)
    @action(detail=True, methods=["put", "delete"], url_path="aliases/(?P<name>champion|challenger|anchor)/lock")
    def lock(self, request: Request, pk: str, name: str) -> Response:
        """Keep an alias where it is, whatever the gate says, until it is unlocked (DELETE)."""
        line = self.get_object()
        if request.method == "PUT":
            locks.lock(line, AliasName(name), actor=self.user, reason=self.given(LockIn)["reason"])
        else:
            locks.unlock(line, AliasName(name), actor=self.user)
        return self.shown(self.get_object(), LineOut)

    @extend_schema(responses=AliasMoveOut(many=True))
    @action(detail=True)
    def moves(self, request: Request, pk: str) -> Response:
        """History of its aliases, newest first."""
        rows = self.get_object().alias_moves.select_related("actor", "old__line", "new__line")
        return self.page(rows, AliasMoveOut)
