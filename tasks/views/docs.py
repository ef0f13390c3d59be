"""/docs: formats as docs/formats.md has them, which tests hold against the code; graders and error codes written out of
the very tables that the code obeys."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from tasks.formats.codes import CODES
from tasks.views import catalogue, documents
from tasks.views.scope import signed_in


@login_required
@require_safe
def formats(request: HttpRequest) -> HttpResponse:
    told = documents.sections("formats.md")
    context = {
        "introduction": documents.html(documents.introduction("formats.md")),
        "sections": [(documents.anchor(heading), heading, documents.html(text)) for heading, text in told.items()],
    }
    return render(request, "tasks/docs_formats.html", context)


@login_required
@require_safe
def graders(request: HttpRequest) -> HttpResponse:
    context = {"graders": catalogue.entries(signed_in(request)), "general": catalogue.general()}
    return render(request, "tasks/docs_graders.html", context)


@login_required
@require_safe
def errors(request: HttpRequest) -> HttpResponse:
    rows = [(code, *entry) for code, entry in CODES.items()]
    return render(request, "tasks/docs_errors.html", {"codes": rows})
