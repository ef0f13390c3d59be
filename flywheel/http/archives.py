"""Archives as downloads: sent while they are written, so nothing is staged on disk or in memory."""

from collections.abc import Iterable

from django.http import StreamingHttpResponse


def attachment(pieces: Iterable[bytes], name: str) -> StreamingHttpResponse:
    """`pieces`: of a zip."""
    reply = StreamingHttpResponse(pieces, content_type="application/zip")
    reply["Content-Disposition"] = f'attachment; filename="{name}.zip"'
    reply["X-Content-Type-Options"] = "nosniff"
    return reply
