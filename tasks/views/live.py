"""Parts of pages that are asked for again and again: an ETag over what is shown, and 304 while it stays the same."""

import hashlib
import json
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.template.loader import render_to_string


def fragment(request: HttpRequest, template: str, context: dict[str, Any], *, finished: bool = False) -> HttpResponse:
    """HTML for poll.js. `finished` tells it to stop asking."""
    return _unless_known(request, render_to_string(template, context, request).encode(), "text/html", finished)


def numbers(request: HttpRequest, body: dict[str, Any]) -> HttpResponse:
    """JSON for chart.js; `finished` in the body tells it to stop asking."""
    return _unless_known(request, json.dumps(body, separators=(",", ":")).encode(), "application/json", False)


def _unless_known(request: HttpRequest, body: bytes, kind: str, finished: bool) -> HttpResponse:
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    known = request.headers.get("If-None-Match") == etag
    reply = HttpResponseNotModified() if known and not finished else HttpResponse(body, content_type=kind)
    reply["ETag"] = etag
    reply["Cache-Control"] = "private, no-cache"
    if finished:
        reply["X-Finished"] = "1"
    return reply
