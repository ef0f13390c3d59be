"""/docs/openai and its neighbours: how work for OpenAI's fine-tuning goes on here, as docs/openai*.md say it."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from tasks.views import documents

PAGES = {  # name → title
    "openai": "Moving from OpenAI's fine-tuning",
    "openai-graders": "OpenAI's graders",
    "openai-evals": "OpenAI's evals",
}


@login_required
@require_safe
def explained(request: HttpRequest, name: str) -> HttpResponse:
    told = documents.sections(f"{name}.md")
    context = {
        "title": PAGES[name],
        "pages": PAGES,
        "name": name,
        "introduction": documents.html(documents.introduction(f"{name}.md")),
        "sections": [(documents.anchor(heading), heading, documents.html(text)) for heading, text in told.items()],
    }
    return render(request, "docs_openai.html", context)
