"""The part of a recipe's page that says how difficult its tasks are for the champion."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST, require_safe

from tasks.models import Task
from tasks.views import live
from tasks.views.records import answer_of
from trainer.mixing import Band
from trainer.models import DifficultyCheck, Recipe
from trainer.services import difficulty
from trainer.states import EvaluationState
from trainer.views import drawing
from trainer.views.scope import may_operate, no_supervisor

_GOING = (EvaluationState.QUEUED, EvaluationState.RUNNING)


def found(recipe: Recipe, user: Any) -> dict[str, Any]:
    """What templates/trainer/_difficulty.html shows. Rows are shown to those who may read the line's rows."""
    picture = difficulty.picture(recipe)
    check = recipe.difficulty_checks.select_related("version__line").first()
    band = recipe.body.get("difficulty")
    hardest, easiest = (
        difficulty.ends(recipe, Task.objects.for_user(user).select_related("grader"))
        if picture and picture.known and recipe.line.shows_rows_to(user)
        else ([], [])
    )
    ends = [("Hardest", hardest), ("Easiest", easiest)]
    going = check is not None and check.state in _GOING
    return {
        "recipe": recipe,
        "picture": picture,
        "zone": band or {"min": Band().min, "max": Band().max},
        "banded": bool(band),
        "histogram": _histogram(picture, band) if picture and picture.known else None,
        "ends": [(title, [(task, answer_of(task), rate) for task, rate in some]) for title, some in ends if some],
        "check": check,
        "going": going,
        "waiting": no_supervisor(user) if going else "",
        "may_operate": may_operate(user, recipe.line),
    }


def _histogram(picture: difficulty.Picture, band: Any) -> drawing.Histogram:
    """Tasks by how many of k answers passed; a task with an ungraded answer is put at its share."""
    k = difficulty.ANSWERS
    counts = [0] * (k + 1)
    for (passes, graded), tasks in picture.counts.items():
        counts[round(k * passes / graded)] += tasks
    zone = band or {"min": Band().min, "max": Band().max}
    return drawing.histogram(counts, low=zone["min"], high=zone["max"])


def _find(request: HttpRequest, pk: int) -> Recipe:
    rows = Recipe.objects.for_user(request.user).select_related("line__team")
    recipe: Recipe = get_object_or_404(rows, pk=pk)
    return recipe


@login_required
@require_safe
def status(request: HttpRequest, pk: int) -> HttpResponse:
    context = found(_find(request, pk), request.user)
    return live.fragment(request, "trainer/_difficulty.html", context, finished=not context["going"])


@login_required
@require_POST
def measure(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask the champion what has no rate yet."""
    recipe = _find(request, pk)
    check = difficulty.start(recipe.line, actor=request.user, recipe=recipe)
    messages.success(request, f"{check.version.name} is asked {check.asked:,} tasks, {difficulty.ANSWERS} times each.")
    return redirect("recipe", pk)


@login_required
@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    check = get_object_or_404(DifficultyCheck.objects.for_user(request.user).select_related("line__team"), pk=pk)
    difficulty.cancel(check, actor=request.user)
    messages.success(request, "The measurement is cancelled; what it has measured stays.")
    return redirect("recipe", check.recipe_id) if check.recipe_id else redirect("ops")
