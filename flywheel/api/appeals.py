"""Appeals: a contributor asks for another look at a rejection, a reviewer of the space answers."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Resource
from tasks.errors import Invalid
from tasks.models import Appeal, Task, Upload
from tasks.services import appeals
from tasks.states import AppealState


class AppealOut(serializers.ModelSerializer[Appeal]):
    space = serializers.CharField(source="space.slug")
    asked_by = serializers.CharField(source="asked_by.username")
    answered_by = serializers.CharField(source="answered_by.username", default=None)

    class Meta:
        model = Appeal
        fields = (
            "id", "space", "task", "upload", "line", "code", "note", "asked_by", "at", "state", "answer", "answered_by",
            "answered_at",
        )  # fmt: skip


class AppealIn(Given):
    task = serializers.IntegerField(required=False, help_text="A rejected task.")
    upload = serializers.IntegerField(required=False, help_text="With `line`: a row that was refused at import.")
    line = serializers.IntegerField(required=False, min_value=1)
    note = serializers.CharField(max_length=1000, help_text="Why it is right.")


class AnswerIn(Given):
    answer = serializers.CharField(max_length=1000, required=False, default="", allow_blank=True)


class AppealFilter(Asked):
    state = serializers.ChoiceField(choices=[(s.value, s.value) for s in AppealState], required=False)


class Appeals(Resource):
    model = Appeal

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Appeal.objects.none()
        rows = appeals.visible_to(self.user, self.caller.team)
        return rows.select_related("space", "asked_by", "answered_by", "task__space", "upload__dataset")

    @extend_schema(parameters=[AppealFilter], responses=AppealOut(many=True))
    def list(self, request: Request) -> Response:
        """Appeals about rows that you may see, and of spaces where you review, newest first."""
        return self.page(self.get_queryset().filter(**self.asked(AppealFilter)), AppealOut)

    @extend_schema(responses=AppealOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One appeal, with its answer."""
        return self.shown(self.get_object(), AppealOut)

    @extend_schema(request=AppealIn, responses={201: AppealOut})
    def create(self, request: Request) -> Response:
        """Ask for another look at a rejected task, or at a row that a check refused at import."""
        given = self.given(AppealIn)
        if "task" in given:
            task = self.find(self.rows(Task), given["task"], "task")
            return self.shown(appeals.ask_for_task(task, note=given["note"], actor=self.user), AppealOut, 201)
        if "upload" not in given or "line" not in given:
            raise Invalid("subject_missing", "Say about what: give `task`, or `upload` and `line`.", "task")
        upload = self.find(self.rows(Upload).select_related("dataset", "team"), given["upload"], "upload")
        made = appeals.ask_for_row(upload, given["line"], note=given["note"], actor=self.user)
        return self.shown(made, AppealOut, 201)

    @extend_schema(request=AnswerIn, responses=AppealOut)
    @action(detail=True, methods=["post"])
    def grant(self, request: Request, pk: str) -> Response:
        """The task goes back to review; the refused row comes in with the check that refused it lifted."""
        return self.shown(appeals.grant(self.get_object(), reviewer=self.user, **self.given(AnswerIn)), AppealOut)

    @extend_schema(request=AnswerIn, responses=AppealOut)
    @action(detail=True, methods=["post"])
    def refuse(self, request: Request, pk: str) -> Response:
        """It stays rejected. The answer is required: its contributor reads it."""
        return self.shown(appeals.refuse(self.get_object(), reviewer=self.user, **self.given(AnswerIn)), AppealOut)
