"""One POST to an address that a user gave, under the rules of tasks/wire.py. Any answer is an answer: what it means is
the caller's."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from tasks.wire import Limits, asked, wait_of

USUAL = Limits(silence_seconds=10, total_seconds=10, reply_bytes=2**16)


@dataclass(frozen=True, slots=True)
class Answer:
    """A refusal or a redirect too. `text` is the beginning of what was said."""

    status: int
    text: str
    retry_after_seconds: float | None = None


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allowed_origins: frozenset[str] = frozenset(),
    limits: Limits = USUAL,
) -> Answer:
    """Of the answer no more is kept than `limits.reply_bytes`; nothing is followed and nothing is unpacked."""
    with asked("POST", url, body, headers, allowed_origins, limits) as reply:
        return Answer(reply.status_code, _beginning(reply, limits.reply_bytes), wait_of(reply))


def _beginning(reply: httpx.Response, size: int) -> str:
    if reply.headers.get("content-encoding", "identity") != "identity":
        return ""
    said = b""
    for piece in reply.iter_raw():
        said += piece
        if len(said) >= size:
            break
    return said[:size].decode(errors="replace")
