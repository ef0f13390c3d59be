"""A POST with an Idempotency-Key may be repeated: same key and body, same answer; another body, 422."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.http.auth import caller
from flywheel.http.json_bodies import Renderer
from tasks.errors import Invalid
from tasks.services import idempotency

HEADER = "Idempotency-Key"


def once(handler: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """The handler and its remembered reply, in one transaction."""

    def answered(request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        key = request.headers.get(HEADER, "")
        if not 1 <= len(key) <= 200:
            raise Invalid("idempotency_key_too_long", "An Idempotency-Key has 1 to 200 characters.", HEADER)
        who = caller(request)
        with transaction.atomic():
            record = idempotency.claim(who.user, who.team, key, _fingerprint(request))
            if record.status:
                return Response(record.body, status=record.status, headers={"Idempotent-Replay": "true"})
            reply = handler(request, *args, **kwargs)
            if isinstance(reply, Response) and reply.status_code < 300:
                body = json.loads(Renderer().render(reply.data) or b"null")
                idempotency.remember(record, reply.status_code, body)
        return reply

    return answered


def _fingerprint(request: Request) -> str:
    raw = request._request.body
    head = json.dumps([request.method, request.get_full_path()])
    return hashlib.sha256(head.encode() + b"\n" + raw).hexdigest()
