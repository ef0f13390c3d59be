"""Reviews: the queue, decisions in bulk, and undo. One decision is a verb of its task."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Nothing, Resource
from flywheel.api.tasks import ReviewOut, TaskFilter, TaskOut, narrowed
from tasks.errors import NotFound
from tasks.models import Membership, Review, Task
from tasks.services import reviews, suspecting
from tasks.states import REVIEWABLE, Role, Split, TaskState


class ReviewFilter(Asked):
    decision = serializers.ChoiceField(choices=Review.Decision.choices, required=False)
    task = serializers.IntegerField(required=False)


class Chosen(Given):
    """Which tasks of the queue: the filters of the task list, or ids."""

    dataset = serializers.CharField(required=False, help_text="Id, or team/slug.")
    state = serializers.ChoiceField(choices=[(s.value, s.value) for s in TaskState], required=False)
    domain = serializers.CharField(required=False)
    split = serializers.ChoiceField(choices=[(s.value, s.value) for s in Split], required=False)
    ids = serializers.ListField(child=serializers.IntegerField(), max_length=10_000, required=False)


class BulkIn(Given):
    decision = serializers.ChoiceField(choices=Review.Decision.choices)
    filter = Chosen(help_text="Which tasks of the queue. Empty: every one that you may review.")
    reason_code = serializers.ChoiceField(
        choices=Review.ReasonCode.choices, required=False, default="", allow_blank=True
    )
    note = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)
    dry_run = serializers.BooleanField(default=False, help_text="Only count.")


class BulkOut(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    batch = serializers.UUIDField(allow_null=True, help_text="Undo all of them by POST /reviews/batches/{batch}/undo.")


class UndoneOut(serializers.Serializer[Any]):
    undone = serializers.IntegerField()


class Reviews(Resource):
    model = Review

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Review.objects.none()
        return Review.objects.filter(task__in=self.rows(Task)).select_related("reviewer")

    def _queue(self, asked: dict[str, Any]) -> Any:
        """Tasks that wait for a person, in spaces where the caller reviews."""
        reviewing = Membership.objects.filter(user=self.caller.user, role__in=[Role.REVIEWER, Role.ADMINISTRATOR])
        spaces = list(reviewing.values_list("team", flat=True))
        rows = narrowed(self, asked)
        if asked.get("state") == TaskState.APPROVED:  # and its reference is suspected
            rows = rows.filter(pk__in=suspecting.suspected(spaces).values("pk"))
        else:
            rows = rows.filter(state__in=REVIEWABLE, space__in=spaces)
        return rows.filter(pk__in=asked["ids"]) if "ids" in asked else rows

    @extend_schema(parameters=[ReviewFilter], responses=ReviewOut(many=True))
    def list(self, request: Request) -> Response:
        """Decisions, newest first, undone ones included."""
        return self.page(self.get_queryset().filter(**self.asked(ReviewFilter)), ReviewOut)

    @extend_schema(responses=ReviewOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One decision."""
        return self.shown(self.get_object(), ReviewOut)

    @extend_schema(parameters=[TaskFilter], responses=TaskOut(many=True))
    @action(detail=False)
    def queue(self, request: Request) -> Response:
        """Tasks that wait for your decision; with state=approved those whose reference is suspected to be wrong."""
        return self.page(self._queue(self.asked(TaskFilter)).select_related("space", "grader"), TaskOut)

    @extend_schema(request=BulkIn, responses=BulkOut)
    @action(detail=False, methods=["post"])
    def bulk(self, request: Request) -> Response:
        """Decide on many tasks at once; with dry_run, only say how many it would be."""
        given = self.given(BulkIn)
        result = reviews.bulk(
            self._queue(dict(given["filter"])), given["decision"], reviewer=self.user,
            reason_code=given["reason_code"], note=given["note"], dry_run=given["dry_run"],
        )  # fmt: skip
        return self.shown(result, BulkOut)

    @extend_schema(request=Nothing, responses=ReviewOut)
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str) -> Response:
        """Take one decision back: the task returns to where it was."""
        review = self.get_object()
        reviews.undo(review, actor=self.user)
        review.refresh_from_db()
        return self.shown(review, ReviewOut)

    @extend_schema(request=Nothing, responses=UndoneOut)
    @action(detail=False, methods=["post"], url_path=r"batches/(?P<batch>[0-9a-f-]{36})/undo")
    def undo_batch(self, request: Request, batch: str) -> Response:
        """Take the decisions of one bulk action back."""
        if not self.get_queryset().filter(batch=uuid_of(batch)).exists():
            raise NotFound("not_found", "There is no such bulk action that you may see: check its id.", "batch")
        return Response({"undone": reviews.undo_batch(uuid_of(batch), actor=self.user)})


def uuid_of(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound("not_found", "There is no such bulk action that you may see: check its id.", "batch") from None
