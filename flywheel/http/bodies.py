"""Large request bodies, read as they arrive: nothing is held in memory and no form parser sees them."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.http import HttpRequest
from django.http.multipartparser import FIELD, FILE, ChunkIter, LazyStream, Parser
from django.utils.http import parse_header_parameters

from tasks.errors import Invalid

CHUNK_BYTES = 256 * 1024
_MOST_FIELDS = 100
_FIELD_BYTES = 4096  # a form field beside a file is a name, never content


class WholeBody:
    """The body of a request as a stream that knows where it must end: a cut connection is an error."""

    def __init__(self, request: HttpRequest) -> None:
        # Django reads a body without a Content-Length as empty; a server that ends chunked bodies itself says so.
        chunked = not request.META.get("CONTENT_LENGTH") and request.META.get("wsgi.input_terminated")
        self._source: Any = request.META["wsgi.input"] if chunked else request
        self._left: int | None = None if chunked else int(request.META.get("CONTENT_LENGTH") or 0)

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        try:
            chunk: bytes = self._source.read(size)
        except OSError:
            chunk = b""
            self._left = self._left or 1
        if self._left is None:
            return chunk
        if not chunk and self._left:
            raise Invalid("upload_cut_off", "The connection ended before the whole file had arrived: send it again.")
        self._left -= len(chunk)
        return chunk

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")


def file_of_form(request: HttpRequest) -> tuple[dict[str, str], str, Iterator[bytes]]:
    """Fields of a multipart form, its first file's name, and that file's bytes as they arrive. Fields that stand behind
    the file are there once it has been read."""
    _, options = parse_header_parameters(request.headers.get("Content-Type", ""))
    boundary = options.get("boundary", "")
    if not boundary or not boundary.isascii() or len(boundary) > 200:
        raise Invalid("form_unreadable", "The form has no usable boundary: let your client set its Content-Type.")
    fields: dict[str, str] = {}
    body: Any = WholeBody(request)
    parts = iter(Parser(LazyStream(ChunkIter(body, CHUNK_BYTES)), boundary.encode()))
    for kind, headers, content in parts:
        about = headers.get("content-disposition", ("", {}))[1]
        if kind == FIELD:
            _take(fields, about, content)
        elif kind == FILE:
            return fields, _text(about.get("filename")), _to_the_end(content, parts, fields)
    raise Invalid("file_missing", "The form has no file: send it in a field called file.", "file")


def _take(fields: dict[str, str], about: Mapping[str, Any], content: Any) -> None:
    if len(fields) >= _MOST_FIELDS:
        raise Invalid("form_unreadable", f"The form has more than {_MOST_FIELDS} fields beside its file.")
    fields[_text(about.get("name"))] = content.read(_FIELD_BYTES).decode(errors="replace")


def _text(value: bytes | str | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def _to_the_end(content: Iterator[bytes], parts: Iterator[Any], fields: dict[str, str]) -> Iterator[bytes]:
    """The file, then the rest of the form, so that a form that was cut off is noticed while the file is stored."""
    yield from content
    for kind, headers, later in parts:
        if kind == FIELD:
            _take(fields, headers.get("content-disposition", ("", {}))[1], later)
