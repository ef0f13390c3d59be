"""/datasets/<team>/<dataset>/used-in: every mixture, run and version that saw a dataset, and what came of those."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from tasks.views.listing import exported, facts_of
from tasks.views.scope import dataset_of
from trainer.models import Line
from trainer.services import uses
from trainer.services.uses import Use


@login_required
@require_safe
def dataset_used_in(request: HttpRequest, team: str, slug: str) -> HttpResponse:
    dataset = dataset_of(request, team, slug)
    used = uses.of_dataset(dataset, Line.objects.for_user(request.user))
    named = request.GET.get("alias", "")
    shown = [use for use in used.uses if not named or named in use.aliases or named in use.was]
    if reply := exported(request, facts_of(shown, _facts), name=f"{team}-{slug}-used-in"):
        return reply
    aliases = sorted({name for use in used.uses for name in (*use.aliases, *use.was)})
    context = {"dataset": dataset, "used": used, "uses": shown, "aliases": aliases}
    return render(request, "used_in.html", context)


def _facts(use: Use) -> dict[str, Any]:
    return {
        "version": use.version,
        "run": use.run,
        "state": use.state,
        "line": use.line,
        "mixture": use.mixture,
        "rows": use.rows,
        "of": use.of,
        "share": round(use.share, 6),
        "aliases": " ".join(use.aliases),
        "was": " ".join(use.was),
    }
