"""/submit/<id>/mapping: rows as they stand beside how they will be read, until somebody says that this is right."""

import json
from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from tasks.errors import Invalid
from tasks.forms import MappingForm, grader_examples, pretty, teams_with
from tasks.models import Upload
from tasks.services import mapping
from tasks.states import Role, UploadState
from tasks.views.scope import signed_in
from tasks.views.uploads import find

# Dialect → what a person knows it by.
DIALECTS = {
    "native": "rows as this portal describes them",
    "openai_rft": "rows for OpenAI's reinforcement fine-tuning",
    "open_instruct": "rows of open-instruct (RLVR)",
    "dolci": "rows of Dolci",
    "trl": "rows for TRL",
    "verl": "rows for verl",
    "verifiers": "rows for verifiers",
    "nemo_gym": "rows for NeMo-Gym",
    "reasoning_gym": "rows of reasoning-gym",
    "human_eval": "problems of HumanEval",
    "gsm8k": "questions of GSM8K",
    "bbh": "questions of BIG-Bench Hard",
    "columns": "columns of your own",
}

ONE_LINE = 80  # characters of JSON that a cell shows as they are


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def mapping_page(request: HttpRequest, pk: int) -> HttpResponse:
    """POST with `preview` stores nothing and shows what the rows would become; with `confirm` the import begins."""
    upload = find(request, pk)
    if upload.withdrawn and request.method != "POST":
        return redirect("upload", pk)
    form = _form(request, upload)
    chosen = mapping.proposal(upload)
    wrong: list[str] = []
    if request.method == "POST" and form.is_valid():
        try:
            chosen = mapping.parse(form.cleaned_data["mapping"])
            wrong = mapping.problems(upload, chosen)
            if not wrong and request.POST.get("verb") == "confirm":
                return _confirmed(request, upload, form)
        except Invalid as refused:
            wrong = [refused.sentence]
    elif request.method != "POST":
        wrong = mapping.problems(upload, chosen)
    previewed = mapping.preview(upload, None if wrong or form.errors else chosen)
    context = {
        "upload": upload,
        "problems": wrong,
        "unanswered": _unanswered(previewed),
        "rows": [_shown(row) for row in previewed],
    }
    if request.headers.get("X-Requested-With") == "preview":
        return render(request, "tasks/_mapping_preview.html", {**context, "form": form})
    return render(request, "tasks/upload_mapping.html", {**context, **_about(request, upload, form)})


def _form(request: HttpRequest, upload: Upload) -> MappingForm:
    columns, guess = upload.detected.get("columns", []), upload.detected.get("guess") or {"dialect": "native"}
    if request.method == "POST":
        return MappingForm(columns, guess, request.POST)
    initial = MappingForm.initial_of(columns, _proposed(upload))
    return MappingForm(columns, guess, initial={**initial, "remember": True})


def _proposed(upload: Upload) -> dict[str, Any]:
    """With the grader that the references look like, where neither the rows nor the dataset have one."""
    given = upload.mapping if isinstance(upload.mapping, dict) else upload.detected.get("guess")
    proposed = dict(given or {"dialect": "native"})
    if upload.state == UploadState.UNMAPPED and not upload.dataset.default_grader_id:
        proposed.setdefault("grader", upload.detected.get("grader"))
    return proposed


def _confirmed(request: HttpRequest, upload: Upload, form: MappingForm) -> HttpResponse:
    given = form.cleaned_data
    mapping.confirm(upload, given["mapping"], actor=signed_in(request), remember=given["remember"])
    messages.success(request, "The import begins.")
    return redirect("upload", upload.pk)


def _about(request: HttpRequest, upload: Upload, form: MappingForm) -> dict[str, Any]:
    detected = upload.detected
    waits = upload.state == UploadState.UNMAPPED
    may_write = teams_with(signed_in(request), Role.CONTRIBUTOR).filter(pk=upload.dataset.team_id).exists()
    return {
        "form": form,
        "waits": waits,
        "may_confirm": waits and may_write,
        "dialect": DIALECTS.get(detected.get("dialect", ""), "rows"),
        "dialects": [(name, DIALECTS.get(name, name)) for name, _ in form.fields["dialect"].choices],  # type: ignore[attr-defined]
        "default_grader": upload.dataset.default_grader,
        "graders": grader_examples(),
        "api_body": json.dumps({"mapping": _proposed(upload)}, ensure_ascii=False),
    }


def _unanswered(previewed: Sequence[mapping.Previewed]) -> bool:
    """Whether rows are read and none of them says what is right."""
    read = [row.row for row in previewed if row.row is not None]
    return bool(read) and not any(row.item or row.gold or row.grader for row in read)


def _shown(row: mapping.Previewed) -> dict[str, Any]:
    """A previewed row as its cells."""
    read = row.row
    fields: list[tuple[str, str]] = []
    if read is not None:
        fields += [(message.role if message.role != "user" else "prompt", message.content) for message in read.messages]
        fields += [(f"item.{name}" if name != "reference" else name, _text(value)) for name, value in read.item.items()]
        more = {"gold": read.gold, "domain": read.domain, "grader": read.grader, "metadata": read.metadata}
        fields += [(name, _text(value)) for name, value in more.items() if value]
    return {
        "number": row.line,
        "raw": [(name, _text(value)) for name, value in row.raw.items()],
        "fields": fields,
        "issues": row.issues,
    }


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return pretty(value) if isinstance(value, dict | list) and len(text) > ONE_LINE else text
