"""Graders: the catalogue with an example of each, validation, and a trial run. No row is read or written."""

from typing import Any

import msgspec
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Given, Resource
from tasks.graders import registry
from tasks.models import Grader
from tasks.states import Scope


class GraderTypeOut(serializers.Serializer[Any]):
    type = serializers.CharField()
    summary = serializers.CharField()
    grader = serializers.JSONField(help_text="An example configuration.")
    item = serializers.JSONField(help_text="An example item.")
    completion = serializers.CharField(help_text="A completion that earns full score.")


class ConfigIn(Given):
    grader = serializers.DictField()


class ConfigOut(serializers.Serializer[Any]):
    grader = serializers.JSONField(help_text="With every default filled in.")
    digest = serializers.CharField(help_text="SHA-256 of it: equal graders have equal digests.")


class TrialIn(Given):
    grader = serializers.DictField()
    item = serializers.DictField(required=False, default=dict)
    completion = serializers.CharField(allow_blank=True, trim_whitespace=False)


class GradeOut(serializers.Serializer[Any]):
    outcome = serializers.ChoiceField(choices=["correct", "incorrect", "ungradable"])
    score = serializers.FloatField(help_text="From 0 to 1.")
    read = serializers.CharField(allow_null=True, help_text="What was read out of the completion.")
    reason = serializers.CharField()
    sub_scores = serializers.DictField(child=serializers.FloatField())
    errors = serializers.ListField(child=serializers.CharField())  # type: ignore[assignment]  # a field, not the property
    seconds = serializers.FloatField()


class Graders(Resource):
    model = Grader
    pagination_class = None
    scopes = {"run": Scope.READ, "validate": Scope.READ}

    @extend_schema(responses=GraderTypeOut(many=True))
    def list(self, request: Request) -> Response:
        """Every type with an example."""
        return Response(GraderTypeOut(registry.describe(), many=True).data)

    @extend_schema(request=ConfigIn, responses=ConfigOut)
    @action(detail=False, methods=["post"])
    def validate(self, request: Request) -> Response:
        """Check a configuration."""
        config = registry.parse(self.given(ConfigIn)["grader"])
        return Response({"grader": msgspec.to_builtins(config), "digest": registry.digest(config)})

    @extend_schema(request=TrialIn, responses=GradeOut)
    @action(detail=False, methods=["post"])
    def run(self, request: Request) -> Response:
        """Grade one completion."""
        given = self.given(TrialIn)
        grade = registry.grade(registry.parse(given["grader"]), given["completion"], given["item"])
        return self.shown(grade, GradeOut)
