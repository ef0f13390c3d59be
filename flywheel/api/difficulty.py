"""Difficulty: checks that measure how often a line's champion solves its tasks, and the pass rates that they leave."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Nothing, Resource
from tasks.errors import Invalid
from tasks.models import Task
from tasks.states import Scope
from trainer.models import DifficultyCheck, Line, PassRate, Recipe
from trainer.services import difficulty
from trainer.states import EvaluationState


class DifficultyCheckOut(serializers.ModelSerializer[DifficultyCheck]):
    version_name = serializers.CharField(source="version.name")
    solved = serializers.IntegerField(help_text="Tasks that every graded answer solved.")
    never_solved = serializers.IntegerField(help_text="Tasks of which no answer earned anything: suspected references.")
    ungradable = serializers.IntegerField(help_text="Answers, not tasks.")

    class Meta:
        model = DifficultyCheck
        fields = (
            "id", "line", "version", "version_name", "recipe", "dataset", "state", "phase", "step", "total_steps",
            "attempt", "sampling", "known", "asked", "measured", "solved", "never_solved", "ungradable", "fault",
            "tokens", "error", "created_at", "started_at", "finished_at",
        )  # fmt: skip


class DifficultyCheckIn(Given):
    recipe = serializers.IntegerField(required=False, help_text="Id: its line's champion answers what it draws from.")
    line = serializers.IntegerField(required=False, help_text="Id, with dataset: whose champion answers.")
    dataset = serializers.CharField(required=False, help_text="Id, or team/slug, instead of a recipe.")


class DifficultyCheckFilter(Asked):
    line = serializers.IntegerField(required=False)
    recipe = serializers.IntegerField(required=False)
    state = serializers.ChoiceField(choices=[(s.value, s.value) for s in EvaluationState], required=False)


class PassRateOut(serializers.ModelSerializer[PassRate]):
    version_name = serializers.CharField(source="version.name")
    rate = serializers.FloatField(help_text="passes / graded, in [0, 1].")

    class Meta:
        model = PassRate
        fields = ("id", "version", "version_name", "task", "answers", "graded", "passes", "rate", "reward", "at")


class PassRateFilter(Asked):
    task = serializers.IntegerField(help_text="Id of a task that you may see.")


class DifficultyChecks(Resource):
    model = DifficultyCheck
    scopes = {"create": Scope.TRAIN, "cancel": Scope.TRAIN}

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("version__line", "line__team")

    @extend_schema(parameters=[DifficultyCheckFilter], responses=DifficultyCheckOut(many=True))
    def list(self, request: Request) -> Response:
        """Difficulty checks, newest first."""
        return self.page(self.get_queryset().filter(**self.asked(DifficultyCheckFilter)), DifficultyCheckOut)

    @extend_schema(responses=DifficultyCheckOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One check: how many tasks it asks, and what they came to so far."""
        return self.shown(self.get_object(), DifficultyCheckOut)

    @extend_schema(request=DifficultyCheckIn, responses={201: DifficultyCheckOut})
    def create(self, request: Request) -> Response:
        """Let the champion answer the tasks of a recipe, or of a dataset, that have no pass rate for it yet.

        A check of the same that is under way is answered again instead of being doubled.
        """
        given = self.given(DifficultyCheckIn)
        if "recipe" in given:
            recipe = self.find(self.rows(Recipe).select_related("line__team"), given["recipe"], "recipe")
            return self.shown(difficulty.start(recipe.line, actor=self.user, recipe=recipe), DifficultyCheckOut, 201)
        if not {"line", "dataset"} <= set(given):
            raise Invalid("one_source", "Name what to measure: a recipe, or a line and a dataset.", "recipe")
        line, dataset = self.find(self.rows(Line), given["line"], "line"), self.dataset(given["dataset"])
        return self.shown(difficulty.start(line, actor=self.user, dataset=dataset), DifficultyCheckOut, 201)

    @extend_schema(request=Nothing, responses=DifficultyCheckOut)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """End a check; the rates that it has measured stay."""
        difficulty.cancel(self.get_object(), actor=self.user)
        return self.shown(self.get_object(), DifficultyCheckOut)


class PassRates(Resource):
    model = PassRate

    @extend_schema(parameters=[PassRateFilter], responses=PassRateOut(many=True))
    def list(self, request: Request) -> Response:
        """How often versions solved a task as it is now, newest first. Another team's measurements are not told."""
        pk = self.asked(PassRateFilter)["task"]
        task = self.find(self.rows(Task), pk, "task")
        rates = self.get_queryset().filter(space=task.space_id, content=task.content_digest)
        return self.page(rates.select_related("version__line"), PassRateOut)
