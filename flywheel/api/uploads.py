"""Uploads: a file comes in as a stream, its import is watched here, its row errors are read here."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.http import QueryDict, StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import exceptions, serializers
from rest_framework.decorators import action
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.datasets import sent
from flywheel.api.resource import Asked, Given, Nothing, Resource
from flywheel.http.bodies import WholeBody, file_of_form
from tasks.errors import Invalid, TooLarge
from tasks.models import ProofRun, RowIssue, Upload
from tasks.services import judged, mapping, matrix, progress, rejections, reproving, uploads
from tasks.services.mapping import AUTO
from tasks.states import UploadMode

RAW_TYPES = frozenset({"application/x-ndjson", "application/jsonl", "application/octet-stream", "text/plain"})
FORM = "multipart/form-data"


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


def options_of(given: Mapping[str, str]) -> uploads.Options:
    """How a file is to be taken, out of a query string, a form or tus' metadata: all texts."""
    chosen: Any = given.get("mapping") or None
    if chosen is not None and chosen != AUTO:
        with suppress(ValueError, RecursionError):
            chosen = json.loads(chosen)
        chosen = mapping_of(chosen)
    corrects = given.get("corrects") or None
    if corrects is not None and not (corrects.isascii() and corrects.isdecimal() and len(corrects) < 19):
        raise Invalid("bad_corrects", "corrects is the id of an upload.", "corrects")
    return uploads.Options(given.get("mode") or UploadMode.APPEND, chosen, int(corrects) if corrects else None)


def mapping_of(given: Any) -> dict[str, Any] | str:
    if isinstance(given, dict) or given == AUTO:
        return given
    raise Invalid("bad_mapping", 'Give a mapping as a JSON object, or "auto".', "mapping")


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


class PreviewIn(Given):
    mapping = serializers.JSONField(help_text='A mapping: {"columns": {"frage": "prompt", "antwort": "reference"}}.')


class MappingIn(PreviewIn):
    mapping = serializers.JSONField(
        help_text='A mapping: {"columns": {"frage": "prompt", "antwort": "reference"}}; or "auto" for the guess.'
    )
    remember = serializers.BooleanField(
        required=False, default=False, help_text="For the caller's files with the same columns."
    )


class MessageOut(serializers.Serializer[Any]):
    role = serializers.CharField()
    content = serializers.CharField()


class TaskPreviewOut(serializers.Serializer[Any]):
    messages = MessageOut(many=True)
    item = serializers.JSONField()
    gold = serializers.CharField(allow_null=True)
    grader = serializers.JSONField(allow_null=True, help_text="null: the dataset's.")
    domain = serializers.CharField()
    metadata = serializers.JSONField()


class PreviewRowOut(serializers.Serializer[Any]):
    line = serializers.IntegerField(help_text="1 is the first row.")
    raw = serializers.JSONField(help_text="The row as it stands; of long texts beginning and end.")
    task = TaskPreviewOut(allow_null=True, source="row")
    issues = serializers.SerializerMethodField()

    @extend_schema_field(serializers.ListField(child=serializers.DictField()))
    def get_issues(self, shown: mapping.Previewed) -> list[dict[str, Any]]:
        return [asdict(found) for found in shown.issues]


class IssueOut(serializers.ModelSerializer[RowIssue]):
    class Meta:
        model = RowIssue
        fields = ("line", "field", "code", "sentence", "remedy", "value", "evidence")
        extra_kwargs = {"evidence": {"help_text": "What a check decided by: the other row, the suite, the share."}}


class CellOut(serializers.Serializer[Any]):
    outcome = serializers.CharField(
        help_text="earned, failed, ungradable, absent, not_sampled; or refused, passed, skipped, not_made, ungradable."
    )
    count = serializers.IntegerField()
    share = serializers.FloatField(help_text="Of this grader's rows, from 0 to 1.")
    meaning = serializers.ChoiceField(choices=["right", "false_reject", "false_accept", "open"])
    has_rows = serializers.BooleanField(help_text="Whether matrix/rows lists them.")


class MatrixLineOut(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="gold, or a kind of wrong answer.")
    cells = CellOut(many=True)


class MatrixOut(serializers.Serializer[Any]):
    type = serializers.CharField(help_text="Of grader.")
    rows = serializers.IntegerField()
    refusal = serializers.CharField(help_text="Why the grader is refused for this upload; empty where it is not.")
    lines = MatrixLineOut(many=True)


class CellFilter(Asked):
    grader = serializers.CharField(help_text="A type that the matrix has.")
    row = serializers.CharField(help_text="gold, or a kind of wrong answer.")
    cell = serializers.CharField(help_text="An outcome of that row.")
    after = serializers.IntegerField(required=False, default=0, min_value=0, max_value=2**31 - 1)
    limit = serializers.IntegerField(required=False, default=50, min_value=1, max_value=500)


class CellRowOut(serializers.Serializer[Any]):
    line = serializers.IntegerField()
    task = serializers.IntegerField(source="task_id")
    excerpt = serializers.CharField(help_text="Of the answer that was tried.")
    read = serializers.CharField(allow_null=True)
    reason = serializers.CharField()
    score = serializers.FloatField(allow_null=True, help_text="Of right answers only.")


class CellRowsOut(serializers.Serializer[Any]):
    rows = CellRowOut(many=True)
    next_after = serializers.IntegerField(allow_null=True, help_text="`after` of the next page; null on the last.")


class AgainOut(serializers.Serializer[Any]):
    rows = serializers.IntegerField(help_text="That are proved again.")


class CostIn(Given):
    rows = serializers.IntegerField(
        required=False,
        allow_null=True,
        default=None,
        min_value=0,
        max_value=judged.MAX_SAMPLE,
        help_text="To ask judges about; 0: none; left out: the estimate's sample.",
    )


class UploadFilter(Asked):
    dataset = serializers.CharField(required=False, help_text="Id, or team/slug.")
    state = serializers.ChoiceField(choices=Upload._meta.get_field("state").choices or [], required=False)


class IssueFilter(Asked):
    code = serializers.CharField(required=False)


class ByLine(CursorPagination):
    ordering = ("line", "id")
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 500


class Uploads(Resource):
    model = Upload
    streams_body = frozenset({"create"})

    @property
    def paginator(self) -> Any:
        if self.action == "issues" and not hasattr(self, "_paginator"):
            self._paginator = ByLine()
        return super().paginator

    @extend_schema(
        request={
            "application/x-ndjson": OpenApiTypes.BINARY,
            "application/octet-stream": OpenApiTypes.BINARY,
            FORM: {
                "type": "object",
                "properties": {
                    **{name: {"type": "string"} for name in ("dataset", "mode", "mapping", "corrects")},
                    "file": {"type": "string", "format": "binary"},
                },
                "required": ["file"],
            },
        },
        parameters=[
            OpenApiParameter(
                "dataset", str, description="Id, or team/slug. In a form it may be a field ahead of file."
            ),
            OpenApiParameter("filename", str, description="A label for people; its ending tells CSV from TSV."),
            OpenApiParameter(
                "mode",
                str,
                enum=[m.value for m in UploadMode],
                description="replace: of what the dataset held, only the rows that this file holds stay in it.",
            ),
            OpenApiParameter(
                "mapping",
                str,
                description='How rows are read: a mapping as JSON, or "auto" for a known dialect. '
                "Without it a file that is not native waits in state `unmapped` for POST /uploads/{id}/mapping.",
            ),
            OpenApiParameter("corrects", int, description="The upload whose rejected rows this file holds, corrected."),
        ],
        responses={201: UploadOut, 200: UploadOut},
    )
    def create(self, request: Request) -> Response:
        """Upload a file of rows: JSON Lines, JSON, CSV, TSV, Parquet or XLSX, as it is or gzipped. 201 when it is new;
        200 with the first upload when these bytes are there. Large files: POST /uploads/resumable."""
        if int(request.META.get("CONTENT_LENGTH") or 0) > settings.UPLOAD_MAX_BYTES:
            raise TooLarge("file_too_large", f"A file may have {settings.UPLOAD_MAX_BYTES:,} bytes: split it.", "file")
        fields, filename, stream = self._arriving(request)
        dataset = fields.get("dataset", "")
        if not dataset:
            raise Invalid(
                "dataset_missing", "Name the dataset: add ?dataset=… or a form field ahead of the file.", "dataset"
            )
        upload, created = uploads.receive(
            self.dataset(dataset),
            stream,
            filename=filename or "upload.jsonl",
            actor=self.user,
            options=options_of(fields),
        )
        return self.shown(upload, UploadOut, 201 if created else 200)

    def _arriving(self, request: Request) -> tuple[Mapping[str, str], str, Iterable[bytes]]:
        """What was said about the file, its name and the bytes as they come in."""
        asked, kind = request.query_params, (request.content_type or "").partition(";")[0].strip().lower()
        if kind in RAW_TYPES:
            return asked.dict(), asked.get("filename", ""), WholeBody(request._request)
        if kind != FORM:
            raise exceptions.UnsupportedMediaType(
                kind, f"A file cannot be sent as {kind[:60]}: use {FORM} or application/x-ndjson."
            )
        if hasattr(request._request, "_files"):  # the CSRF check of a browser session has read the form to disk
            fields, file = request._request.POST, request._request.FILES.get("file")
            if file is None:
                raise Invalid("file_missing", "The form has no file: send it in a field called file.", "file")
            name, stream = file.name or "", file.chunks()
        else:
            fields, name, stream = file_of_form(request._request)  # type: ignore[assignment]
        told = {**(fields.dict() if isinstance(fields, QueryDict) else fields), **asked.dict()}
        return told, asked.get("filename") or name, stream

    @extend_schema(parameters=[UploadFilter], responses=UploadOut(many=True))
    def list(self, request: Request) -> Response:
        """Uploads, newest first."""
        asked = self.asked(UploadFilter)
        rows = self.get_queryset().select_related("team", "dataset__team", "proof")
        if "dataset" in asked:
            rows = rows.filter(dataset=self.dataset(asked["dataset"]))
        if "state" in asked:
            rows = rows.filter(state=asked["state"])
        return self.page(rows, UploadOut)

    @extend_schema(responses=OneUploadOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One upload: what its file is, how far its import and its proof are."""
        return self.shown(self.get_object(), OneUploadOut)

    @extend_schema(request=MappingIn, responses=OneUploadOut)
    @action(detail=True, methods=["post"])
    def mapping(self, request: Request, pk: str) -> Response:
        """Say how the rows of a file in state `unmapped` are read; its import begins.

        Targets of `columns` are prompt, messages, system, reference, gold, domain, grader, choices, item, item.NAME,
        metadata, metadata.NAME and ignore; a column that is not named goes into the metadata. `dialect`,
        `reference_after`, `choices_in_prompt` and `grader` are optional.
        """
        upload, given = self.get_object(), self.given(MappingIn)
        mapping.confirm(upload, mapping_of(given["mapping"]), actor=self.user, remember=given["remember"])
        upload.refresh_from_db()
        return self.shown(upload, OneUploadOut)

    @extend_schema(request=PreviewIn, responses=PreviewRowOut(many=True))
    @action(detail=True, methods=["post"], url_path="mapping/preview", pagination_class=None)
    def preview(self, request: Request, pk: str) -> Response:
        """The first rows as they stand and as they would be read; nothing is stored."""
        upload, given = self.get_object(), mapping_of(self.given(PreviewIn)["mapping"])
        if isinstance(given, str):
            raise Invalid("bad_mapping", "Give a mapping as a JSON object.", "mapping")
        chosen = mapping.parse(given)
        if problems := mapping.problems(upload, chosen):
            raise Invalid("bad_mapping", " ".join(problems), "mapping")
        return Response(PreviewRowOut(mapping.preview(upload, chosen), many=True).data)

    @extend_schema(parameters=[IssueFilter], responses=IssueOut(many=True))
    @action(detail=True)
    def issues(self, request: Request, pk: str) -> Response:
        """What is wrong with which row, by line."""
        return self.page(self.get_object().issues.filter(**self.asked(IssueFilter)), IssueOut)

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    @action(detail=True, pagination_class=None)
    def rejected(self, request: Request, pk: str) -> StreamingHttpResponse:
        """Only the rejected rows, in the format uploaded, with why in front of each: correct them and upload the file
        with `corrects={id}`."""
        return sent(rejections.file(self.get_object()))

    @extend_schema(responses=MatrixOut(many=True))
    @action(detail=True, pagination_class=None)
    def matrix(self, request: Request, pk: str) -> Response:
        """False accepts and false rejects of its graders: how the right answer and six wrong ones came out."""
        return Response(MatrixOut(matrix.of(self.get_object()), many=True).data)

    @extend_schema(parameters=[CellFilter], responses=CellRowsOut)
    @action(detail=True, url_path="matrix/rows")
    def matrix_rows(self, request: Request, pk: str) -> Response:
        """The rows of one cell of the matrix, by line."""
        upload, asked = self.get_object(), self.asked(CellFilter)
        cell = (asked["grader"], asked["row"], asked["cell"])
        return self.shown(matrix.rows(upload, *cell, after=asked["after"], limit=asked["limit"]), CellRowsOut)

    @extend_schema(request=Nothing, responses=AgainOut)
    @action(detail=True, methods=["post"])
    def prove(self, request: Request, pk: str) -> Response:
        """Prove again what could not be graded."""
        return Response({"rows": reproving.again(self.get_object(), actor=self.user)})

    @extend_schema(request=CostIn, responses=UploadOut)
    @action(detail=True, methods=["post"])
    def judge(self, request: Request, pk: str) -> Response:
        """Agree to what the judges of its graders cost (see `proof.estimate`): they are asked then."""
        upload = self.get_object()
        reproving.confirm_cost(upload, actor=self.user, rows=self.given(CostIn)["rows"])
        upload.refresh_from_db()
        return self.shown(upload, UploadOut)

    @extend_schema(request=Nothing, responses=UploadOut)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Import a failed upload again, from the row after the last one kept."""
        upload = self.get_object()
        uploads.retry(upload, actor=self.user)
        upload.refresh_from_db()
        return self.shown(upload, UploadOut)
