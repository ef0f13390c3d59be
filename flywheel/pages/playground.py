"""/playground: one question, two models side by side: champion and candidate, or any two that you may ask."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from flywheel.pages.home import is_local_base
from tasks.errors import FlywheelError
from trainer.services import lines, serving
from trainer.states import AliasName

SIDES = ("left", "right")
EXAMPLE = "Compute 47 + 38."


class QuestionForm(forms.Form):
    prompt = forms.CharField(max_length=20_000, strip=False, widget=forms.Textarea(attrs={"rows": 3}))
    temperature = forms.FloatField(min_value=0, max_value=2, initial=0)
    max_tokens = forms.IntegerField(min_value=1, max_value=4096, initial=64)


@dataclass(frozen=True, slots=True)
class Answer:
    side: str
    model: str
    text: str
    tokens: int
    refused: bool


@login_required
def playground(request: HttpRequest) -> HttpResponse:
    names = names_for(request.user)
    chosen = _chosen(request, names)
    form = QuestionForm(request.POST or None, initial={"prompt": request.GET.get("prompt", EXAMPLE)})
    answers: list[Answer] = []
    if request.method == "POST" and form.is_valid():
        answers = [_answer(request, side, chosen[side], form.cleaned_data) for side in SIDES]
    context = {
        "form": form,
        "names": names,
        "chosen": chosen,
        "answers": answers,
        "empty": [Answer(side, chosen[side], "", 0, False) for side in SIDES],
        "demo_base": is_local_base(lines.shared_line()),
    }
    return render(request, "playground.html", context)


def names_for(user: Any) -> list[str]:
    return [model.name for model in serving.model_names(user)]


def _chosen(request: HttpRequest, names: list[str]) -> dict[str, str]:
    """As asked, else the champion on the left and, on the right, the newest version that is not it."""
    asked = request.POST if request.method == "POST" else request.GET
    first = "champion" if "champion" in names else (names[0] if names else "")
    line = lines.shared_line()
    others = line.versions.exclude(aliases__name=AliasName.CHAMPION) if line else []
    second = next((version.name for version in others if version.name in names), first)
    return {"left": asked.get("left") or first, "right": asked.get("right") or second}


@login_required
@require_POST
def ask(request: HttpRequest) -> HttpResponse:
    """One side, as JSON, for playground.js."""
    form = QuestionForm(request.POST)
    if not form.is_valid():
        sentence = next(iter(form.errors.values()))[0]
        return JsonResponse({"detail": sentence}, status=400)
    answer = _answer(request, "", request.POST.get("model", ""), form.cleaned_data)
    if answer.refused:
        return JsonResponse({"detail": answer.text}, status=400)
    return JsonResponse({"text": answer.text, "tokens": answer.tokens})


def _answer(request: HttpRequest, side: str, model: str, given: dict[str, Any]) -> Answer:
    try:
        version = serving.resolve(model, request.user, None)
        reply = serving.chat(version, _body(given), stream=False)
    except FlywheelError as refused:
        return Answer(side, model, refused.sentence, 0, refused=True)
    text = reply["choices"][0]["message"]["content"] or ""
    return Answer(side, version.name, text, reply.get("usage", {}).get("completion_tokens", 0), refused=False)


def _body(given: dict[str, Any]) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": given["prompt"]}],
        "temperature": given["temperature"],
        "max_tokens": given["max_tokens"],
    }
