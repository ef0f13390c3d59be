"""Uploads: a file comes in as a stream, its import is watched here, its row errors are read here."""

from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.arriving import PARAMETERS, REQUEST, arriving, options_of
from flywheel.api.datasets import sent
from flywheel.api.resource import Asked, Nothing
from flywheel.api.upload_findings import FoundUploads
from flywheel.api.upload_mapping import MappedUploads
from flywheel.api.upload_proof import ProvedUploads
from flywheel.api.upload_shown import OneUploadOut, UploadOut
from tasks.errors import Invalid
from tasks.models import RowIssue, Upload
from tasks.services import rejections, uploads


class IssueOut(serializers.ModelSerializer[RowIssue]):
    class Meta:
        model = RowIssue
        fields = ("line", "field", "code", "sentence", "remedy", "value", "evidence")
        extra_kwargs = {"evidence": {"help_text": "What a check decided by: the other row, the suite, the share."}}


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


class Uploads(MappedUploads, FoundUploads, ProvedUploads):
    streams_body = frozenset({"create"})

    @property
    def paginator(self) -> Any:
        if self.action == "issues" and not hasattr(self, "_paginator"):
            self._paginator = ByLine()
        return super().paginator

    @extend_schema(
        request=REQUEST,
        parameters=PARAMETERS,
        responses={201: UploadOut, 200: UploadOut},
    )
    def create(self, request: Request) -> Response:
        """Upload a file of rows: JSON Lines, JSON, CSV, TSV, Parquet or XLSX, as it is or gzipped. 201 when it is new;
        200 with the first upload when these bytes are there. Large files: POST /uploads/resumable."""
        uploads.require_size(int(request.META.get("CONTENT_LENGTH") or 0))
        fields, filename, stream = arriving(request)
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

    @extend_schema(request=Nothing, responses=UploadOut)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Import a failed upload again, from the row after the last one kept."""
        upload = self.get_object()
        uploads.retry(upload, actor=self.user)
        upload.refresh_from_db()
        return self.shown(upload, UploadOut)

    @extend_schema(request=Nothing, responses=UploadOut)
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, pk: str) -> Response:
        """Give up a file in state `unmapped`: no row of it comes in, its bytes are removed, it ends as `failed`. The
        same file uploaded again begins anew."""
        upload = self.get_object()
        uploads.withdraw(upload, actor=self.user)
        upload.refresh_from_db()
        return self.shown(upload, UploadOut)
