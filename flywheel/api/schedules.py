"""Schedules: when a line's next turn starts, and why each firing ran or was skipped."""

from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Nothing, Resource
from tasks.states import Scope
from trainer.models import Firing, Line, Recipe, Schedule
from trainer.services import schedules


class ScheduleOut(serializers.ModelSerializer[Schedule]):
    line_slug = serializers.CharField(source="line.slug")
    next_fire_times = serializers.SerializerMethodField(help_text="The next five, in the schedule's time zone.")

    class Meta:
        model = Schedule
        fields = (
            "id", "line", "line_slug", "recipe", "cron", "timezone", "min_new_tasks", "min_hours", "enabled",
            "next_fire_times", "created_at",
        )  # fmt: skip

    def get_next_fire_times(self, schedule: Schedule) -> list[datetime]:
        return schedules.next_fire_times(schedule, 5)


class FiringOut(serializers.ModelSerializer[Firing]):
    class Meta:
        model = Firing
        fields = ("id", "due_at", "decided_at", "outcome", "reason", "run")


class ScheduleIn(Given):
    line = serializers.IntegerField(help_text="Id.")
    recipe = serializers.IntegerField(help_text="Id.")
    cron = serializers.CharField(max_length=100, help_text="Five fields: minute, hour, day, month, weekday.")
    timezone = serializers.CharField(max_length=60, required=False, default="UTC", help_text="As in Europe/Berlin.")
    min_new_tasks = serializers.IntegerField(
        min_value=0, max_value=2_000_000_000, required=False, default=100, help_text="Approved since the last run."
    )
    min_hours = serializers.FloatField(min_value=0, required=False, default=0, help_text="Since the last run started.")


class ScheduleChange(Given):
    recipe = serializers.IntegerField(required=False)
    cron = serializers.CharField(max_length=100, required=False)
    timezone = serializers.CharField(max_length=60, required=False)
    min_new_tasks = serializers.IntegerField(min_value=0, max_value=2_000_000_000, required=False)
    min_hours = serializers.FloatField(min_value=0, required=False)
    enabled = serializers.BooleanField(required=False)


class ScheduleFilter(Asked):
    line = serializers.IntegerField(required=False)


class Schedules(Resource):
    model = Schedule
    scopes = {"create": Scope.TRAIN, "partial_update": Scope.TRAIN, "fire": Scope.TRAIN}

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("line")

    @extend_schema(parameters=[ScheduleFilter], responses=ScheduleOut(many=True))
    def list(self, request: Request) -> Response:
        """Schedules, newest first."""
        return self.page(self.get_queryset().filter(**self.asked(ScheduleFilter)), ScheduleOut)

    @extend_schema(responses=ScheduleOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One schedule with its next fire times."""
        return self.shown(self.get_object(), ScheduleOut)

    @extend_schema(request=ScheduleIn, responses={201: ScheduleOut})
    def create(self, request: Request) -> Response:
        """Start a line's turns at cron times, if enough is new and enough time has passed."""
        given = self.given(ScheduleIn)
        line = self.find(self.rows(Line), given.pop("line"), "line")
        recipe = self.find(self.rows(Recipe), given.pop("recipe"), "recipe")
        return self.shown(schedules.create(line, recipe, actor=self.user, **given), ScheduleOut, 201)

    @extend_schema(request=ScheduleChange, responses=ScheduleOut)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change a schedule, or switch it off and on."""
        schedule, given = self.get_object(), self.given(ScheduleChange)
        if "recipe" in given:
            given["recipe"] = self.find(self.rows(Recipe), given["recipe"], "recipe")
        return self.shown(schedules.update(schedule, actor=self.user, **given), ScheduleOut)

    @extend_schema(responses=FiringOut(many=True))
    @action(detail=True)
    def firings(self, request: Request, pk: str) -> Response:
        """Every fire time that was decided, with the reason."""
        return self.page(self.get_object().firings.all(), FiringOut)

    @extend_schema(request=Nothing, responses={201: FiringOut})
    @action(detail=True, methods=["post"])
    def fire(self, request: Request, pk: str) -> Response:
        """Run now, whatever is new."""
        return self.shown(firings.fire_now(self.get_object(), actor=self.user), FiringOut, 201)
