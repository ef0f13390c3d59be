"""/: the wheel with its counts, how good the champion has become, and the newest promotion."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from flywheel.pages import wanted, wheel
from tasks.models import Upload
from tasks.models.accounts import pool_roles
from tasks.states import Role
from tasks.views import examples, live
from tasks.views.scope import signed_in
from tasks.views.waiting import no_worker
from trainer.models import AliasMove, BaseBuild, Line
from trainer.services import credit, lines
from trainer.states import AliasName
from trainer.views import history
from trainer.views.drawing import score_chart


@login_required
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    line = lines.shared_line()
    scores = history.champion_scores(line) if line else []
    context = {
        **_ring(request),
        "line": line,
        "champion": line.alias(AliasName.CHAMPION) if line else None,
        "scores": scores,
        "chart": score_chart(scores) if scores else None,
        "finding": history.finding(scores),
        "promotion": _newest_promotion(request.user),
        "credit": credit.told(line, signed_in(request).team_ids())[:5] if line else [],
        "wanted": list(wanted.most_wanted()),
        "newcomer": not Upload.objects.for_user(request.user).exists(),
        "reviewer": Role.REVIEWER in pool_roles(request.user),
        "example": examples.ROW,
        "demo_base": is_local_base(line),
    }
    return render(request, "home.html", context)


@login_required
@require_safe
def ring(request: HttpRequest) -> HttpResponse:
    return live.fragment(request, "_wheel.html", _ring(request))


def _ring(request: HttpRequest) -> dict[str, Any]:
    return {"stages": wheel.stages(request.user), "waiting": no_worker(request.user)}


def _newest_promotion(user: Any) -> AliasMove | None:
    moves = AliasMove.objects.filter(line__in=Line.objects.for_user(user), name=AliasName.CHAMPION, new__number__gt=0)
    return moves.select_related("new__line", "old__line", "report", "actor").first()


def is_local_base(line: Line | None) -> bool:
    """Whether the shared model is the small local one, whose headroom was made on purpose."""
    build = getattr(line, "base_build", None) if line else None
    return build is not None and build.source == BaseBuild.Source.LOCAL
