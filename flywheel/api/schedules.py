"""Schedules: when a line's next turn starts, and why each firing ran or was skipped."""

from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Nothing, Resource
from tasks.states import Scope
from trainer.models import Firing, Line, Recipe, Schedule
from trainer.services import firings, schedules


class ComingOut(serializers.Serializer[Any]):
    due = serializers.DateTimeField(format=None, help_text="By the cron, in the schedule's time zone.")
    begins = serializers.DateTimeField(
        format=None, help_text="When its run may begin: the end of the quiet hours where it lies in them."
    )
    is_quiet = serializers.BooleanField()


class ComingFireTimesOut(serializers.Serializer[Any]):
    coming = ComingOut(many=True)
    notes = serializers.ListField(child=serializers.CharField(), help_text="Sentences: what may not be meant.")


class ScheduleOut(serializers.ModelSerializer[Schedule]):
    line_slug = serializers.CharField(source="line.slug")
    quiet_from = serializers.TimeField(format="%H:%M", allow_null=True)
    quiet_to = serializers.TimeField(format="%H:%M", allow_null=True)
    quiet_days = serializers.ListField(child=serializers.IntegerField(), help_text="1 is Monday; []: every day.")
    next_fire_times = serializers.SerializerMethodField(help_text="When the next five runs may begin, in its zone.")
    coming = serializers.SerializerMethodField(help_text="The same with the fire times that quiet hours defer.")
    notes = serializers.SerializerMethodField(help_text="Sentences: what may not be meant.")

    class Meta:
        model = Schedule
        fields = (
            "id", "line", "line_slug", "recipe", "cron", "timezone", "min_new_tasks", "min_hours", "quiet_from",
            "quiet_to", "quiet_days", "enabled", "next_fire_times", "coming", "notes", "created_at",
        )  # fmt: skip

    def get_next_fire_times(self, schedule: Schedule) -> list[datetime]:
        return schedules.next_fire_times(schedule)

    @extend_schema_field(ComingOut(many=True))
    def get_coming(self, schedule: Schedule) -> Any:
        return ComingOut(schedules.coming(schedule), many=True).data

    def get_notes(self, schedule: Schedule) -> list[str]:
        return schedules.notes(schedule)


class FiringOut(serializers.ModelSerializer[Firing]):
    class Meta:
        model = Firing
        fields = ("id", "due_at", "deferred_to", "decided_at", "outcome", "reason", "run")


class Times(Given):
    """When: what a preview takes, and a schedule among other things."""

    cron = serializers.CharField(max_length=100, help_text="Five fields: minute, hour, day, month, weekday.")
    timezone = serializers.CharField(max_length=60, required=False, default="UTC", help_text="As in Europe/Berlin.")
    quiet_from = serializers.TimeField(
        input_formats=["%H:%M"], required=False, allow_null=True, help_text="22:00. No run begins from then on …"
    )
    quiet_to = serializers.TimeField(
        input_formats=["%H:%M"], required=False, allow_null=True, help_text="… until then, on the next day if need be."
    )
    quiet_days = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=7),
        required=False,
        max_length=7,
        help_text="On which quiet hours begin, 1 is Monday; []: every day.",
    )


class ScheduleIn(Times):
    line = serializers.IntegerField(help_text="Id.")
    recipe = serializers.IntegerField(help_text="Id.")
    min_new_tasks = serializers.IntegerField(
        min_value=0, max_value=2_000_000_000, required=False, default=100, help_text="Approved since the last run."
    )
    min_hours = serializers.FloatField(min_value=0, required=False, default=0, help_text="Since the last run started.")


class ScheduleChange(Times):
    recipe = serializers.IntegerField(required=False)
    cron = serializers.CharField(max_length=100, required=False)
    timezone = serializers.CharField(max_length=60, required=False)
    min_new_tasks = serializers.IntegerField(min_value=0, max_value=2_000_000_000, required=False)
    min_hours = serializers.FloatField(min_value=0, required=False)
    enabled = serializers.BooleanField(required=False, help_text="false: paused.")


class ScheduleFilter(Asked):
    line = serializers.IntegerField(required=False)
    state = serializers.ChoiceField(choices=["on", "paused"], required=False)


class FiringFilter(Asked):
    outcome = serializers.ChoiceField(choices=Firing.Outcome.choices, required=False)


class Schedules(Resource):
    model = Schedule
    scopes = {"create": Scope.TRAIN, "partial_update": Scope.TRAIN, "fire": Scope.TRAIN, "preview": Scope.READ}

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("line")

    @extend_schema(parameters=[ScheduleFilter], responses=ScheduleOut(many=True))
    def list(self, request: Request) -> Response:
        """Schedules, newest first."""
        asked = self.asked(ScheduleFilter)
        if state := asked.pop("state", None):
            asked["enabled"] = state == "on"
        return self.page(self.get_queryset().filter(**asked), ScheduleOut)

    @extend_schema(responses=ScheduleOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One schedule with its next fire times."""
        return self.shown(self.get_object(), ScheduleOut)

    @extend_schema(request=ScheduleIn, responses={201: ScheduleOut})
    def create(self, request: Request) -> Response:
        """Start a line's turns at cron times outside of quiet hours, if enough is new and enough time has passed."""
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

    @extend_schema(request=Times, responses=ComingFireTimesOut)
    @action(detail=False, methods=["post"])
    def preview(self, request: Request) -> Response:
        """The next five fire times of such a schedule. Nothing is written."""
        coming, notes = schedules.preview(**self.given(Times))
        return Response(ComingFireTimesOut({"coming": coming, "notes": notes}).data)

    @extend_schema(parameters=[FiringFilter], responses=FiringOut(many=True))
    @action(detail=True, url_path="firings", url_name="firings")
    def history(self, request: Request, pk: str) -> Response:
        """Every fire time that was decided or deferred, with the reason."""
        return self.page(self.get_object().firings.filter(**self.asked(FiringFilter)), FiringOut)

    @extend_schema(request=Nothing, responses={201: FiringOut})
    @action(detail=True, methods=["post"])
    def fire(self, request: Request, pk: str) -> Response:
        """Run now, whatever is new."""
        return self.shown(firings.fire_now(self.get_object(), actor=self.user), FiringOut, 201)
