"""Samples: programs send questions that a model answered wrongly, with what is right, and consent. They wait in the
team's basket until somebody sends them on as an upload."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Resource
from flywheel.api.upload_shown import UploadOut
from tasks.models import Sample, Upload
from tasks.services import samples
from tasks.services.samples import LONGEST_FEEDBACK, MOST_AT_ONCE, Told
from trainer.services import serving

ROW = ("prompt", "messages", "reference", "gold", "item", "grader", "domain")  # of the native row
SOURCES = [(source.value, source.value) for source in Sample.Source]


class SampleIn(Given):
    prompt = serializers.CharField(required=False, trim_whitespace=False, help_text="Give this or messages.")
    messages = serializers.ListField(child=serializers.DictField(), required=False)
    model = serializers.CharField(max_length=160, help_text="Who answered: best a version, as shared/v3.")
    answer = serializers.CharField(allow_blank=True, trim_whitespace=False, help_text="What it answered, wrongly.")
    reference = serializers.JSONField(required=False, help_text="The right answer. Give this, or a grader.")
    gold = serializers.CharField(required=False, trim_whitespace=False, help_text="A reply that earns full score.")
    item = serializers.DictField(required=False, help_text="What else the grader reads.")
    grader = serializers.DictField(required=False, help_text="Left out: number where the reference is one, else exact.")
    domain = serializers.CharField(required=False, max_length=64, allow_blank=True)
    score = serializers.FloatField(required=False, allow_null=True, default=None, help_text="As you scored the answer.")
    feedback = serializers.CharField(required=False, default="", allow_blank=True, max_length=LONGEST_FEEDBACK)


class SamplesIn(Given):
    team = serializers.SlugField(required=False, help_text="Slug; needed where you are in several teams.")
    licence = serializers.CharField(required=False, default="", allow_blank=True, help_text="SPDX id.")
    consent = serializers.BooleanField(
        required=False, default=False, help_text="true: you agree to the consent text of contributed data."
    )
    samples = serializers.ListField(child=SampleIn(), allow_empty=False, max_length=MOST_AT_ONCE)


class SendIn(Given):
    team = serializers.SlugField(required=False, help_text="Slug; needed where you are in several teams.")
    samples = serializers.ListField(
        child=serializers.IntegerField(),
        required=False,
        allow_empty=False,
        max_length=samples.MOST_WAITING,
        help_text="Ids; left out: all that wait.",
    )
    dataset = serializers.CharField(
        required=False, help_text="Id, or team/slug. Left out: the team's own for what is sent back under the licence."
    )


class SampleFilter(Asked):
    state = serializers.ChoiceField(choices=["collected", "sent"], required=False)
    source = serializers.ChoiceField(choices=SOURCES, required=False)  # type: ignore[assignment]
    licence = serializers.CharField(required=False)


class CollectedSampleOut(serializers.ModelSerializer[Sample]):
    team = serializers.CharField(source="team.slug")
    collected_by = serializers.CharField(source="collected_by.username", allow_null=True, default=None)
    source = serializers.CharField(help_text="playground or program.")  # type: ignore[assignment]
    row = serializers.JSONField(allow_null=True, help_text="As it will be sent; null once it was: the upload has it.")

    class Meta:
        model = Sample
        fields = (
            "id", "team", "source", "row", "asked_as", "version", "answer", "score", "feedback", "licence",
            "consent_version", "collected_by", "created_at", "upload", "line", "sent_at",
        )  # fmt: skip


class CollectedOut(serializers.Serializer[Any]):
    collected = CollectedSampleOut(many=True)


class Samples(Resource):
    model = Sample

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("team", "collected_by")

    @extend_schema(parameters=[SampleFilter], responses=CollectedSampleOut(many=True))
    def list(self, request: Request) -> Response:
        """What you and your teams' programs have collected, newest first. Another person's basket is not here."""
        asked, rows = self.asked(SampleFilter), self.get_queryset()
        if state := asked.pop("state", ""):
            rows = rows.filter(upload__isnull=state == "collected")
        return self.page(rows.filter(**asked), CollectedSampleOut)

    @extend_schema(responses=CollectedSampleOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One sample: what it says while it waits, where it went once it was sent."""
        return self.shown(self.get_object(), CollectedSampleOut)

    @extend_schema(request=SamplesIn, responses={201: CollectedOut})
    def create(self, request: Request) -> Response:
        """Collect wrong answers with the right ones. Without a licence and consent nothing is kept; one that cannot be
        right, and none of the call is."""
        given = self.given(SamplesIn)
        team = self.team(given.get("team"))
        told = [self._told(one, f"samples.{place}") for place, one in enumerate(given["samples"])]
        rights = {"licence": given["licence"], "consent": given["consent"]}
        kept = samples.collect(team, told, actor=self.user, source=Sample.Source.PROGRAM, **rights)
        return self.shown({"collected": kept}, CollectedOut, 201)

    def _told(self, given: Mapping[str, Any], place: str) -> Told:
        version = serving.resolve_version(given["model"], self.user, self.caller.team)
        row = {name: given[name] for name in ROW if name in given}
        further = {"score": given["score"], "feedback": given["feedback"], "place": place}
        return Told(row, given["model"], version.name, given["answer"], **further)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Take it out of the basket: nothing of it is kept. One that was sent is withdrawn as a task instead."""
        sample = self.get_object()
        samples.remove(sample.team, [sample.pk], actor=self.user)
        return Response(status=204)

    @extend_schema(request=SendIn, responses={201: UploadOut, 200: UploadOut})
    @action(detail=False, methods=["post"])
    def send(self, request: Request) -> Response:
        """Make an upload of what waits, or of the samples named. 200 with the upload that they went with, where they
        were sent before."""
        given = self.given(SendIn)
        team = self.team(given.get("team"))
        dataset = self.dataset(given["dataset"]) if "dataset" in given else None
        upload, created = samples.send(team, actor=self.user, chosen=given.get("samples"), dataset=dataset)
        shown = Upload.objects.select_related("team", "dataset__team", "proof").get(pk=upload.pk)
        return self.shown(shown, UploadOut, 201 if created else 200)
