"""/samples: what was collected to be sent back, by oneself and by programs of one's teams: out again, or on its way."""

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from tasks.errors import Invalid, NotFound
from tasks.forms import teams_with
from tasks.models import Dataset, Sample, Team
from tasks.services import samples
from tasks.states import Role
from tasks.views.listing import exported, facts_of, page_of, whole
from tasks.views.scope import signed_in

STATES = ("collected", "sent")


@login_required
@require_safe
def sample_list(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    mine = Sample.objects.for_user(user).select_related("team", "collected_by", "upload")
    rows = _narrowed(request, mine)
    if reply := exported(request, facts_of(rows[:10_000], _facts), name="samples"):
        return reply
    counts = mine.order_by().aggregate(collected=Count("pk", filter=Q(upload=None)), all=Count("pk"))
    teams = teams_with(user, Role.CONTRIBUTOR)
    context = {
        "page": page_of(request, rows),
        "counts": [(state, _count(state, counts)) for state in STATES],
        "all": counts["all"],
        "groups": (groups := _by_licence(mine)),
        "finding": finding(groups),
        "teams": teams,
        "datasets": Dataset.objects.filter(team__in=teams).select_related("team"),
        "sources": Sample.Source.choices,
    }
    return render(request, "tasks/samples.html", context)


def _count(state: str, counts: Mapping[str, int]) -> int:
    return counts["collected"] if state == "collected" else counts["all"] - counts["collected"]


def _narrowed(request: HttpRequest, rows: Any) -> Any:
    asked = request.GET
    if (state := asked.get("state")) in STATES:
        rows = rows.filter(upload__isnull=state == "collected")
    if source := asked.get("source"):
        rows = rows.filter(source=source)
    if team := asked.get("team"):
        rows = rows.filter(team__slug=team)
    if licence := asked.get("licence"):
        rows = rows.filter(licence=licence)
    return rows


def _by_licence(mine: Any) -> list[dict[str, Any]]:
    """What waits, as it may be sent: by team and licence."""
    waiting = mine.waiting().order_by("team__name", "licence").values("team__slug", "team__name", "licence")
    return list(waiting.annotate(n=Count("pk")))


def finding(groups: list[dict[str, Any]]) -> str:
    """The basket in one sentence."""
    if not groups:
        return "Nothing waits to be sent."
    total = sum(group["n"] for group in groups)
    told = "; ".join(f"{group['n']:,} of {group['team__name']} under {group['licence']}" for group in groups)
    return f"{total:,} sample{' waits' if total == 1 else 's wait'} to be sent: {told}."


def _facts(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.pk,
        "team": sample.team.slug,
        "source": sample.source,
        "collected_at": sample.created_at.isoformat(),
        "collected_by": sample.collected_by.username if sample.collected_by else None,
        "version": sample.version,
        "asked_as": sample.asked_as,
        "prompt": sample.prompt,
        "answer": sample.answer,
        "row": sample.row,
        "licence": sample.licence,
        "consent_version": sample.consent_version,
        "upload": sample.upload_id,
        "line": sample.line,
    }


@login_required
@require_POST
def remove(request: HttpRequest) -> HttpResponse:
    pk = whole(request.POST.get("one"))
    sample = get_object_or_404(Sample.objects.for_user(request.user).select_related("team"), pk=pk)
    samples.remove(sample.team, [sample.pk], actor=signed_in(request))
    messages.success(request, "The sample was removed: nothing of it is kept.")
    return redirect("samples")


@login_required
@require_POST
def send(request: HttpRequest) -> HttpResponse:
    """One upload of the samples chosen, all of one team."""
    team, pks = _chosen(request)
    pk = whole(request.POST.get("dataset"))
    dataset = get_object_or_404(Dataset.objects.for_user(request.user), pk=pk) if pk is not None else None
    upload, created = samples.send(team, actor=signed_in(request), chosen=pks, dataset=dataset)
    if not created:
        messages.info(request, "These were sent before: this is the upload that they went with, nothing was added.")
    return redirect("upload", upload.pk)


def _chosen(request: HttpRequest) -> tuple[Team, list[int]]:
    """The team of the samples that were ticked, and which they are. Those of another's basket are not there."""
    pks = {pk for text in request.POST.getlist("sample") if (pk := whole(text)) is not None}
    if not pks:
        raise Invalid("nothing_chosen", "Tick at least one sample first.", "samples")
    found = list(Sample.objects.for_user(request.user).filter(pk__in=pks).select_related("team"))
    if len(found) != len(pks):
        raise NotFound("not_found", "One of these samples is not there: look at the list again.", "samples")
    if len({sample.team for sample in found}) > 1:
        raise Invalid("several_teams", "Send samples of one team at a time: filter the list by team first.", "samples")
    return found[0].team, sorted(pks)
