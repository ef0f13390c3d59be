"""Model versions: list, promote, download, read their card."""

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
from trainer.services import model_cards, promotion


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

    @extend_schema(responses={(200, "text/markdown"): OpenApiTypes.STR})
    @action(detail=True)
    def card(self, request: Request, pk: str) -> HttpResponse:
        """The model card in Markdown, with a header that the Hugging Face hub reads: lineage, training, data."""
        reply = HttpResponse(model_cards.card(self.get_object()), content_type="text/markdown; charset=utf-8")
        reply["X-Content-Type-Options"] = "nosniff"
        return reply
