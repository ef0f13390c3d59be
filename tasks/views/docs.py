"""/docs: formats, graders and error codes, written out of the very tables that the code obeys."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from tasks.formats.codes import CODES
from tasks.views import catalogue, examples
from tasks.views.scope import signed_in

FIELDS = (
    ("prompt", "one of the two", "The question, as one text."),
    ("messages", "one of the two", "The question as chat messages: system messages, then one user message."),
    ("reference", "where the grader reads it", "The right answer; short for item.reference."),
    ("item", "no", "An object that the grader reads through {{ item.field }}. Fields it does not know go here too."),
    ("gold", "no", "A completion that must earn full score. Graders derive it from the reference where they can."),
    ("grader", "no", "Its configuration. Without one the dataset's default grader decides."),
    ("domain", "no", "A short name. Suites, guards and mixtures go by it. Without one the dataset's counts."),
    ("metadata", "no", "An object of your own; kept and never read."),
)


@login_required
@require_safe
def formats(request: HttpRequest) -> HttpResponse:
    return render(request, "tasks/docs_formats.html", {"fields": FIELDS, "example": examples.ROWS})


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
