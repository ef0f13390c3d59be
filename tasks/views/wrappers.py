"""/review/wrappers: which instructions around a question count for nothing when prompts of a space are compared."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from tasks.forms import teams_with
from tasks.models import DatasetTask, Wrapper
from tasks.services import wrapping
from tasks.states import Role, WrapperState
from tasks.views import examples
from tasks.views.listing import whole
from tasks.views.scope import signed_in

SHOWN = 100  # of a state; the rest is listed by API
EXAMPLE_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Shown:
    """A wrapper as people read it."""

    wrapper: Wrapper
    place: str  # start | end
    text: str
    share: float | None  # of the rows that came in with it, in [0, 1]


@login_required
@require_safe
def queue(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    rows = wrapping.visible_to(user).select_related("space", "upload__dataset", "decided_by")
    proposed = rows.filter(state=WrapperState.PROPOSED)
    waiting = [_shown(row) for row in proposed.order_by("-rows", "pk")[:SHOWN]]
    place = _place(waiting, whole(request.GET.get("at")))
    context = {
        "waiting": waiting,
        "total": proposed.count(),
        "at": waiting[place] if waiting else None,
        "prompt": _example(waiting[place]) if waiting else "",
        "next": waiting[place + 1] if place + 1 < len(waiting) else None,
        "previous": waiting[place - 1] if place else None,
        "approved": [_shown(row) for row in rows.filter(state=WrapperState.APPROVED)[:SHOWN]],
        "refused": [_shown(row) for row in rows.filter(state=WrapperState.REFUSED)[:SHOWN]],
        "spaces": teams_with(user, Role.REVIEWER).order_by("name"),
        "example": examples.ROW,
    }
    return render(request, "tasks/wrappers.html", context)


def _shown(wrapper: Wrapper) -> Shown:
    place, text = wrapper.text.split(" ", 1)
    counts = {} if wrapper.upload is None else wrapper.upload.counts
    good = counts.get("rows", 0) - sum(counts.get("rejected", {}).values())
    return Shown(wrapper, place, text, min(wrapper.rows / good, 1.0) if good else None)


def _place(waiting: list[Shown], pk: int | None) -> int:
    """Of the one that is asked for, else of the first."""
    return next((place for place, one in enumerate(waiting) if one.wrapper.pk == pk), 0)


def _example(one: Shown) -> str:
    """The prompt of a row that has it, from the side where it stands; "" where the row is gone."""
    line = whole(one.wrapper.example.removeprefix("line ")) or 0
    row = DatasetTask.objects.filter(upload=one.wrapper.upload, line=line).select_related("task").first()
    text = "" if row is None or one.wrapper.upload is None else row.task.prompt
    if len(text) <= EXAMPLE_CHARACTERS:
        return text
    return f"{text[:EXAMPLE_CHARACTERS]} …" if one.place == "start" else f"… {text[-EXAMPLE_CHARACTERS:]}"


def _find(request: HttpRequest, pk: int) -> Wrapper:
    found: Wrapper = get_object_or_404(wrapping.visible_to(signed_in(request)).select_related("space"), pk=pk)
    return found


@login_required
@require_POST
def approve(request: HttpRequest, pk: int) -> HttpResponse:
    return _decided(request, wrapping.approve(_find(request, pk), reviewer=signed_in(request)))


@login_required
@require_POST
def refuse(request: HttpRequest, pk: int) -> HttpResponse:
    return _decided(request, wrapping.refuse(_find(request, pk), reviewer=signed_in(request)))


@login_required
@require_POST
def add(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    space = get_object_or_404(teams_with(user, Role.REVIEWER), slug=request.POST.get("space", ""))
    place, text = request.POST.get("place", ""), request.POST.get("text", "")
    return _decided(request, wrapping.add(space, place, text, reviewer=user))


def _decided(request: HttpRequest, wrapper: Wrapper) -> HttpResponse:
    told: dict[str, Any] = {
        WrapperState.APPROVED: "It is taken off from now on; stored tasks follow.",
        WrapperState.REFUSED: "It belongs to the question.",
    }
    messages.success(request, f"{wrapper.get_state_display().capitalize()}. {told[WrapperState(wrapper.state)]}")
    return redirect(reverse("wrappers"))
