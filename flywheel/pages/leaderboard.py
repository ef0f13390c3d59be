"""/leaderboard: what promotions did on each contributor's own held-out rows, and how contributors are named there."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from tasks.errors import Invalid
from tasks.models import Team
from tasks.services.accounts import pool
from tasks.states import Role
from tasks.views.listing import exported
from tasks.views.scope import signed_in
from trainer.evaluation.claim import Claim
from trainer.models import Line
from trainer.services import leaderboard, lines, policies
from trainer.services.leaderboard import Board, Standing
from trainer.states import LinePurpose
from trainer.views.drawing import Forest, forest

TONES: Mapping[str, str] = {Claim.BETTER: "pass", Claim.WORSE: "hold"}  # colours of a drawing; the word stands beside
DRAWN = 40  # contributors; the table has all
NAME_DRAWN = 24  # characters


class NameForm(forms.Form):
    team = forms.SlugField()
    name = forms.CharField(max_length=leaderboard.LONGEST_NAME, required=False)
    anonymous = forms.BooleanField(required=False)


@login_required
@require_safe
def leaderboard_page(request: HttpRequest) -> HttpResponse:
    shared = Line.objects.filter(purpose=LinePurpose.SHARED).order_by("pk")
    asked = request.GET.get("line")
    line = get_object_or_404(shared, slug=asked) if asked else lines.shared_line()
    board = leaderboard.board(line, own=signed_in(request).team_ids()) if line else None
    if board and (reply := exported(request, _facts(board), name="leaderboard")):
        return reply
    chosen = _chosen(board, request.GET.get("claim", "")) if board else []
    context = {
        "board": board,
        "lines": shared[:50],
        "claims": [claim for claim in Claim if claim is not Claim.TOO_FEW],
        "standings": chosen,
        "forest": _forest(chosen) if chosen else None,
        "drawn": DRAWN,
        "fewest": policies.of(line).minimum_clusters if line else 0,
        "finding": finding(board) if board else "",
        "named": (named := _named(request)),
        "name_body": json.dumps({"team": named[0]["team"].slug, "anonymous": True}) if named else "",
    }
    return render(request, "leaderboard.html", context)


def _chosen(board: Board, claim: str) -> list[tuple[int, Standing]]:
    """With their places, which a filter does not change."""
    placed = enumerate(board.standings, start=1)
    return [(place, one) for place, one in placed if not claim or one.claim == claim]


def _forest(standings: Sequence[tuple[int, Standing]]) -> Forest:
    return forest([_row(place, one) for place, one in standings[:DRAWN]])


def _row(place: int, one: Standing) -> dict[str, Any]:
    name = one.name if len(one.name) <= NAME_DRAWN else f"{one.name[: NAME_DRAWN - 1]}…"
    return {
        "suite": f"{place}. {name}",
        "role": one.claim.value,
        "finding": TONES.get(one.claim, "watched"),
        "difference": one.effect.difference,
        "low": one.effect.low,
        "high": one.effect.high,
        "threshold": 0.0,
    }


def finding(board: Board) -> str:
    """The board in one sentence."""
    if not board.versions:
        return "No promotion has been measured yet: the first one draws the first intervals."
    if not board.standings:
        return f"{_contributors(len(board.waiting)).capitalize()}, and too few held-out rows of each to tell."
    better, worse = (sum(one.claim is claim for one in board.standings) for claim in (Claim.BETTER, Claim.WORSE))
    told = f"On the held-out rows of {better} of {_contributors(len(board.standings))} the champion got better"
    fell = f", on those of {worse} worse" if worse else ""
    more = len(board.waiting)
    waits = f"; {more} more {'has' if more == 1 else 'have'} too few rows to tell" if more else ""
    return f"{told}{fell}{waits}."


def _contributors(count: int) -> str:
    return f"{count:,} contributor{'' if count == 1 else 's'}"


def _facts(board: Board) -> Iterator[dict[str, Any]]:
    """Everybody: those who wait have no place."""
    for place, one in enumerate(board.standings, start=1):
        yield {**_figures(one.name, one.effect), "place": place, "claim": one.claim.value, "rows": one.rows,
               "versions": " ".join(one.versions), "missing": 0}  # fmt: skip
    for other in board.waiting:
        yield {**_figures(other.name, other.effect), "place": None, "claim": Claim.TOO_FEW.value, "rows": other.rows,
               "versions": other.version, "missing": other.missing}  # fmt: skip


def _figures(name: str, effect: Any) -> dict[str, Any]:
    fields = ("items", "clusters", "before", "after", "difference", "low", "high")
    return {"contributor": name, **{field: getattr(effect, field, None) for field in fields}}


# How a team is named


def _named(request: HttpRequest) -> list[dict[str, Any]]:
    """The reader's teams, and what may be changed of them. The pool itself contributes nothing."""
    user = signed_in(request)
    teams = Team.objects.filter(pk__in=user.team_ids()).exclude(pk=pool().pk).order_by("name")
    return [
        {
            "team": team,
            "given": leaderboard.name_of(team),
            "may_change": Role.ADMINISTRATOR in user.roles_in(team),
        }
        for team in teams[:20]
    ]


@login_required
@require_POST
def set_name(request: HttpRequest) -> HttpResponse:
    form = NameForm(request.POST)
    if not form.is_valid():
        raise Invalid("bad_credit_name", f"Give a name of at most {leaderboard.LONGEST_NAME} characters.", "name")
    given = form.cleaned_data
    team = get_object_or_404(Team, slug=given["team"], pk__in=signed_in(request).team_ids())
    leaderboard.set_name(team, given["name"], anonymous=given["anonymous"], actor=request.user)
    shown = "without a name" if given["anonymous"] else f"as {given['name'].strip() or team.name}"
    messages.success(request, f"{team.name} is shown {shown} on the leaderboard.")
    return redirect("leaderboard")
