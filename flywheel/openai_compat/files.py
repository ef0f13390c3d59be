"""/files: stored files of the key's team. Bodies are read as they arrive."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from django.http import StreamingHttpResponse
from django.utils import timezone
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.http.bodies import file_of_form
from flywheel.openai_compat import ids, lists, reading
from flywheel.openai_compat.retries import is_repetition
from flywheel.openai_compat.surface import Surface
from tasks.errors import Invalid, NotFound
from tasks.models import File
from tasks.services import connections, files
from tasks.states import FilePurpose, Scope
from trainer.services import consequences

BATCH_SECONDS = 30 * 86_400  # what the original gives files for batches that say nothing else
_FORM_BYTES = 2**20  # more than what stands around a file in its form
_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")


class ExpiresAfter(reading.Body):
    anchor: Literal["created_at"]
    seconds: Annotated[int, Meta(ge=3600, le=2_592_000)]


def seconds_of(given: ExpiresAfter | None, purpose: str) -> int | None:
    if given is None:
        return BATCH_SECONDS if purpose == FilePurpose.BATCH else None
    return given.seconds


def shown(file: File) -> dict[str, Any]:
    status, details = files.status(file)
    return {
        "id": ids.encode(ids.FILE, file.pk),
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at.timestamp()),
        "expires_at": int(file.expires_at.timestamp()) if file.expires_at else None,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": status,
        "status_details": details,
    }


class Files(Surface):
    scope = Scope.WRITE
    streams = frozenset({"POST"})

    def get(self, request: Request) -> Response:
        rows = File.objects.for_user(self.caller.user, self.caller.team).with_first_issue()
        if purpose := request.query_params.get("purpose"):
            rows = rows.filter(purpose=purpose) if purpose in set(FilePurpose) else rows.none()
        return Response(lists.page(request, rows, shown, prefix=ids.FILE, most=10_000, usual=10_000, with_ends=True))

    def post(self, request: Request) -> Response:
        """Fields may stand behind the file, so that it is on the disk before it is known what it is for."""
        team, user = self.team, self.caller.user
        files.require_may_store(team, user)
        files.require_size(int(request.META.get("CONTENT_LENGTH") or 0) - _FORM_BYTES)
        fields, filename, stream = file_of_form(request._request)
        if "purpose" in fields:
            files.check(team, fields["purpose"], actor=user)
        connections.let_go()  # bytes come as fast as their sender is
        with files.arriving(team, stream) as arrived:
            purpose, seconds = asked(fields)
            file = files.keep(
                team,
                arrived,
                filename=filename,
                purpose=purpose,
                actor=user,
                expires_at=timezone.now() + timedelta(seconds=seconds) if seconds else None,
                again=is_repetition(request),
            )
        return Response(shown(file))


def asked(fields: Mapping[str, str]) -> tuple[str, int | None]:
    """(purpose, seconds that the file shall live) of a form."""
    for name in fields:
        if name not in _FIELDS:
            raise Invalid("unknown_parameter", f"Unknown parameter: '{name[:80]}': leave it out.", name[:80])
    if not fields.get("purpose"):
        raise Invalid("missing_required_parameter", "Missing required parameter: 'purpose'.", "purpose")
    about: dict[str, Any] = {name[len("expires_after[") : -1]: fields[name] for name in _FIELDS[1:] if name in fields}
    if not about:
        return fields["purpose"], seconds_of(None, fields["purpose"])
    if (told := about.get("seconds", "")).isascii() and told.isdigit():
        about["seconds"] = int(told[:20])
    return fields["purpose"], reading.read(about, ExpiresAfter, ".expires_after").seconds


class OneFile(Surface):
    scope = Scope.WRITE

    def get(self, request: Request, file_id: str) -> Response:
        return Response(shown(self.find(file_id)))

    def delete(self, request: Request, file_id: str) -> Response:
        """A repetition of a request that was carried out hears so once more."""
        user, team = self.caller.user, self.caller.team
        known = ids.decode(ids.FILE, file_id)
        if not (is_repetition(request) and known and files.was_deleted(known, user, team)):
            files.delete(self.find(file_id), actor=user, told=consequences.told)
        return Response({"id": file_id, "object": "file", "deleted": True})

    def find(self, file_id: str) -> File:
        return found(self, file_id)


class Content(Surface):
    def get(self, request: Request, file_id: str) -> StreamingHttpResponse:
        file = found(self, file_id)
        reply = StreamingHttpResponse(connections.without(files.read(file)), content_type="application/octet-stream")
        reply["Content-Length"] = str(file.bytes)
        reply["Content-Disposition"] = "attachment"
        return reply


def found(view: Surface, file_id: str, param: str = "file_id") -> File:
    """A file that the caller sees; absent and another team's look the same."""
    rows = File.objects.for_user(view.caller.user, view.caller.team).with_first_issue()
    file = rows.filter(pk=ids.decode(ids.FILE, file_id) or 0).first()
    if file is None:
        raise NotFound("not_found", f"There is no file '{file_id[:80]}' that you may see: check its id.", param)
    return file
