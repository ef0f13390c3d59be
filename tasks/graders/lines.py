"""JSON lines {grader, item, completion} to JSON lines of Grades: the same order, one for one, whatever a line holds."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from itertools import islice
from typing import Any, BinaryIO

import msgspec

from tasks.graders import registry
from tasks.graders.outcome import ungradable
from tasks.types import Grade

MAX_LINE_BYTES = 16_000_000
CHUNK_LINES = 256


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    grader: dict[str, Any]
    completion: str
    item: dict[str, Any] = {}


_read = msgspec.json.Decoder(Request).decode
_write = msgspec.json.Encoder().encode


def grade_line(line: bytes) -> bytes:
    """The Grade of one line; a line that cannot be read is ungradable and says why."""
    return _grade_chunk([line])[0]


def _grade_chunk(lines: Sequence[bytes]) -> list[bytes]:
    """Lines with the same grader are graded together, which graders that run elsewhere need to be fast."""
    requests = [_request(line) for line in lines]
    readable = [request for request in requests if isinstance(request, Request)]
    grades = iter(registry.grade_each([(one.grader, one.completion, one.item) for one in readable]))
    return [_written(next(grades) if isinstance(request, Request) else request) for request in requests]


def _request(line: bytes) -> Request | Grade:
    if len(line) > MAX_LINE_BYTES:
        return ungradable(f"The line is longer than {MAX_LINE_BYTES:,} bytes.", "bad_line")
    try:
        return _read(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        wanted = 'write {"grader": {…}, "item": {…}, "completion": "…"}'
        return ungradable(f"The line cannot be read ({fault}): {wanted}.", "bad_line")


def _written(grade: Grade) -> bytes:
    fields = {
        "outcome": grade.outcome,
        "score": grade.score,
        "sub_scores": dict(grade.sub_scores),
        "read": grade.read,
        "reason": grade.reason,
        "errors": grade.errors,
        "seconds": round(grade.seconds, 6),
    }
    try:
        return _write(fields)
    except UnicodeEncodeError:  # half of a surrogate pair in the completion
        return _write({key: _encodable(value) for key, value in fields.items()})


def _encodable(value: Any) -> Any:
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def grade_lines(stream: BinaryIO, executor: Executor | None = None, ahead: int = 8) -> Iterator[bytes]:
    """Grade a stream. With an executor, `ahead` chunks are under way at once, so memory stays bounded."""
    lines = _lines(stream)
    if executor is None:
        yield from map(grade_line, lines)
        return
    under_way: deque[Future[list[bytes]]] = deque()
    while chunk := list(islice(lines, CHUNK_LINES)):
        under_way.append(executor.submit(_grade_chunk, chunk))
        if len(under_way) >= ahead:
            yield from under_way.popleft().result()
    for future in under_way:
        yield from future.result()


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines without their break. Blank ones are left out; one that is too long is cut, so that it is refused whole."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        part = line
        while len(part) > MAX_LINE_BYTES and not part.endswith(b"\n"):
            part = stream.readline(MAX_LINE_BYTES + 1)
        if stripped := line.strip():
            yield stripped if len(line) <= MAX_LINE_BYTES else line
