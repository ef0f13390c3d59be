"""JSON lines {grader, item, completion} to JSON lines of Grades: the same order, one for one, whatever a line holds.

A line may bring an `id`, a text or a whole number, which comes back with its Grade. No other field is known.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from tasks.graders import registry
from tasks.graders.outcome import ungradable
from tasks.types import Grade

MAX_LINE_BYTES = 16_000_000
MAX_BATCH_LINES = 256
_READ_BYTES = 1 << 16


class Stream(Protocol):
    """Unbuffered bytes: a read answers with what is there, and waits only where there is nothing."""

    def read(self, size: int, /) -> bytes: ...


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    grader: dict[str, Any]
    completion: str
    item: dict[str, Any] = {}
    id: str | int | None = None


_read = msgspec.json.Decoder(Request).decode
_write = msgspec.json.Encoder().encode


def grade_batch(lines: Sequence[bytes]) -> list[bytes]:
    """The Grades of lines. Those with the same grader are graded together, which graders that run elsewhere need to be
    fast; one on which a grader breaks (a bug of ours) costs no other its grade."""
    requests = [_request(line) for line in lines]
    readable = [request for request in requests if isinstance(request, Request)]
    grades = iter(_grades([(one.grader, one.completion, one.item) for one in readable]))
    return [
        _written(next(grades), request.id) if isinstance(request, Request) else _written(request)
        for request in requests
    ]


def _grades(requests: Sequence[tuple[dict[str, Any], str, dict[str, Any]]]) -> list[Grade]:
    try:
        return registry.grade_each(requests)
    except Exception as bug:  # this is where a line is promised an answer, whatever it holds
        if len(requests) > 1:
            return [grade for request in requests for grade in _grades([request])]
        return [ungradable(f"The grader broke: {type(bug).__name__}: {bug}", "other_error")]


def unanswered(line: bytes, reason: str) -> bytes:
    """The Grade of a line that nobody could make."""
    request = _request(line)
    return _written(ungradable(reason, "other_error"), request.id if isinstance(request, Request) else None)


def _request(line: bytes) -> Request | Grade:
    if len(line) > MAX_LINE_BYTES:
        return ungradable(f"The line is longer than {MAX_LINE_BYTES:,} bytes.", "bad_line")
    try:
        return _read(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        wanted = 'write {"grader": {…}, "item": {…}, "completion": "…"}'
        return ungradable(f"The line cannot be read ({fault}): {wanted}.", "bad_line")


def _written(grade: Grade, given_id: str | int | None = None) -> bytes:
    """With the line's id where it has one, and with the tokens where there are some."""
    fields = {
        **({} if given_id is None else {"id": given_id}),
        "outcome": grade.outcome,
        "score": grade.score,
        "sub_scores": dict(grade.sub_scores),
        "read": grade.read,
        "reason": grade.reason,
        "errors": grade.errors,
        "seconds": round(grade.seconds, 6),
        **({"usage": dict(grade.usage)} if grade.usage else {}),
    }
    try:
        return _write(fields)
    except UnicodeEncodeError:  # half of a surrogate pair in the completion
        return _write({key: _encodable(value) for key, value in fields.items()})


def _encodable(value: Any) -> Any:
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def grade_lines(stream: Stream) -> Iterator[list[bytes]]:
    """Grade a stream in this process, batch by batch."""
    return map(grade_batch, batches(stream))


def batches(stream: Stream) -> Iterator[list[bytes]]:
    """The lines that are there, up to MAX_BATCH_LINES at once, without waiting for one more: a program that wants each
    answer before it writes the next line gets it. Blank lines are left out."""
    for block in _whole_lines(stream):
        kept = [line for line in map(bytes.strip, block) if line]
        yield from (kept[start : start + MAX_BATCH_LINES] for start in range(0, len(kept), MAX_BATCH_LINES))


def _whole_lines(stream: Stream) -> Iterable[list[bytes]]:
    """What each read completes. Of a line that is too long only so much is kept that it is refused."""
    parts: list[bytes] = []
    held = 0
    while block := stream.read(_READ_BYTES):
        first, *rest = block.split(b"\n")
        if held <= MAX_LINE_BYTES:
            parts.append(first)
            held += len(first)
        if rest:
            yield [b"".join(parts), *rest[:-1]]
            parts, held = [rest[-1]], len(rest[-1])
    if parts:
        yield [b"".join(parts)]
