"""Datasets: made, given a default grader, frozen into versions."""

import dataclasses
from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Nothing, Resource, teams_of
from flywheel.api.uses import UsedInOut, shown_uses
from flywheel.api.withdrawals import ConsequencesOut, previewed
from tasks.errors import Forbidden, NotFound
from tasks.formats.writing import DIALECTS
from tasks.models import Dataset, DatasetVersion, GraderChange, Task
from tasks.services import datasets, differences, exporting, regrading, tombstones, trying
from tasks.services.differences import Kind, Side
from tasks.services.rejections import File
from tasks.states import Split, TaskState, Visibility
from trainer.models import Line
from trainer.services import uses

VISIBILITIES = [(v.value, v.value) for v in Visibility]


class DatasetOut(serializers.ModelSerializer[Dataset]):
    team = serializers.CharField(source="team.slug")
    ref = serializers.CharField(source="__str__", help_text="team/slug: accepted wherever a dataset is named.")
    default_grader = serializers.JSONField(source="default_grader.config", default=None)

    class Meta:
        model = Dataset
        fields = (
            "id", "ref", "team", "slug", "name", "description", "domain", "visibility", "licence", "consent_version",
            "held_out", "default_grader", "created_at",
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


class ExportFilter(Asked):
    format = serializers.ChoiceField(choices=[(name, name) for name in DIALECTS], required=False, default="native")
    split = serializers.ChoiceField(
        choices=[(s.value, s.value) for s in Split],
        required=False,
        help_text="Only this one; else train and validation.",
    )
    sealed = serializers.BooleanField(
        required=False, default=False, help_text="With the sealed split: only of your team's own private dataset."
    )
    gzip = serializers.BooleanField(required=False, default=False)
    archive = serializers.BooleanField(
        required=False, default=False, help_text="A zip: data by split, README.md, croissant.json, graders.json."
    )


class ChangesFilter(Asked):
    old = serializers.IntegerField(required=False, help_text="Number of the earlier version; left out: the newest.")
    new = serializers.IntegerField(required=False, help_text="Number of the later one; left out: what is approved now.")
    kind = serializers.ChoiceField(choices=[(k.value, k.value) for k in Kind], required=False, default=Kind.ADDED)
    after = serializers.IntegerField(required=False, default=0, min_value=0, max_value=2**63 - 1)
    limit = serializers.IntegerField(required=False, default=50, min_value=1, max_value=500)


class SideOut(serializers.ModelSerializer[Task]):
    prompt = serializers.CharField()
    grader = serializers.JSONField(source="grader.config", default=None)

    class Meta:
        model = Task
        fields = ("id", "state", "prompt", "item", "gold", "grader")


class DifferenceOut(serializers.Serializer[Any]):
    old = SideOut(allow_null=True)
    new = SideOut(allow_null=True)


class ChangesOut(serializers.Serializer[Any]):
    added = serializers.IntegerField()
    removed = serializers.IntegerField()
    changed = serializers.IntegerField(help_text="The same prompt with another answer or grader.")
    same = serializers.IntegerField()
    rows = DifferenceOut(many=True, help_text="Of the kind asked for.")
    next_after = serializers.IntegerField(allow_null=True, help_text="`after` of the next page; null on the last.")


def sent(file: File) -> StreamingHttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{file.name}"', "X-Content-Type-Options": "nosniff"}
    return StreamingHttpResponse(file.pieces, content_type=file.kind, headers=headers)


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

    @extend_schema(parameters=[ExportFilter], responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    @action(detail=True, pagination_class=None)
    def export(self, request: Request, pk: str) -> StreamingHttpResponse:
        """What is approved now, as a file. The sealed split of contributed data is in none."""
        return self._export(self.get_object(), None)

    @extend_schema(parameters=[ExportFilter], responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    @action(detail=True, url_path=r"versions/(?P<number>\d{1,9})/export", pagination_class=None)
    def export_version(self, request: Request, pk: str, number: str) -> StreamingHttpResponse:
        """A frozen version as a file, without what has been withdrawn or rejected since."""
        dataset = self.get_object()
        return self._export(dataset, exporting.version_of(dataset, int(number)))

    def _export(self, dataset: Dataset, version: DatasetVersion | None) -> StreamingHttpResponse:
        asked = self.asked(ExportFilter)
        sealed = asked["sealed"] or asked.get("split") == Split.SEALED
        if sealed and not teams_of(self.caller).filter(pk=dataset.team_id).exists():
            raise Forbidden("sealed", "Only its own team exports the sealed split of a private dataset.", "sealed")
        selection = exporting.select(
            dataset, actor=self.user, version=version, split=asked.get("split", ""), sealed=asked["sealed"]
        )
        if asked["archive"]:
            page = self.request.build_absolute_uri(f"/datasets/{dataset.team.slug}/{dataset.slug}")
            return sent(exporting.archive(selection, asked["format"], actor=self.user, address=page))
        file = exporting.file(selection, asked["format"], actor=self.user, compressed=asked["gzip"])
        return sent(file)

    @extend_schema(responses=UsedInOut)
    @action(detail=True, url_path="used-in", pagination_class=None)
    def used_in(self, request: Request, pk: str) -> Response:
        """Mixtures, runs and versions that saw its rows, with their share, and what came of those versions."""
        lines = Line.objects.for_user(self.user, self.caller.team)
        return self.shown(shown_uses(uses.of_dataset(self.get_object(), lines)), UsedInOut)

    @extend_schema(responses=UsedInOut)
    @action(detail=True, url_path=r"versions/(?P<number>\d{1,9})/used-in", pagination_class=None)
    def version_used_in(self, request: Request, pk: str, number: str) -> Response:
        """The same of one frozen version."""
        version = exporting.version_of(self.get_object(), int(number))
        lines = Line.objects.for_user(self.user, self.caller.team)
        return self.shown(shown_uses(uses.of_dataset_version(version, lines)), UsedInOut)

    @extend_schema(responses=ConsequencesOut)
    @action(detail=True, pagination_class=None)
    def withdrawal(self, request: Request, pk: str) -> Response:
        """What withdrawing it would do. Nothing happens; POST /withdrawals does it."""
        return previewed(self, self.get_object())

    @extend_schema(parameters=[ChangesFilter], responses=ChangesOut)
    @action(detail=True, pagination_class=None)
    def changes(self, request: Request, pk: str) -> Response:
        """Two versions, or one and what is approved now: what came, what went, what has another answer or grader."""
        dataset, asked = self.get_object(), self.asked(ChangesFilter)
        old, new = (
            Side(dataset, exporting.version_of(dataset, asked[name]) if name in asked else default())
            for name, default in (("old", lambda: _newest(dataset)), ("new", lambda: None))
        )
        counts = differences.counts(old, new)
        page = differences.rows(old, new, Kind(asked["kind"]), after=asked["after"], limit=asked["limit"])
        tombstones.bury(page.tasks, self.user, self.caller.team)
        shown = {**dataclasses.asdict(counts), "rows": page.rows, "next_after": page.next_after}
        return self.shown(shown, ChangesOut)


def _newest(dataset: Dataset) -> DatasetVersion:
    newest = dataset.versions.first()
    if newest is None:
        raise NotFound("no_version", f"{dataset} has no version to compare with: freeze one first.", "old")
    found: DatasetVersion = newest
    return found


def counts_of(dataset: Dataset) -> dict[str, dict[str, int]]:
    counts = datasets.counts(dataset)
    return {
        "states": {state: counts.get(state, 0) for state in TaskState},
        "splits": {split: counts.get(split, 0) for split in Split},
    }
