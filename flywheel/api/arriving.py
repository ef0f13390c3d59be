"""How a file comes in by POST /uploads: its bytes as a body or in a form, and what is said about it."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from django.http import QueryDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import exceptions
from rest_framework.request import Request

from flywheel.http.bodies import WholeBody, file_of_form
from tasks.errors import Invalid
from tasks.services import connections, uploads
from tasks.services.mapping import AUTO
from tasks.states import UploadMode

RAW_TYPES = frozenset({"application/x-ndjson", "application/jsonl", "application/octet-stream", "text/plain"})
FORM = "multipart/form-data"

REQUEST: dict[str, Any] = {
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
}

PARAMETERS = [
    OpenApiParameter("dataset", str, description="Id, or team/slug. In a form it may be a field ahead of file."),
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
]


def arriving(request: Request) -> tuple[Mapping[str, str], str, Iterable[bytes]]:
    """What was said about the file, its name and the bytes as they come in: as fast as their sender is."""
    connections.let_go()
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
