"""Mixtures: frozen ordered lists of tasks."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Resource
from tasks.states import TaskState
from trainer.models import Mixture, MixtureEntry
from trainer.services import recipes


class MixtureOut(serializers.ModelSerializer[Mixture]):
    class Meta:
        model = Mixture
        fields = (
            "id", "recipe", "seed", "digest", "size", "by_domain", "by_contributor", "by_grader", "by_difficulty",
            "notes", "created_at",
        )  # fmt: skip


class EntryOut(serializers.ModelSerializer[MixtureEntry]):
    withdrawn = serializers.SerializerMethodField(help_text="A tombstone: it keeps its place, and is not given out.")

    class Meta:
        model = MixtureEntry
        fields = ("position", "task", "withdrawn")

    def get_withdrawn(self, entry: MixtureEntry) -> bool:
        return bool(entry.task.state == TaskState.WITHDRAWN)


class DigestOut(serializers.Serializer[Any]):
    digest = serializers.CharField(help_text="As it was frozen.")
    now = serializers.CharField(help_text="Computed again from the rows as they are.")
    holds = serializers.BooleanField()
    withdrawn = serializers.IntegerField(help_text="Of its tasks, since: they keep place and content digest.")


class MixtureFilter(Asked):
    recipe = serializers.IntegerField(required=False)


class InOrder(CursorPagination):
    ordering = "position"
    page_size = 500
    page_size_query_param = "limit"
    max_page_size = 5000


class Mixtures(Resource):
    model = Mixture

    @property
    def pagination_class(self) -> type[CursorPagination]:  # type: ignore[override]
        return InOrder if self.action == "entries" else super().pagination_class  # type: ignore[return-value]

    @extend_schema(parameters=[MixtureFilter], responses=MixtureOut(many=True))
    def list(self, request: Request) -> Response:
        """Mixtures, newest first. Build one with POST /recipes/{id}/build."""
        return self.page(self.get_queryset().filter(**self.asked(MixtureFilter)), MixtureOut)

    @extend_schema(responses=MixtureOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One mixture."""
        return self.shown(self.get_object(), MixtureOut)

    @extend_schema(responses=EntryOut(many=True))
    @action(detail=True)
    def entries(self, request: Request, pk: str) -> Response:
        """Task ids in training order; a task's content is under /tasks/{id}, for those who may see it."""
        tombs = self.get_object().entries.select_related("task").only("position", "mixture", "task__state")
        return self.page(tombs, EntryOut)

    @extend_schema(responses=DigestOut)
    @action(detail=True)
    def digest(self, request: Request, pk: str) -> Response:
        """Its digest held against its rows: withdrawals leave it as it is."""
        mixture = self.get_object()
        now = recipes.digest(mixture)
        withdrawn = mixture.entries.filter(task__state=TaskState.WITHDRAWN).count()
        told = {"digest": mixture.digest, "now": now, "holds": now == mixture.digest, "withdrawn": withdrawn}
        return self.shown(told, DigestOut)
