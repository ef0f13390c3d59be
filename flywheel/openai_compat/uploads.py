"""/uploads: files in parts, which become files when their sender says in which order the parts belong."""

from typing import Annotated, Any

from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.http.bodies import file_of_form
from flywheel.openai_compat import ids, reading
from flywheel.openai_compat.files import ExpiresAfter, seconds_of
from flywheel.openai_compat.files import shown as shown_file
from flywheel.openai_compat.retries import told_once
from flywheel.openai_compat.surface import Surface
from tasks.errors import NotFound
from tasks.models import File, FileInParts
from tasks.services import connections, parts
from tasks.states import Scope


class UploadIn(reading.Body):
    bytes: Annotated[int, Meta(ge=1, le=2**53)]
    filename: Annotated[str, Meta(min_length=1, max_length=1000)]
    mime_type: Annotated[str, Meta(max_length=255)]
    purpose: str
    expires_after: ExpiresAfter | None = None


class CompletionIn(reading.Body):
    part_ids: Annotated[list[str], Meta(max_length=10_000)]
    md5: str | None = None


def shown(whole: FileInParts) -> dict[str, Any]:
    file = File.objects.filter(pk=whole.file_id).with_first_issue().first() if whole.file_id else None
    return {
        "id": ids.encode(ids.UPLOAD, whole.pk),
        "object": "upload",
        "bytes": whole.bytes,
        "created_at": int(whole.created_at.timestamp()),
        "expires_at": int(whole.expires_at.timestamp()),
        "filename": whole.filename,
        "purpose": whole.purpose,
        "status": str(parts.state_of(whole)),
        "file": shown_file(file) if file else None,
    }


class Uploads(Surface):
    scope = Scope.WRITE

    @told_once
    def post(self, request: Request) -> Response:
        given = reading.read(reading.storable(self.body()), UploadIn)
        whole = parts.begin(
            self.team,
            size=given.bytes,
            filename=given.filename,
            purpose=given.purpose,
            actor=self.caller.user,
            mime_type=given.mime_type,
            seconds=seconds_of(given.expires_after, given.purpose),
        )
        return Response(shown(whole))


class Parts(Surface):
    scope = Scope.WRITE
    streams = frozenset({"POST"})

    def post(self, request: Request, upload_id: str) -> Response:
        whole = found(self, upload_id)
        _, _, stream = file_of_form(request._request)
        connections.let_go()  # bytes come as fast as their sender is
        part = parts.add(whole, stream, actor=self.caller.user)
        return Response(
            {
                "id": ids.encode(ids.PART, part.pk),
                "object": "upload.part",
                "created_at": int(part.created_at.timestamp()),
                "upload_id": upload_id,
            }
        )


class Completion(Surface):
    scope = Scope.WRITE

    def post(self, request: Request, upload_id: str) -> Response:
        whole, given = found(self, upload_id), reading.read(self.body(), CompletionIn)
        keys = [ids.decode(ids.PART, part_id) for part_id in given.part_ids]
        whole = parts.complete(whole, keys, actor=self.caller.user, md5=given.md5)
        return Response(shown(whole))


class Cancellation(Surface):
    scope = Scope.WRITE

    def post(self, request: Request, upload_id: str) -> Response:
        return Response(shown(parts.cancel(found(self, upload_id), actor=self.caller.user)))


def found(view: Surface, upload_id: str) -> FileInParts:
    rows = FileInParts.objects.for_user(view.caller.user, view.caller.team).select_related("team")
    whole: FileInParts | None = rows.filter(pk=ids.decode(ids.UPLOAD, upload_id) or 0).first()
    if whole is None:
        sentence = f"There is no upload '{upload_id[:80]}' that you may see: check its id."
        raise NotFound("not_found", sentence, "upload_id")
    return whole
