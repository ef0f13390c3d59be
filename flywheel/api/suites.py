"""Suites: frozen versions, how they stand, their rotations, and those that an operator brings as a file."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Resource
from tasks.errors import Invalid
from tasks.states import Scope
from trainer import catalogue
from trainer.models import ImportedSuite, Line, SuiteRotation, SuiteVersion
from trainer.services import imported_suites, rotation, standings


class SuiteOut(serializers.ModelSerializer[SuiteVersion]):
    class Meta:
        model = SuiteVersion
        fields = ("id", "line", "name", "number", "digest", "item_count", "looks", "created_at")


class SuiteFilter(Asked):
    line = serializers.IntegerField(required=False)
    name = serializers.CharField(required=False)


class LineAsked(Asked):
    line = serializers.IntegerField()


class RotationOut(serializers.ModelSerializer[SuiteRotation]):
    actor = serializers.CharField(source="actor.username", default=None, help_text="null: the spent budget.")
    sentence = serializers.CharField()

    class Meta:
        model = SuiteRotation
        fields = (
            "id", "line", "name", "suite", "looks", "carried", "wanted", "retired", "reserve", "sealed", "reason",
            "actor", "at", "sentence",
        )  # fmt: skip


class RotationIn(Given):
    line = serializers.IntegerField(help_text="Line id.")
    name = serializers.CharField(max_length=80, help_text="Of the suite.")
    reason = serializers.CharField(max_length=300, required=False, default="", allow_blank=True)
    confirm = serializers.BooleanField(
        required=False, default=False, help_text="Without it nothing happens: the reply says what would."
    )


class ProspectOut(serializers.Serializer[rotation.Prospect]):
    suite = serializers.CharField(source="suite.name")
    wanted = serializers.IntegerField(help_text="Items to replace: a quarter.")
    retired = serializers.IntegerField(help_text="Items that can be.")
    reserve = serializers.IntegerField(help_text="Successors that are sealed already and were never asked.")
    sealed = serializers.IntegerField(help_text="Successors that would be sealed.")
    sentence = serializers.CharField()


class ImportedSuiteOut(serializers.ModelSerializer[ImportedSuite]):
    dataset = serializers.CharField(source="dataset.__str__", help_text="Where its files are uploaded: team/slug.")
    mapping = serializers.SerializerMethodField(help_text="To upload its file with: of a published set, else null.")
    waits_for = serializers.SerializerMethodField(help_text="What an evaluation waits for; empty: it is ready.")

    class Meta:
        model = ImportedSuite
        fields = (
            "id", "line", "name", "dataset", "source", "revision", "licence", "catalogue", "mapping", "registered",
            "waits_for", "created_at",
        )  # fmt: skip

    @extend_schema_field(serializers.DictField(allow_null=True))
    def get_mapping(self, suite: ImportedSuite) -> dict[str, Any] | None:
        entry = catalogue.entries().get(suite.catalogue)
        return entry.mapping if entry else None

    def get_waits_for(self, suite: ImportedSuite) -> str:
        return imported_suites.waits_for(suite)


class ImportedSuiteIn(Given):
    line = serializers.IntegerField(help_text="Line id.")
    name = serializers.CharField(max_length=64, help_text="No domain may have it.")
    revision = serializers.CharField(max_length=64, help_text="A commit, a version, a day.")
    source = serializers.CharField(max_length=200, required=False, default="")  # type: ignore[assignment]  # a field, not the attribute
    licence = serializers.CharField(max_length=60, required=False, default="")
    grader = serializers.DictField(required=False, allow_null=True, default=None)
    catalogue = serializers.CharField(max_length=64, required=False, default="", help_text="Name of a published set.")


class SuiteStandingOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    sealed = serializers.IntegerField(help_text="Items that the next version may be made of.")
    version = SuiteOut(allow_null=True)
    used = serializers.IntegerField(help_text="Candidates that looked at it since its last rotation.")
    budget = serializers.IntegerField(help_text="0: no limit.")
    is_spent = serializers.BooleanField()
    source = serializers.CharField()  # type: ignore[assignment]
    imported = ImportedSuiteOut(allow_null=True)
    last = RotationOut(allow_null=True)
    notes = serializers.ListField(child=serializers.CharField())


class Suites(Resource):
    model = SuiteVersion

    @extend_schema(parameters=[SuiteFilter], responses=SuiteOut(many=True))
    def list(self, request: Request) -> Response:
        """Frozen suites, newest first. Their items are sealed."""
        return self.page(self.get_queryset().filter(**self.asked(SuiteFilter)), SuiteOut)

    @extend_schema(responses=SuiteOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One frozen suite."""
        return self.shown(self.get_object(), SuiteOut)

    @extend_schema(parameters=[LineAsked], responses=SuiteStandingOut(many=True), filters=False)
    @action(detail=False, pagination_class=None)
    def standings(self, request: Request) -> Response:
        """Every suite of a line as it stands: items, looks of its budget, where it comes from."""
        line = self.find(self.rows(Line).select_related("team"), self.asked(LineAsked)["line"], "line")
        return Response(SuiteStandingOut(standings.of(line), many=True).data)


class SuiteRotations(Resource):
    model = SuiteRotation
    scopes = {"create": Scope.TRAIN}

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("actor")

    @extend_schema(parameters=[SuiteFilter], responses=RotationOut(many=True))
    def list(self, request: Request) -> Response:
        """What was retired when, newest first."""
        return self.page(self.get_queryset().filter(**self.asked(SuiteFilter)), RotationOut)

    @extend_schema(responses=RotationOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One rotation."""
        return self.shown(self.get_object(), RotationOut)

    @extend_schema(request=RotationIn, responses={200: ProspectOut, 201: RotationOut})
    def create(self, request: Request) -> Response:
        """Replace the quarter of a suite that was asked longest, before its budget is spent. It cannot be undone."""
        given = self.given(RotationIn)
        line, name = self.find(self.rows(Line).select_related("team"), given["line"], "line"), given["name"]
        if given["confirm"]:
            done = rotation.rotate(line, name, actor=self.user, reason=given["reason"])
            return self.shown(done, RotationOut, 201)
        found = rotation.prospect(line, name)
        if found is None:
            raise Invalid("nothing_to_rotate", f"{line.slug} has no suite {name[:80]} that has others to take.", "name")
        return self.shown(found, ProspectOut)


class ImportedSuites(Resource):
    model = ImportedSuite
    scopes = {"create": Scope.TRAIN}

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("line__team", "dataset__team")

    @extend_schema(parameters=[SuiteFilter], responses=ImportedSuiteOut(many=True))
    def list(self, request: Request) -> Response:
        """Suites that came as a file, newest first. Their rows are sealed."""
        return self.page(self.get_queryset().filter(**self.asked(SuiteFilter)), ImportedSuiteOut)

    @extend_schema(responses=ImportedSuiteOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One of them, with what it waits for."""
        return self.shown(self.get_object(), ImportedSuiteOut)

    @extend_schema(request=ImportedSuiteIn, responses={201: ImportedSuiteOut})
    def create(self, request: Request) -> Response:
        """A suite without rows yet: upload its file into its dataset, with its mapping where it has one."""
        given = self.given(ImportedSuiteIn)
        line = self.find(self.rows(Line).select_related("team"), given.pop("line"), "line")
        known = given.pop("catalogue")
        entry = catalogue.find(known) if known else None
        given["source"] = given["source"] or (entry.source if entry else "")
        given["licence"] = given["licence"] or (entry.licence if entry else "")
        return self.shown(imported_suites.create(line, entry=entry, actor=self.user, **given), ImportedSuiteOut, 201)
