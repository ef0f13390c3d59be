"""POST /chat/completions: asked of the model server by the version's digest, answered under its public name."""

import json
from collections.abc import Generator, Iterator
from typing import Any

from django.http import StreamingHttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.http.errors import envelope
from flywheel.openai_compat.places import Held, Place
from flywheel.openai_compat.surface import Surface
from tasks.errors import FlywheelError, Invalid
from trainer.services import serving


class ChatCompletions(Surface):
    def post(self, request: Request) -> Any:
        body = self.body()
        name = body.get("model")
        if not isinstance(name, str) or not name:
            raise Invalid("missing_required_parameter", "Name a model: list them with GET /models.", "model")
        place = Place()
        try:
            version = serving.resolve(name, self.caller.user, self.caller.team)
            if body.get("stream"):
                return self._stream(Held(_events(serving.chat(version, body, stream=True), name, place), place))
            answer = serving.chat(version, body)
        except BaseException:
            place.leave()
            raise
        place.leave()
        return Response({**answer, "model": name})

    def _stream(self, events: Held) -> StreamingHttpResponse:
        reply = StreamingHttpResponse(events, content_type="text/event-stream")
        reply["Cache-Control"] = "no-cache"
        reply["X-Accel-Buffering"] = "no"
        return reply


def _events(chunks: Iterator[dict[str, Any]], name: str, place: Place) -> Generator[bytes]:
    """After the first byte there is no status left to change: a fault becomes an `error` event, which clients raise.

    The place is left before the last event is sent: whoever has read it may ask again at once.
    """
    last = b"data: [DONE]\n\n"
    try:
        for chunk in chunks:
            if "error" in chunk:
                last = _event(chunk)
                break
            yield _event({**chunk, "model": name})
    except FlywheelError as error:
        last = _event(envelope(error.status, error.code, error.sentence, error.param))
    place.leave()
    yield last


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"
