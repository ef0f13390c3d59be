"""An upload as the API shows it: how far its import is, what its file is, and its proof."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from tasks.models import ProofRun, Upload
from tasks.services import progress


class CostOut(serializers.Serializer[Any]):
    judged_rows = serializers.IntegerField(help_text="That judges would prove.")
    sample_rows = serializers.IntegerField(help_text="That they are asked about.")
    calls = serializers.IntegerField()
    tokens = serializers.IntegerField()
    models = serializers.ListField(child=serializers.CharField())


class ProofRunOut(serializers.ModelSerializer[ProofRun]):
    estimate = serializers.SerializerMethodField(help_text="What its judges cost, about; null: there is none.")

    class Meta:
        model = ProofRun
        fields = ("state", "counts", "refusals", "estimate", "started_at", "finished_at")

    @extend_schema_field(CostOut(allow_null=True))
    def get_estimate(self, run: ProofRun) -> dict[str, Any] | None:
        return dict(CostOut(run.estimate).data) if run.estimate else None


class UploadOut(serializers.ModelSerializer[Upload]):
    team = serializers.CharField(source="team.slug")
    dataset_name = serializers.CharField(source="dataset.__str__")
    format = serializers.CharField(help_text="jsonl, json, csv, tsv, parquet or xlsx; empty until its head was read.")
    mapping = serializers.JSONField(
        allow_null=True,
        help_text="How its rows are read: see POST /uploads/{id}/mapping. null: not settled yet; a file in state "
        "`unmapped` waits for it.",
    )
    counts = serializers.JSONField(
        help_text="rows, valid, needs_grader, duplicates, conflicts, rejected {code: rows}, found {kind: rows}."
    )
    rows_per_second = serializers.SerializerMethodField(help_text="Since the import began; null before that.")
    share_done = serializers.SerializerMethodField(help_text="Of the file's bytes, from 0 to 1.")
    seconds_left = serializers.SerializerMethodField(help_text="Of the import, about; null where it does not run.")
    proof = serializers.SerializerMethodField()

    class Meta:
        model = Upload
        fields = (
            "id", "team", "dataset", "dataset_name", "filename", "sha256", "bytes", "mode", "corrects", "format",
            "mapping", "state", "failure", "attempt", "line", "read_bytes", "counts", "rows_per_second", "share_done",
            "seconds_left", "proof", "created_at", "started_at", "finished_at",
        )  # fmt: skip

    def get_rows_per_second(self, upload: Upload) -> float | None:
        if upload.started_at is None:
            return None
        seconds = ((upload.finished_at or timezone.now()) - upload.started_at).total_seconds()
        return round(upload.line / seconds, 1) if seconds > 0 else None

    def get_share_done(self, upload: Upload) -> float:
        return round(progress.share_read(upload), 4)

    def get_seconds_left(self, upload: Upload) -> float | None:
        left = progress.seconds_left(upload)
        return None if left is None else round(left, 1)

    @extend_schema_field(ProofRunOut(allow_null=True))
    def get_proof(self, upload: Upload) -> dict[str, Any] | None:
        proof = getattr(upload, "proof", None)
        return dict(ProofRunOut(proof).data) if proof else None


class ColumnOut(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="Dotted where it stands inside an object.")
    values = serializers.ListField(child=serializers.CharField(), help_text="Of the first rows, shortened.")


class DetectedOut(serializers.Serializer[Any]):
    """What the file is, as its head says."""

    columns = ColumnOut(many=True, required=False)
    dialect = serializers.CharField(required=False)
    guess = serializers.JSONField(required=False, help_text="The mapping that it looks like.")
    confident = serializers.BooleanField(required=False, help_text="Whether `auto` takes the guess.")
    grader = serializers.JSONField(required=False, allow_null=True, help_text="That its references look like.")
    rows = serializers.IntegerField(required=False, allow_null=True, help_text="Where the file says so.")
    notes = serializers.ListField(required=False, child=serializers.CharField())
    by = serializers.CharField(
        required=False,
        allow_null=True,
        help_text="What settled the mapping: given, corrected, native, remembered or guessed.",
    )


class OneUploadOut(UploadOut):
    detected = DetectedOut()

    class Meta(UploadOut.Meta):
        fields = (*UploadOut.Meta.fields, "detected")  # type: ignore[assignment]
