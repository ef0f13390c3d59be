"""A client that hears nothing asks again by itself, without an idempotency key: what was created is not created twice.

It says so in `x-stainless-retry-count`. A first request is always carried out, also where an equal one came before it:
two equal jobs may be meant. A repetition gets the reply of the equal request before it, and waits for one under way.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.http import idempotency as by_key
from flywheel.http.auth import caller
from flywheel.http.json_bodies import Renderer
from tasks.services import idempotency

COUNT = "x-stainless-retry-count"
WINDOW = timedelta(minutes=30)  # a client waits up to ten minutes for each of three replies


def is_repetition(request: Request) -> bool:
    told = request.headers.get(COUNT, "0")
    return told.isascii() and told.isdigit() and int(told[:4]) > 0


def told_once(handler: Callable[..., Response]) -> Callable[..., Response]:
    """For the `post` of a view that creates something from a JSON body, or the `delete` of what is deleted once."""

    def answered(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        def created(request: Request, *args: Any, **kwargs: Any) -> Response:
            return handler(view, request, *args, **kwargs)

        if by_key.HEADER in request.headers:
            reply: Any = by_key.once(created)(request, *args, **kwargs)
            return reply
        return _once(request, lambda: created(request, *args, **kwargs))

    return answered


def _once(request: Request, create: Callable[[], Response]) -> Response:
    fingerprint = fingerprint_of(request)
    try:
        return _told(request, fingerprint, create)
    except Exception:
        if not is_repetition(request):  # what is repeated next is this request, no equal one before it
            who = caller(request)
            idempotency.forget(who.user, who.team, f"repeated-{fingerprint}")
        raise


@transaction.atomic
def _told(request: Request, fingerprint: str, create: Callable[[], Response]) -> Response:
    who = caller(request)
    record = idempotency.latest(who.user, who.team, f"repeated-{fingerprint}", within=WINDOW)
    if record is not None and is_repetition(request):
        return Response(record.body, status=record.status)
    reply = create()
    if reply.status_code < 300:
        body = json.loads(Renderer().render(reply.data) or b"null")
        idempotency.replace(who.user, who.team, f"repeated-{fingerprint}", fingerprint, reply.status_code, body)
    return reply


def fingerprint_of(request: Request) -> str:
    """SHA-256, hex, of the method, the path and the body."""
    head = json.dumps([request.method, request.get_full_path()])
    return hashlib.sha256(head.encode() + b"\n" + request._request.body).hexdigest()
