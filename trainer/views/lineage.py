"""/ops/models/<line>/v<n>/lineage: where a version comes from, as nested lists and tables, and as JSON."""

from dataclasses import asdict
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from tasks.views.listing import exported
from trainer.services import lineage
from trainer.services.lineage import Step
from trainer.views.versions import find


@login_required
@require_safe
def lineage_page(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    version = find(request, slug, number)
    steps = lineage.of_version(version, user=request.user)
    if reply := exported(request, map(asdict, steps), name=f"lineage-{slug}-v{number}"):
        return reply
    trained = [step for step in steps if step.training is not None]
    context = {
        "version": version,
        "steps": steps,
        "trained": trained,
        "teams": _teams(trained),
        "base": steps[-1],
    }
    return render(request, "trainer/lineage.html", context)


def _teams(trained: list[Step]) -> list[dict[str, Any]]:
    """Contributors over the whole chain, most rows first; a row that trained two versions counts twice."""
    given: dict[str, int] = {}
    for step in trained:
        for credit in step.training.credits if step.training else ():
            given[credit.team] = given.get(credit.team, 0) + credit.rows
    return [{"team": team, "rows": rows} for team, rows in sorted(given.items(), key=lambda item: -item[1])]
