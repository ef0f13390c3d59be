"""Refusals at the edge: one problem+json on the API, one envelope on the OpenAI surface, a notice on pages."""

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler

from tasks.errors import FlywheelError, NotFound

PROBLEM = "application/problem+json"


def problem(status: int, code: str, sentence: str, param: str | None = None) -> dict[str, Any]:
    return {"type": f"/docs/errors#{code}", "status": status, "code": code, "detail": sentence, "param": param}


def envelope(status: int, code: str, sentence: str, param: str | None = None) -> dict[str, Any]:
    """The error of the OpenAI surface."""
    kind = _OPENAI_KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": sentence, "type": kind, "param": param, "code": code}}


_NO_KEY = "You sent no API key: send one in the header `Authorization: Bearer KEY`; create it under API keys."
_OPENAI_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def problem_json(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler. One shape: type, status, code, detail, param."""
    refused = _refused(error, context)
    if refused is not None:
        refused.data = problem(*refused.data)
        refused.content_type = PROBLEM
    return refused


def openai_envelope(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler of the OpenAI surface. Its clients retry a 409 unless they are told not to."""
    refused = _refused(error, context)
    if refused is not None:
        no_key = isinstance(error, exceptions.NotAuthenticated)
        refused.data = envelope(401, "invalid_api_key", _NO_KEY) if no_key else envelope(*refused.data)
        if refused.status_code == 409:
            refused["x-should-retry"] = "false"
        for name, value in getattr(error, "headers", {}).items():  # whether and when to ask again
            refused[name] = value
    return refused


def _refused(error: Exception, context: dict[str, Any]) -> Response | None:
    """A reply whose data are (status, code, sentence, param); None for a bug, which propagates."""
    if isinstance(error, FlywheelError):
        return Response((error.status, error.code, error.sentence, error.param), status=error.status)
    if isinstance(error, Http404):
        error = exceptions.NotFound("There is nothing here that you may see: check the id.")
    if isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    reply = exception_handler(error, context)
    if reply is None or not isinstance(error, exceptions.APIException):
        return reply
    codes, param = error.get_codes(), None
    detail: Any = error.detail
    path: list[str] = []
    while isinstance(detail, dict | list):
        first = next(iter(detail)) if isinstance(detail, dict) else 0
        path += [str(first)] if isinstance(detail, dict) and first != api_settings.NON_FIELD_ERRORS_KEY else []
        detail, codes = detail[first], codes[first]  # type: ignore[index]
        param = ".".join(path) or None
    reply.data = (reply.status_code, str(codes), str(detail), param)
    return reply


def _on_surface(request: HttpRequest, status: int, code: str, sentence: str) -> HttpResponse | None:
    if request.path.startswith("/api/"):
        return JsonResponse(problem(status, code, sentence), status=status, content_type=PROBLEM)
    if request.path.startswith("/openai/"):
        return JsonResponse(envelope(status, code, sentence), status=status)
    return None


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400: what Django refuses before any view, such as a wrong Host or an unreadable form."""
    sentence = "The request cannot be read as it is: check its Host, its headers and its body."
    return _on_surface(request, 400, "bad_request", sentence) or defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500: a bug. The log says where; the reader learns that it is ours and what to quote."""
    name = getattr(request, "id", "")
    sentence = f"Something broke on our side: tell an administrator the request id {name}."
    return _on_surface(request, 500, "internal_error", sentence) or defaults.server_error(request)


class RefusalMiddleware:
    """A FlywheelError that reaches the top of a page view: a notice on the page it came from, or a page of its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.id = request.headers.get("X-Request-Id", "")[:64] or uuid.uuid4().hex  # type: ignore[attr-defined]
        reply = self.get_response(request)
        reply.headers.setdefault("X-Request-Id", request.id)  # type: ignore[attr-defined]
        return reply

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, FlywheelError):
            return None
        back = request.headers.get("Referer", "")
        same_site = url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()})
        if request.method == "POST" and same_site and not isinstance(error, NotFound):
            messages.error(request, error.sentence)
            return redirect(back)
        return render(request, "refused.html", {"error": error}, status=error.status)
