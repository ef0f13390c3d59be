"""The log of what happened, and the head of its hash chain."""

from typing import Any

from django.core.cache import cache
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Resource, teams_of
from tasks.models import Event, EventSeal
from tasks.models.events import verify

VERIFIED_FOR_SECONDS = 60


class EventOut(serializers.ModelSerializer[Event]):
    team = serializers.CharField(source="team.slug")
    actor = serializers.CharField(source="actor.username", default=None, help_text="null: the platform.")
    seal = serializers.CharField(source="seal.digest", default=None, help_text="Link of the hash chain.")

    class Meta:
        model = Event
        fields = ("id", "at", "kind", "team", "actor", "subject_type", "subject_id", "data", "seal")


class HeadOut(serializers.Serializer[Any]):
    head = serializers.CharField(allow_blank=True, help_text="Newest link of the chain. Keep it elsewhere.")
    sealed = serializers.IntegerField(help_text="Links that hold.")
    holds = serializers.BooleanField()
    broken_at = serializers.IntegerField(allow_null=True, help_text="First event whose link does not hold.")


class EventFilter(Asked):
    kind = serializers.CharField(required=False)
    subject_type = serializers.CharField(required=False)
    subject_id = serializers.CharField(required=False)


class Events(Resource):
    model = Event

    def get_queryset(self) -> Any:
        """Events of one's teams."""
        if getattr(self, "swagger_fake_view", False):
            return Event.objects.none()
        return Event.objects.filter(team__in=teams_of(self.caller)).select_related("team", "actor", "seal")

    @extend_schema(parameters=[EventFilter], responses=EventOut(many=True))
    def list(self, request: Request) -> Response:
        """What happened in your teams, newest first."""
        return self.page(self.get_queryset().filter(**self.asked(EventFilter)), EventOut)

    @extend_schema(responses=EventOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One event."""
        return self.shown(self.get_object(), EventOut)

    @extend_schema(responses=HeadOut)
    @action(detail=False)
    def head(self, request: Request) -> Response:
        """Head of the hash chain, verified link by link at most a minute ago."""
        return Response(cache.get_or_set("event-chain-head", _head, VERIFIED_FOR_SECONDS))


def _head() -> dict[str, Any]:
    held, broken_at = verify()
    last = EventSeal.objects.order_by("-id").first()
    return {
        "head": last.digest if last else "", "sealed": held, "holds": broken_at is None, "broken_at": broken_at,
    }  # fmt: skip
