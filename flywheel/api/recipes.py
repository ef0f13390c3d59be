"""Recipes: how a mixture is composed; previewed before it is built."""

from typing import Any

import msgspec
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.mixtures import MixtureOut
from flywheel.api.resource import Asked, Given, Resource
from tasks.states import Scope
from trainer.models import Line, Recipe
from trainer.services import recipes


class RecipeOut(serializers.ModelSerializer[Recipe]):
    line_slug = serializers.CharField(source="line.slug")

    class Meta:
        model = Recipe
        fields = ("id", "line", "line_slug", "name", "body", "preset", "overrides", "created_at")


class RecipeIn(Given):
    line = serializers.IntegerField(help_text="Id.")
    name = serializers.SlugField(max_length=60)
    body = serializers.DictField(
        help_text="weights per domain, cap_per_contributor, per_family, size, seed, and difficulty: null, or the "
        "band of the champion's pass rates that is mixed, {min, max, unknown: keep or leave}."
    )
    preset = serializers.CharField(max_length=20, required=False, default="flywheel")
    overrides = serializers.DictField(required=False, default=dict, help_text="Knobs of the runs that it starts.")


class RecipeChange(Given):
    body = serializers.DictField()
    preset = serializers.CharField(max_length=20, required=False)
    overrides = serializers.DictField(required=False)


class SeedIn(Given):
    seed = serializers.IntegerField(required=False, allow_null=True, default=None, help_text="Default: the recipe's.")


class CountOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    available = serializers.IntegerField(help_text="Tasks before weights and cap.")
    used = serializers.IntegerField(help_text="Tasks after them.")
    share = serializers.FloatField(help_text="Of the mixture, from 0 to 1.")


class PreviewOut(serializers.Serializer[Any]):
    size = serializers.IntegerField(help_text="Tasks.")
    digest = serializers.CharField()
    by_domain = CountOut(many=True)
    by_contributor = CountOut(many=True)
    repeated = serializers.IntegerField(help_text="Left out: another task has the same prompt.")
    in_family = serializers.IntegerField(help_text="Left out: enough near-duplicates are in.")
    solved = serializers.IntegerField(help_text="Left out: over the band of difficulty.")
    too_hard = serializers.IntegerField(help_text="Left out: under it.")
    unknown = serializers.IntegerField(help_text="Tasks without a pass rate, kept or left out as the recipe says.")
    notes = serializers.ListField(child=serializers.CharField(), help_text="What bound.")


class RecipeFilter(Asked):
    line = serializers.IntegerField(required=False)


class Recipes(Resource):
    model = Recipe
    scopes = {"create": Scope.TRAIN, "update": Scope.TRAIN, "build": Scope.TRAIN, "preview": Scope.READ}

    @extend_schema(parameters=[RecipeFilter], responses=RecipeOut(many=True))
    def list(self, request: Request) -> Response:
        """Recipes, newest first."""
        return self.page(self.get_queryset().filter(**self.asked(RecipeFilter)).select_related("line"), RecipeOut)

    @extend_schema(responses=RecipeOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One recipe."""
        return self.shown(self.get_object(), RecipeOut)

    @extend_schema(request=RecipeIn, responses={201: RecipeOut})
    def create(self, request: Request) -> Response:
        """Make a recipe for a line."""
        given = self.given(RecipeIn)
        line = self.find(self.rows(Line), given.pop("line"), "line")
        return self.shown(recipes.create(line, actor=self.user, **given), RecipeOut, 201)

    @extend_schema(request=RecipeChange, responses=RecipeOut)
    def update(self, request: Request, pk: str) -> Response:
        """Change what the next mixture looks like; mixtures that were built stay as they are."""
        recipe, given = self.get_object(), self.given(RecipeChange)
        return self.shown(recipes.update(recipe, actor=self.user, **given), RecipeOut)

    @extend_schema(request=SeedIn, responses=PreviewOut)
    @action(detail=True, methods=["post"])
    def preview(self, request: Request, pk: str) -> Response:
        """The mixture that would come out now, as counts. Nothing is written."""
        plan = recipes.preview(self.get_object(), seed=self.given(SeedIn)["seed"])
        counts = {"by_domain": plan.domains, "by_contributor": plan.contributors}
        left = {"repeated": plan.repeated, "in_family": plan.in_family}
        banded = {"solved": plan.solved, "too_hard": plan.too_hard, "unknown": plan.unknown}
        told = {**left, **banded, "notes": plan.sentences}
        return Response({"size": plan.size, "digest": plan.digest, **msgspec.to_builtins(counts), **told})

    @extend_schema(request=SeedIn, responses={201: MixtureOut})
    @action(detail=True, methods=["post"])
    def build(self, request: Request, pk: str) -> Response:
        """Build the mixture. The same content and seed give the one that is there already."""
        mixture = recipes.build(self.get_object(), seed=self.given(SeedIn)["seed"], actor=self.user)
        return self.shown(mixture, MixtureOut, 201)
