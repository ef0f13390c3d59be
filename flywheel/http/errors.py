"""Refusals at the edge: one problem+json on the API, a notice on pages. The OpenAI surface has its own envelope."""

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from tasks.errors import FlywheelError, NotFound

PROBLEM = "application/problem+json"


def problem(status: int, code: str, sentence: str, param: str | None = None) -> dict[str, Any]:
    return {"type": f"/docs/errors#{code}", "status": status, "code": code, "detail": sentence, "param": param}


def problem_json(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler. One shape: type, status, code, detail, param."""
    if isinstance(error, FlywheelError):
        body = problem(error.status, error.code, error.sentence, error.param)
        return Response(body, status=error.status, content_type=PROBLEM)
    if isinstance(error, Http404):
        error = exceptions.NotFound("There is nothing here that you may see: check the id.")
    reply = exception_handler(error, context)
    if reply is None or not isinstance(error, exceptions.APIException):
        return reply
    param, sentence = _first_detail(error.detail)
    codes = error.get_codes()
    code = codes if isinstance(codes, str) else "invalid"
    reply.data = problem(reply.status_code, code, sentence, param)
    reply.content_type = PROBLEM
    return reply


def _first_detail(detail: Any) -> tuple[str | None, str]:
    """The first field and sentence of DRF's nested details."""
    param: list[str] = []
    while isinstance(detail, dict | list):
        if not detail:
            return None, "The request is not valid."
        if isinstance(detail, dict):
            key, detail = next(iter(detail.items()))
            param.append(str(key))
        else:
            detail = detail[0]
    return ".".join(param) or None, str(detail)


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
        if request.path.startswith("/api/"):
            return JsonResponse(
                problem(error.status, error.code, error.sentence, error.param),
                status=error.status,
                content_type=PROBLEM,
            )
        back = request.headers.get("Referer", "")
        same_site = url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()})
        if request.method == "POST" and same_site and not isinstance(error, NotFound):
            messages.error(request, error.sentence)
            return redirect(back)
        return render(request, "refused.html", {"error": error}, status=error.status)
