"""Wrappers: instructions around a question that count for nothing when prompts of a space are compared."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Nothing, Resource
from tasks.models import Wrapper
from tasks.services import wrapping
from tasks.states import WrapperState

PLACES = (("start", "start"), ("end", "end"))


class WrapperOut(serializers.ModelSerializer[Wrapper]):
    space = serializers.CharField(source="space.slug")
    place = serializers.SerializerMethodField(help_text="start or end of a prompt.")
    text = serializers.SerializerMethodField(help_text="Folded, as prompts are compared.")
    rows = serializers.IntegerField(help_text="Of the upload that proposed it.")
    decided_by = serializers.CharField(source="decided_by.username", default=None)
    stored_tasks_follow = serializers.SerializerMethodField(help_text="False while the job is under way.")

    class Meta:
        model = Wrapper
        fields = (
            "id", "space", "place", "text", "state", "rows", "upload", "example", "decided_by", "stored_tasks_follow",
            "at",
        )  # fmt: skip

    def get_place(self, wrapper: Wrapper) -> str:
        return wrapper.text.split(" ", 1)[0]

    def get_text(self, wrapper: Wrapper) -> str:
        return wrapper.text.split(" ", 1)[1]

    def get_stored_tasks_follow(self, wrapper: Wrapper) -> bool:
        return wrapper.state == WrapperState.PROPOSED or wrapper.rekeyed == wrapping.DONE


class WrapperIn(Given):
    space = serializers.CharField(required=False, help_text="Slug of the team whose space it is.")
    place = serializers.ChoiceField(choices=PLACES)
    text = serializers.CharField(max_length=wrapping.MOST_CHARACTERS, help_text="As it is written.")


class WrapperFilter(Asked):
    state = serializers.ChoiceField(choices=[(s.value, s.value) for s in WrapperState], required=False)


class Wrappers(Resource):
    model = Wrapper

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Wrapper.objects.none()
        return wrapping.visible_to(self.user, self.caller.team).select_related("space", "decided_by")

    @extend_schema(parameters=[WrapperFilter], responses=WrapperOut(many=True))
    def list(self, request: Request) -> Response:
        """Wrappers of the spaces where you review, newest first. The built-in ones are approved everywhere."""
        return self.page(self.get_queryset().filter(**self.asked(WrapperFilter)), WrapperOut)

    @extend_schema(responses=WrapperOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One wrapper."""
        return self.shown(self.get_object(), WrapperOut)

    @extend_schema(request=WrapperIn, responses={201: WrapperOut})
    def create(self, request: Request) -> Response:
        """Approve a wrapper that no upload has proposed."""
        given = self.given(WrapperIn)
        space = self.team(given.pop("space", None))
        return self.shown(wrapping.add(space, **given, reviewer=self.user), WrapperOut, 201)

    @extend_schema(request=Nothing, responses=WrapperOut)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str) -> Response:
        """It is taken off before prompts are compared, from now on; stored tasks follow in a job."""
        return self.shown(wrapping.approve(self.get_object(), reviewer=self.user), WrapperOut)

    @extend_schema(request=Nothing, responses=WrapperOut)
    @action(detail=True, methods=["post"])
    def refuse(self, request: Request, pk: str) -> Response:
        """It belongs to the question. Of one that was approved, what was found by it alone is taken back."""
        return self.shown(wrapping.refuse(self.get_object(), reviewer=self.user), WrapperOut)
