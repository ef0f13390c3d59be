"""Resumable uploads: tus 1.0 (https://tus.io/protocols/resumable-upload), creation, termination, expiration, checksum.

Official tus clients work with an API key in the Authorization header, or with a browser's session and its CSRF token.
"""

import base64
import binascii
from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils.http import http_date
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.arriving import mapping_of, options_of
from flywheel.api.resource import Given, Resource
from flywheel.http.auth import SignedInWithScope
from flywheel.http.bodies import WholeBody
from tasks.errors import FlywheelError, Invalid, TooLarge
from tasks.models import Dataset, PartialUpload
from tasks.services import fetching, resumable, uploads
from tasks.states import UploadMode

VERSION = "1.0.0"
PIECE = "application/offset+octet-stream"
LARGEST = 2**63 - 1
EXTENSIONS = "creation,termination,expiration,checksum"


class WrongVersion(FlywheelError):
    status = 412


class ResumableOut(serializers.ModelSerializer[PartialUpload]):
    dataset_name = serializers.CharField(source="dataset.__str__")
    failure = serializers.SerializerMethodField(help_text="Why it could not be fetched from a hub; else empty.")
    offset = serializers.SerializerMethodField(help_text="Bytes that have arrived: go on from here.")

    class Meta:
        model = PartialUpload
        fields = (
            "id",
            "dataset",
            "dataset_name",
            "filename",
            "length",
            "offset",
            "failure",
            "upload",
            "created_at",
            "expires_at",
        )
        extra_kwargs = {"upload": {"help_text": "Id of the upload that it has become; null until it is whole."}}

    def get_failure(self, partial: PartialUpload) -> str:
        return str(partial.options.get("failure", ""))

    def get_offset(self, partial: PartialUpload) -> int:
        return resumable.offset(partial)


def _header(name: str, description: str, *, required: bool = True, kind: Any = str) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.HEADER, description=description, required=required)


_TUS = _header("Tus-Resumable", f"The protocol's version: {VERSION}.")


class HubIn(Given):
    dataset = serializers.CharField(help_text="Id, or team/slug.")
    hub = serializers.CharField(max_length=200, help_text="Id of a Hugging Face dataset: owner/name.")
    path = serializers.CharField(max_length=500, required=False, default="", help_text="Where it holds several files.")
    revision = serializers.CharField(max_length=100, required=False, default="main")
    mode = serializers.ChoiceField(choices=[(m.value, m.value) for m in UploadMode], default=UploadMode.APPEND)
    mapping = serializers.JSONField(required=False, allow_null=True, default=None, help_text="As in POST /uploads.")


class Resumable(Resource):
    model = PartialUpload
    lookup_value_regex = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    streams_body = frozenset({"partial_update"})
    remembers_replies = False

    def initialize_request(self, request: Any, *args: Any, **kwargs: Any) -> Request:
        """Where PATCH and DELETE do not get through, a POST says which it stands for: so the protocol wants it."""
        wanted = request.headers.get("X-HTTP-Method-Override", "").upper()
        if request.method == "POST" and wanted in {"PATCH", "DELETE", "HEAD"}:
            request.method = wanted
        return super().initialize_request(request, *args, **kwargs)

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        reply = super().finalize_response(request, response, *args, **kwargs)
        reply["Tus-Resumable"] = VERSION
        if reply.status_code == WrongVersion.status:
            reply["Tus-Version"] = VERSION
        return reply

    def get_permissions(self) -> list[Any]:
        return [] if self.request.method == "OPTIONS" else [SignedInWithScope()]

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return PartialUpload.objects.none()
        rows = PartialUpload.objects.filter(user=self.user, dataset__in=self.rows(Dataset))
        return rows.select_related("dataset__team", "upload")

    def _require_version(self) -> None:
        if self.request.headers.get("Tus-Resumable", "") != VERSION:
            raise WrongVersion("wrong_version", f"Say Tus-Resumable: {VERSION}; no other version is spoken here.")

    @extend_schema(exclude=True)
    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """What of the protocol is spoken."""
        return Response(
            status=204,
            headers={
                "Tus-Version": VERSION,
                "Tus-Extension": EXTENSIONS,
                "Tus-Max-Size": str(settings.UPLOAD_MAX_BYTES),
                "Tus-Checksum-Algorithm": ",".join(resumable.CHECKSUMS),
                "Allow": ", ".join(self.allowed_methods),
            },
        )

    @extend_schema(responses=ResumableOut(many=True))
    def list(self, request: Request) -> Response:
        """Your files on their way, newest first; those that are whole for as long as they are remembered."""
        return self.page(self.get_queryset(), ResumableOut)

    @extend_schema(
        request=None,
        responses={201: None},
        parameters=[
            _TUS,
            _header("Upload-Length", "Bytes of the whole file.", kind=int),
            _header(
                "Upload-Metadata",
                "Keys with values in base64, separated by commas: `dataset` (id, or team/slug; needed), `filename`, "
                "and as in POST /uploads `mode`, `mapping`, `corrects`. Others are ignored.",
            ),
        ],
    )
    def create(self, request: Request) -> Response:
        """Announce a file. The reply's Location takes its bytes, in as many pieces as you like."""
        self._require_version()
        about = _metadata(request.headers.get("Upload-Metadata", ""))
        if not about.get("dataset"):
            raise Invalid("dataset_missing", "Name the dataset in Upload-Metadata.", "Upload-Metadata")
        partial = resumable.begin(
            self.dataset(about["dataset"]),
            length=_whole(request, "Upload-Length"),
            filename=about.get("filename") or about.get("name", ""),
            actor=self.user,
            options=options_of(about),
        )
        return Response(status=201, headers={"Location": address(partial), **_expires(partial)})

    @extend_schema(request=HubIn, responses={202: ResumableOut})
    @action(detail=False, methods=["post"])
    def hub(self, request: Request) -> Response:
        """Have a file of a Hugging Face dataset fetched, where a hub is reachable: `upload` is set once it is here."""
        given = self.given(HubIn)
        dataset = self.dataset(given["dataset"])
        chosen = given["mapping"] if given["mapping"] is None else mapping_of(given["mapping"])
        file = fetching.find(given["hub"], given["revision"], given["path"])
        options = uploads.Options(mode=given["mode"], mapping=chosen)
        return self.shown(fetching.begin(dataset, file, actor=self.user, options=options), ResumableOut, 202)

    @extend_schema(responses=ResumableOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """How far it is. HEAD says it in Upload-Offset alone, as the protocol wants."""
        partial = self.get_object()
        if request.method == "HEAD":
            self._require_version()
        about = {"Upload-Length": str(partial.length), "Cache-Control": "no-store", **_state(partial)}
        return Response(ResumableOut(partial).data, headers=about)

    @extend_schema(
        request={PIECE: OpenApiTypes.BINARY},
        responses={204: None},
        parameters=[
            _TUS,
            _header("Upload-Offset", "Where these bytes begin: as HEAD says, or the last reply.", kind=int),
            _header("Upload-Checksum", "Of this piece: algorithm and base64, for example sha1.", required=False),
        ],
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        """Bytes from an offset on. What arrives before the connection breaks is kept (without a checksum), and the
        last byte makes it an upload: its address is then in Content-Location, its id in Upload-Id."""
        partial = self.get_object()
        self._require_version()
        kind = (request.content_type or "").partition(";")[0].strip().lower()
        if kind != PIECE:
            raise exceptions.UnsupportedMediaType(kind, f"Send pieces as {PIECE}, not {kind[:60]}.")
        at, announced = _whole(request, "Upload-Offset"), int(request.META.get("CONTENT_LENGTH") or 0)
        if at + announced > partial.length:
            raise TooLarge("more_than_announced", "The file is longer than its Upload-Length said.", "Upload-Length")
        checksum = request.headers.get("Upload-Checksum")
        partial = resumable.append(
            partial,
            WholeBody(request._request),
            at=at,
            actor=self.user,
            checksum=resumable.Checksum.parse(checksum) if checksum else None,
        )
        return Response(status=204, headers=_state(partial))

    @extend_schema(responses={204: None}, parameters=[_TUS])
    def destroy(self, request: Request, pk: str) -> Response:
        """Give it up: its bytes are removed. An upload that has come of it stays."""
        partial = self.get_object()
        self._require_version()
        resumable.give_up(partial, actor=self.user)
        return Response(status=204)


def address(partial: PartialUpload) -> str:
    return reverse("api:resumable-detail", args=[partial.pk])


def _state(partial: PartialUpload) -> dict[str, str]:
    """Offset and expiry; once it is whole, the upload that it has become."""
    state = {"Upload-Offset": str(resumable.offset(partial))}
    if partial.upload_id is None:
        return state | _expires(partial)
    return state | {
        "Upload-Id": str(partial.upload_id),
        "Content-Location": reverse("api:uploads-detail", args=[partial.upload_id]),
    }


def _expires(partial: PartialUpload) -> dict[str, str]:
    return {"Upload-Expires": http_date(partial.expires_at.timestamp())}


def _whole(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not (text.isascii() and text.isdecimal()) or len(text) > 19 or int(text) > LARGEST:
        raise Invalid("bad_header", f"{name} must be a whole number of bytes.", name)
    return int(text)


def _metadata(header: str) -> dict[str, str]:
    """ "filename c3Vtcy5qc29ubA==,is_draft" → {"filename": "sums.jsonl", "is_draft": ""}"""
    found = {}
    for pair in header.split(","):
        name, _, value = pair.strip().partition(" ")
        try:
            found[name] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Invalid(
                "bad_header", f"The value of {name[:40]} is not base64 of UTF-8.", "Upload-Metadata"
            ) from None
    return found
