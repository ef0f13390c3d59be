"""Model versions: list, promote, download, read their card."""

from dataclasses import asdict
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.lines import AliasMoveOut
from flywheel.api.resource import Asked, Given, Resource
from flywheel.http.archives import attachment
from tasks.states import Scope
from trainer.models import GateReport, ModelVersion
from trainer.services import lineage, model_cards, promotion


class ModelVersionOut(serializers.ModelSerializer[ModelVersion]):
    name = serializers.CharField(help_text="What chat completions call it.")
    parent = serializers.SerializerMethodField(  # type: ignore[assignment]  # a field
        help_text="What it came from; null where that is another team's."
    )
    aliases = serializers.SerializerMethodField()

    class Meta:
        model = ModelVersion
        fields = (
            "id", "name", "line", "number", "digest", "parent", "run", "origin", "revision", "parameters", "bytes",
            "kl", "environment", "aliases", "created_at",
        )  # fmt: skip

    def get_parent(self, version: ModelVersion) -> str | None:
        parent = version.parent
        return parent.name if parent and model_cards.may_be_named(parent, version) else None

    def get_aliases(self, version: ModelVersion) -> list[str]:
        return sorted(alias.name for alias in version.aliases.all())


class SourceOut(serializers.Serializer[Any]):
    id = serializers.IntegerField(help_text="Of the dataset version.")
    dataset = serializers.CharField(help_text='team/slug; "": one that you may not see.')
    team = serializers.CharField()
    number = serializers.IntegerField()
    digest = serializers.CharField()
    licence = serializers.CharField()
    rows = serializers.IntegerField(help_text="Taken of it. A task of two datasets counts for both.")
    share = serializers.FloatField()


class ContributionOut(serializers.Serializer[Any]):
    team = serializers.CharField()
    rows = serializers.IntegerField()
    share = serializers.FloatField()


class TrainingOut(serializers.Serializer[Any]):
    run = serializers.IntegerField()
    steps = serializers.IntegerField()
    ended_at = serializers.DateTimeField(allow_null=True)
    mixture = serializers.IntegerField(allow_null=True, help_text="null: trained on one dataset version.")
    digest = serializers.CharField(help_text="Of the mixture, or of the dataset version.")
    recipe = serializers.IntegerField(allow_null=True)
    recipe_name = serializers.CharField()
    seed = serializers.IntegerField(allow_null=True)
    rows = serializers.IntegerField()
    withdrawn = serializers.IntegerField(help_text="Of the rows, since.")
    sources = SourceOut(many=True)
    credits = ContributionOut(many=True)
    graders = serializers.DictField(child=serializers.IntegerField(), help_text="Type → rows.")


class StepOut(serializers.Serializer[Any]):
    name = serializers.CharField(help_text='line/vN; "": of a line that you may not see.')
    line = serializers.CharField()
    number = serializers.IntegerField()
    digest = serializers.CharField()
    origin = serializers.CharField()
    created_at = serializers.DateTimeField()
    aliases = serializers.ListField(child=serializers.CharField())
    training = TrainingOut(allow_null=True, help_text="null: it was not trained here, or you may not know.")


class LineageOut(serializers.Serializer[Any]):
    version = serializers.CharField()
    steps = StepOut(many=True, help_text="The version and what it came from, newest first.")


class PromotionIn(Given):
    reason = serializers.CharField(max_length=500)
    report = serializers.IntegerField(required=False, help_text="Gate report id; default: the version's newest.")


class VersionFilter(Asked):
    line = serializers.IntegerField(required=False)


class Versions(Resource):
    model = ModelVersion
    scopes = {"promote": Scope.TRAIN}

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("line", "parent__line").prefetch_related("aliases")

    @extend_schema(parameters=[VersionFilter], responses=ModelVersionOut(many=True))
    def list(self, request: Request) -> Response:
        """Versions, newest first."""
        return self.page(self.get_queryset().filter(**self.asked(VersionFilter)), ModelVersionOut)

    @extend_schema(responses=ModelVersionOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One version."""
        return self.shown(self.get_object(), ModelVersionOut)

    @extend_schema(request=PromotionIn, responses={201: AliasMoveOut})
    @action(detail=True, methods=["post"])
    def promote(self, request: Request, pk: str) -> Response:
        """Make it its line's champion. A shared line needs the gate's PROMOTE against today's champion."""
        version, given = self.get_object(), self.given(PromotionIn)
        report = self.find(self.rows(GateReport), given["report"], "report") if "report" in given else None
        move = promotion.promote(version, actor=self.user, reason=given["reason"], report=report)
        return self.shown(move, AliasMoveOut, 201)

    @extend_schema(responses={(200, "application/zip"): OpenApiTypes.BINARY})
    @action(detail=True)
    def download(self, request: Request, pk: str) -> StreamingHttpResponse:
        """The export as a zip: weights (safetensors), tokenizer, chat template, manifest and model card (README.md)."""
        version = self.get_object()
        return attachment(model_cards.archived(version), model_cards.folder_of(version))

    @extend_schema(responses=LineageOut)
    @action(detail=True, pagination_class=None)
    def lineage(self, request: Request, pk: str) -> Response:
        """Where it comes from: each parent down to the base, with run, mixture, dataset versions, teams and graders."""
        version, who = self.get_object(), self.caller
        steps = lineage.of_version(version, user=who.user, team=who.team)
        return self.shown({"version": version.name, "steps": [asdict(step) for step in steps]}, LineageOut)

    @extend_schema(responses={(200, "text/markdown"): OpenApiTypes.STR})
    @action(detail=True)
    def card(self, request: Request, pk: str) -> HttpResponse:
        """The model card in Markdown, with a header that the Hugging Face hub reads: lineage, training, data."""
        reply = HttpResponse(model_cards.card(self.get_object()), content_type="text/markdown; charset=utf-8")
        reply["X-Content-Type-Options"] = "nosniff"
        return reply
