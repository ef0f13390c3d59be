"""/playground: one question, two models side by side: champion and candidate, or any two that you may ask. A wrong
answer may be kept with the right one, to be sent back (tasks.services.samples)."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core import signing
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from flywheel.pages.home import is_local_base
from tasks.errors import FlywheelError, Invalid
from tasks.forms import GraderField, grader_examples, teams_with
from tasks.models import Sample, Team
from tasks.services import licences, samples
from tasks.services.samples import Told
from tasks.states import Role
from tasks.views.scope import signed_in
from trainer.services import lines, serving
from trainer.states import AliasName

SIDES = ("left", "right")
EXAMPLE = "Compute 47 + 38."
SALT = "playground.answer"
LICENCES = [("", "Choose one"), *((one, one) for one in licences.LICENCES)]
TOKEN_SECONDS = 86_400  # that an answer may still be marked wrong


class QuestionForm(forms.Form):
    prompt = forms.CharField(max_length=20_000, strip=False, widget=forms.Textarea(attrs={"rows": 3}))
    temperature = forms.FloatField(min_value=0, max_value=2, initial=0)
    max_tokens = forms.IntegerField(min_value=1, max_value=4096, initial=64)


class WrongForm(forms.Form):
    """What is right where a model was wrong, and that it may be kept."""

    team = forms.ModelChoiceField(Team.objects.none(), empty_label=None)
    reference = forms.CharField(required=False, max_length=20_000, widget=forms.Textarea(attrs={"rows": 2}))
    grader = GraderField()
    domain = forms.CharField(required=False, max_length=64)
    licence = forms.ChoiceField(required=False, choices=LICENCES)
    consent = forms.BooleanField(required=False)

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        team: Any = self.fields["team"]
        team.queryset = teams_with(user, Role.CONTRIBUTOR)


@dataclass(frozen=True, slots=True)
class Answer:
    side: str
    model: str
    text: str
    tokens: int
    refused: bool
    token: str = ""  # the answer, signed: what comes back with it is what the model said
    wrong: WrongForm | None = None


@login_required
def playground(request: HttpRequest) -> HttpResponse:
    names = names_for(request.user)
    chosen = _chosen(request, names)
    form = QuestionForm(request.POST or None, initial={"prompt": request.GET.get("prompt", EXAMPLE)})
    answers: list[Answer] = []
    if request.method == "POST" and form.is_valid():
        answers = [_answer(request, side, chosen[side], form.cleaned_data) for side in SIDES]
    return _page(request, form, names, chosen, answers)


def _page(
    request: HttpRequest,
    form: QuestionForm,
    names: list[str],
    chosen: dict[str, str],
    answers: list[Answer],
    refused: str = "",
) -> HttpResponse:
    user = signed_in(request)
    mine = Sample.objects.for_user(user)
    blank = WrongForm(user, auto_id=False, initial={"licence": mine.values_list("licence", flat=True).first() or ""})
    context = {
        "form": form,
        "names": names,
        "chosen": chosen,
        "answers": answers,
        "empty": [Answer(side, chosen[side], "", 0, False) for side in SIDES],
        "demo_base": is_local_base(lines.shared_line()),
        "blank": blank,
        "may_keep": teams_with(user, Role.CONTRIBUTOR).exists(),
        "waiting": mine.waiting().filter(collected_by=user).count(),
        "graders": grader_examples(),
        "consent": licences.CONSENT_TEXT,
        "refused": refused,
    }
    return render(request, "playground.html", context, status=400 if refused else 200)


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
    return JsonResponse({"text": answer.text, "tokens": answer.tokens, "token": answer.token})


def _answer(request: HttpRequest, side: str, model: str, given: dict[str, Any]) -> Answer:
    try:
        version = serving.resolve_version(model, request.user, None)
        reply = serving.chat(version, _body(given), stream=False)
    except FlywheelError as refused:
        return Answer(side, model, refused.sentence, 0, refused=True)
    text = reply["choices"][0]["message"]["content"] or ""
    token = _signed(request, {"prompt": given["prompt"], "model": model, "version": version.name, "answer": text})
    tokens = reply.get("usage", {}).get("completion_tokens", 0)
    return Answer(side, version.name, text, tokens, refused=False, token=token)


def _body(given: dict[str, Any]) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": given["prompt"]}],
        "temperature": given["temperature"],
        "max_tokens": given["max_tokens"],
    }


# Wrong answers


@login_required
@require_POST
def wrong(request: HttpRequest) -> HttpResponse:
    """Keep a wrong answer with the right one. Refused, the form comes back as it was filled in, and nothing is kept."""
    said, form = _verified(request), WrongForm(signed_in(request), request.POST, auto_id=False)
    try:
        _keep(request, said, form)
    except FlywheelError as refused:
        names = names_for(request.user)
        answer = Answer("left", said["version"], said["answer"], 0, False, request.POST["token"], form)
        asked = QuestionForm(initial={"prompt": said["prompt"]})
        return _page(request, asked, names, _chosen(request, names), [answer], refused.sentence)
    messages.success(request, "Kept in your basket: send it with others as an upload, or take it out again.")
    sides = {side: request.POST[side] for side in SIDES if request.POST.get(side)}
    return redirect(f"{reverse('playground')}?{urlencode(sides)}")


def _keep(request: HttpRequest, said: dict[str, str], form: WrongForm) -> None:
    if not form.is_valid():
        field, sentences = next(iter(form.errors.items()))
        raise Invalid("bad_sample", f"{field.capitalize()}: {sentences[0]}", field)
    given = form.cleaned_data
    row = {"prompt": said["prompt"], "domain": given["domain"], "grader": given["grader"]}
    if given["reference"].strip():
        row["reference"] = given["reference"].strip()
    told = Told(row, said["model"], said["version"], said["answer"])
    rights = {"licence": given["licence"], "consent": given["consent"]}
    samples.collect(given["team"], [told], actor=signed_in(request), source=Sample.Source.PLAYGROUND, **rights)


def _signed(request: HttpRequest, said: dict[str, str]) -> str:
    return signing.dumps([signed_in(request).pk, said], salt=SALT, compress=True)


def _verified(request: HttpRequest) -> dict[str, str]:
    """What a model told this person, a day ago at the most."""
    try:
        user, said = signing.loads(request.POST.get("token", ""), salt=SALT, max_age=TOKEN_SECONDS)
    except signing.BadSignature:
        user, said = None, {}
    if user != signed_in(request).pk:
        raise Invalid("answer_unknown", "This answer is too old to be marked, or is not yours: ask again.", "token")
    told: dict[str, str] = said
    return told
