"""/ops/models: lines and their versions; promote, roll back, move, read the card, download."""

from pathlib import Path
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from tasks.errors import Invalid
from tasks.models.accounts import pool_roles
from tasks.services import connections
from tasks.states import Role
from tasks.views.listing import exported, facts_of, page_of
from trainer.forms import LineForm, ReasonForm
from trainer.models import Line, ModelVersion
from trainer.services import evaluations, lineage, lines, locks, model_cards, policies, promotion
from trainer.states import AliasName, LinePurpose
from trainer.views import history
from trainer.views.drawing import score_chart
from trainer.views.scope import may_operate


@login_required
@require_safe
def model_list(request: HttpRequest) -> HttpResponse:
    mine = Line.objects.for_user(request.user).select_related("team")
    if purpose := request.GET.get("purpose"):
        mine = mine.filter(purpose=purpose)
    versions = ModelVersion.objects.filter(line__in=mine).select_related("line", "run").prefetch_related("aliases")
    if reply := exported(request, facts_of(versions[:10_000], _facts), name="models"):
        return reply
    context = {
        "lines": [_line(line) for line in mine.order_by("-purpose", "pk")[:30]],
        "page": page_of(request, versions),
        "purposes": list(LinePurpose),
        "form": LineForm(),
        "may_register": bool(pool_roles(request.user) & {Role.OPERATOR, Role.ADMINISTRATOR}),
    }
    return render(request, "trainer/models.html", context)


def _line(line: Line) -> dict[str, Any]:
    aliases = {alias.name: alias.version for alias in line.aliases.select_related("version")}
    return {
        "line": line,
        "aliases": aliases,
        "versions": line.versions.count(),
        "build": getattr(line, "base_build", None),
    }


def _facts(version: ModelVersion) -> dict[str, Any]:
    return {
        "id": version.pk,
        "name": version.name,
        "aliases": " ".join(alias.name for alias in version.aliases.all()),
        "origin": version.origin,
        "digest": version.digest,
        "parameters": version.parameters,
        "bytes": version.bytes,
        "created_at": version.created_at.isoformat(),
    }


def find_line(request: HttpRequest, slug: str) -> Line:
    found: Line = get_object_or_404(Line.objects.for_user(request.user).select_related("team"), slug=slug)
    return found


@login_required
@require_safe
def line_page(request: HttpRequest, slug: str) -> HttpResponse:
    line = find_line(request, slug)
    scores = history.champion_scores(line)
    champion = line.alias(AliasName.CHAMPION)
    moves = line.alias_moves.select_related("old__line", "new__line", "actor", "report")
    context = {
        **_line(line),
        "page": page_of(
            request, line.versions.select_related("line", "run", "parent__line").prefetch_related("aliases")
        ),
        "scores": scores,
        "chart": score_chart(scores) if scores else None,
        "finding": history.finding(scores),
        "moves": moves[:20],
        "policy": policies.of(line),
        "policy_version": line.policies.select_related("set_by").first(),
        "may_operate": may_operate(request.user, line),
        "locks": line.aliases.filter(locked_at__isnull=False).select_related("locked_by"),
        "unlocked": line.aliases.filter(locked_at=None).order_by("name"),
        "can_roll_back": champion is not None and moves.filter(name=AliasName.CHAMPION).exclude(old=None).exists(),
    }
    return render(request, "trainer/line.html", context)


def find(request: HttpRequest, slug: str, number: int) -> ModelVersion:
    rows = ModelVersion.objects.for_user(request.user).select_related(
        "line__team", "run__mixture__recipe", "run__dataset_version__dataset__team", "parent__line"
    )
    found: ModelVersion = get_object_or_404(rows, line__slug=slug, number=number)
    return found


@login_required
@require_safe
def version_page(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    version = find(request, slug, number)
    context = {
        "version": version,
        "aliases": [alias.name for alias in version.aliases.all()],
        "evaluations": version.evaluations.select_related("champion__line", "report")[:10],
        "defences": version.defences.select_related("candidate__line", "report").exclude(report=None)[:10],
        "step": lineage.step_of(version, user=request.user),
        "children": ModelVersion.objects.for_user(request.user).filter(parent=version).select_related("line")[:10],
        "may_operate": may_operate(request.user, version.line),
        "alias_names": list(AliasName),
        "parent_named": version.parent is not None and model_cards.may_be_named(version.parent, version),
        "environment": version.environment,
        "artifact_there": Path(version.path).is_dir(),
    }
    return render(request, "trainer/version.html", context)


def _reason(request: HttpRequest) -> str:
    form = ReasonForm(request.POST)
    if not form.is_valid():
        raise Invalid("reason_missing", "Say why in a few words: the history shows it.", "reason")
    return str(form.cleaned_data["reason"])


@login_required
@require_POST
def promote(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    version = find(request, slug, number)
    promotion.promote(version, actor=request.user, reason=_reason(request))
    messages.success(request, f"{version.name} is the champion: every name that means it answers with it from now on.")
    return redirect("line", slug)


@login_required
@require_POST
def move(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Set anchor or challenger by hand. The champion moves by promote and roll back only."""
    version = find(request, slug, number)
    name = request.POST.get("alias", "")
    if name not in (AliasName.ANCHOR, AliasName.CHALLENGER):
        raise Invalid("unknown_alias", "By hand move anchor or challenger; promote and roll back move the champion.")
    promotion.move(version.line, AliasName(name), version, actor=request.user, reason=_reason(request))
    messages.success(request, f"{version.name} is the {name}.")
    return redirect("version", slug, number)


@login_required
@require_POST
def roll_back(request: HttpRequest, slug: str) -> HttpResponse:
    line = find_line(request, slug)
    moved = promotion.roll_back(line, actor=request.user, reason=_reason(request))
    messages.success(request, f"{moved.new.name} is the champion again.")
    return redirect("line", slug)


@login_required
@require_POST
def lock(request: HttpRequest, slug: str) -> HttpResponse:
    """Lock an alias with a reason, or take the lock off."""
    line, name = find_line(request, slug), request.POST.get("alias", "")
    if name not in list(AliasName):
        raise Invalid("unknown_alias", f"There is no such name: lock {', '.join(AliasName)}.", "alias")
    if "unlock" in request.POST:
        locks.unlock(line, AliasName(name), actor=request.user)
        messages.success(request, f"The {name} may move again.")
    else:
        locks.lock(line, AliasName(name), actor=request.user, reason=_reason(request))
        messages.success(request, f"The {name} stays where it is until somebody unlocks it.")
    return redirect("line", slug)


@login_required
@require_POST
def evaluate(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    evaluation = evaluations.start(find(request, slug, number), actor=request.user)
    return redirect("evaluation", evaluation.pk)


@login_required
@require_POST
def register(request: HttpRequest) -> HttpResponse:
    form = LineForm(request.POST)
    if not form.is_valid():
        field, errors = next(iter(form.errors.items()))
        raise Invalid("line_invalid", f"{field}: {' '.join(map(str, errors))}", field)
    line = lines.create_shared(actor=request.user, **form.cleaned_data)
    messages.success(request, f"{line.name} is registered; its base is being taken in.")
    return redirect("line", line.slug)


@login_required
@require_safe
def card(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    version = find(request, slug, number)
    return render(request, "trainer/card.html", {"version": version, "card": model_cards.card(version)})


@login_required
@require_safe
def download(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """The export as a zip, streamed: it is never whole in memory."""
    version = find(request, slug, number)
    headers = {
        "Content-Disposition": f'attachment; filename="{model_cards.folder_of(version)}.zip"',
        "X-Content-Type-Options": "nosniff",
    }
    parts = connections.without(model_cards.archived(version))
    return StreamingHttpResponse(parts, content_type="application/zip", headers=headers)  # type: ignore[return-value]
