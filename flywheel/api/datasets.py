"""Datasets: made, given a default grader, frozen into versions."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Nothing, Resource
from tasks.models import Dataset, DatasetVersion, GraderChange
from tasks.services import datasets, regrading, trying
from tasks.states import Split, TaskState, Visibility

VISIBILITIES = [(v.value, v.value) for v in Visibility]


class DatasetOut(serializers.ModelSerializer[Dataset]):
    team = serializers.CharField(source="team.slug")
    ref = serializers.CharField(source="__str__", help_text="team/slug: accepted wherever a dataset is named.")
    default_grader = serializers.JSONField(source="default_grader.config", default=None)

    class Meta:
        model = Dataset
        fields = (
            "id", "ref", "team", "slug", "name", "description", "domain", "visibility", "licence", "consent_version",
            "default_grader", "created_at",
        )  # fmt: skip


class VersionOut(serializers.ModelSerializer[DatasetVersion]):
    class Meta:
        model = DatasetVersion
        fields = ("id", "dataset", "number", "digest", "task_count", "created_at")


class CountsOut(serializers.Serializer[Any]):
    states = serializers.DictField(child=serializers.IntegerField(), help_text="Task state → number of tasks.")
    splits = serializers.DictField(child=serializers.IntegerField(), help_text="Split → number of tasks.")


class WaitingOut(serializers.Serializer[Any]):
    waiting = serializers.IntegerField(help_text="Rows that a job now checks against the grader.")


class DatasetIn(Given):
    team = serializers.SlugField(required=False, help_text="Slug; needed where you are in several teams.")
    name = serializers.CharField(max_length=120)
    slug = serializers.SlugField(max_length=80, required=False, default="")
    description = serializers.CharField(required=False, default="", allow_blank=True)
    domain = serializers.CharField(max_length=60, required=False, default="", allow_blank=True)
    visibility = serializers.ChoiceField(choices=VISIBILITIES, default=Visibility.PRIVATE)
    licence = serializers.CharField(max_length=60, required=False, default="", allow_blank=True)
    consent_version = serializers.CharField(max_length=20, required=False, default="", allow_blank=True)
    default_grader = serializers.DictField(required=False, allow_null=True, default=None)


class GraderIn(Given):
    grader = serializers.DictField(help_text="Configuration of a grader: see /api/v1/graders.")


class ChangeIn(GraderIn):
    confirm = serializers.BooleanField(
        required=False, default=False, help_text="Without it nothing changes: the reply says what would."
    )


class GraderChangeOut(serializers.ModelSerializer[GraderChange]):
    class Meta:
        model = GraderChange
        fields = ("id", "dataset", "old", "new", "state", "counts", "created_at", "finished_at")


class ChangeOut(serializers.Serializer[Any]):
    affected = serializers.IntegerField(help_text="Tasks that go back to proof.")
    change = GraderChangeOut(allow_null=True, help_text="null: only asked, nothing is changed.")


class DatasetFilter(Asked):
    team = serializers.SlugField(required=False)
    visibility = serializers.ChoiceField(choices=VISIBILITIES, required=False)


class Datasets(Resource):
    model = Dataset

    @extend_schema(parameters=[DatasetFilter], responses=DatasetOut(many=True))
    def list(self, request: Request) -> Response:
        """Datasets, newest first."""
        asked = self.asked(DatasetFilter)
        rows = self.get_queryset().select_related("team", "default_grader")
        if "team" in asked:
            rows = rows.filter(team__slug=asked["team"])
        if "visibility" in asked:
            rows = rows.filter(visibility=asked["visibility"])
        return self.page(rows, DatasetOut)

    @extend_schema(responses=DatasetOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One dataset."""
        return self.shown(self.get_object(), DatasetOut)

    @extend_schema(request=DatasetIn, responses={201: DatasetOut})
    def create(self, request: Request) -> Response:
        """Make a dataset. Contributed ones need an SPDX licence and the current consent version."""
        given = self.given(DatasetIn)
        team = self.team(given.pop("team", None))
        return self.shown(datasets.create(team, given.pop("name"), actor=self.user, **given), DatasetOut, 201)

    @extend_schema(responses=CountsOut)
    @action(detail=True)
    def counts(self, request: Request, pk: str) -> Response:
        """How many of its tasks are in which state and which split."""
        return Response(counts_of(self.get_object()))

    @extend_schema(request=GraderIn, responses=WaitingOut)
    @action(detail=True, methods=["put"])
    def grader(self, request: Request, pk: str) -> Response:
        """Set the grader of rows that name none."""
        dataset, config = self.get_object(), self.given(GraderIn)["grader"]
        return Response({"waiting": datasets.set_default_grader(dataset, config, actor=self.user)})

    @extend_schema(request=ChangeIn, responses=ChangeOut)
    @grader.mapping.post
    def change_grader(self, request: Request, pk: str) -> Response:
        """Change the grader of what it holds: its tasks are proved again. Asks first, changes with `confirm`."""
        dataset, given = self.get_object(), self.given(ChangeIn)
        trying.check(given["grader"], actor=self.user, space=dataset.space_id)
        affected = regrading.affected(dataset)
        change = regrading.change_grader(dataset, given["grader"], actor=self.user) if given["confirm"] else None
        return self.shown({"affected": affected, "change": change}, ChangeOut)

    @extend_schema(request=Nothing, responses={201: VersionOut})
    @action(detail=True, methods=["post"])
    def freeze(self, request: Request, pk: str) -> Response:
        """Freeze the approved tasks into a version. The same content gives the version that is there already."""
        return self.shown(datasets.freeze(self.get_object(), actor=self.user), VersionOut, 201)

    @extend_schema(responses=VersionOut(many=True))
    @action(detail=True)
    def versions(self, request: Request, pk: str) -> Response:
        """Its frozen versions, newest first."""
        return self.page(self.get_object().versions.all(), VersionOut)


def counts_of(dataset: Dataset) -> dict[str, dict[str, int]]:
    counts = datasets.counts(dataset)
    return {
        "states": {state: counts.get(state, 0) for state in TaskState},
        "splits": {split: counts.get(split, 0) for split in Split},
    }
