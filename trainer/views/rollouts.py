"""/ops/runs/<id>/rollouts: every answer of a run, the best paid first."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from tasks.errors import NotFound
from tasks.views.listing import exported, whole
from trainer.services import rollouts
from trainer.services.rollouts import Looked, Wanted
from trainer.views.runs import find

PAGE = 20


@login_required
@require_safe
def rollouts_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Answers of the last steps, of one step (?step=), or of one prompt over the steps (?key=)."""
    run = find(request, pk)
    context: dict[str, Any] = {"run": run, "sees_prompts": run.line.shows_rows_to(request.user)}
    if context["sees_prompts"]:
        wanted = _wanted(request)
        try:
            looked = rollouts.look(run, wanted)
        except NotFound as gone:
            return render(request, "trainer/rollouts.html", {**context, "gone": gone.sentence})
        if reply := exported(request, looked.rows, name=f"run-{pk}-rollouts"):
            return reply
        context |= {"wanted": wanted, "looked": looked, **_around(wanted, looked)}
    return render(request, "trainer/rollouts.html", context)


def _wanted(request: HttpRequest) -> Wanted:
    """From the address. A mistyped filter filters nothing."""
    asked = request.GET
    key = asked.get("key", "")[:64]
    learned = {"yes": True, "no": False, "any": None}.get(asked.get("learned", ""), None if key else True)
    return Wanted(
        step=whole(asked.get("step")),
        key=key,
        domain=asked.get("domain", "")[:64],
        learned=learned,
        least=_number(asked.get("least")),
        most=_number(asked.get("most")),
        text=asked.get("text", "")[:200],
        order="step" if key or asked.get("order") == "step" else "reward",
        skip=whole(asked.get("skip")) or 0,
        limit=PAGE,
    )


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _around(wanted: Wanted, looked: Looked) -> dict[str, Any]:
    """The steps before and behind the one shown, and the next page of it."""
    at = looked.known.index(wanted.step) if wanted.step in looked.known else None
    behind = wanted.skip + len(looked.rows)
    return {
        "step_before": looked.known[at - 1] if at else None,
        "step_behind": looked.known[at + 1] if at is not None and at + 1 < len(looked.known) else None,
        "more": behind if behind < looked.count else None,
        "first": wanted.skip + 1,
        "last": behind,
    }
