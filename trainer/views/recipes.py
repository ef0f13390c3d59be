"""/ops/recipes: what the next mixture would be made of, seen before anything is built or run."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from tasks.errors import FlywheelError, Invalid
from tasks.forms import pretty
from tasks.views.listing import exported, facts_of, page_of, whole
from trainer.forms import NewRecipeForm, RecipeForm, SeedForm, StartForm
from trainer.models import Line, Mixture, Recipe
from trainer.services import recipes, runs
from trainer.views import difficulty, settings
from trainer.views.runs import fields_of, given_of
from trainer.views.scope import may_operate

EXAMPLE_BODY = {"weights": {}, "cap_per_contributor": 0.6, "size": 0, "seed": 0}


@login_required
@require_safe
def recipe_list(request: HttpRequest) -> HttpResponse:
    rows = Recipe.objects.for_user(request.user).select_related("line", "created_by")
    if line := request.GET.get("line"):
        rows = rows.filter(line__slug=line)
    if reply := exported(request, facts_of(rows[:10_000], _facts), name="recipes"):
        return reply
    lines = Line.objects.for_user(request.user).select_related("team").order_by("purpose", "slug")[:50]
    context = {
        "page": page_of(request, rows),
        "lines": lines,
        "own_lines": [line for line in lines if may_operate(request.user, line)],
        "form": NewRecipeForm(initial={"body": pretty(EXAMPLE_BODY)}),
    }
    return render(request, "trainer/recipes.html", context)


def _facts(recipe: Recipe) -> dict[str, Any]:
    return {
        "id": recipe.pk,
        "line": recipe.line.slug,
        "name": recipe.name,
        "preset": recipe.preset,
        "body": recipe.body,
    }


def _find(request: HttpRequest, pk: int) -> Recipe:
    rows = Recipe.objects.for_user(request.user).select_related("line__team")
    found: Recipe = get_object_or_404(rows, pk=pk)
    return found


@login_required
@require_safe
def recipe_page(request: HttpRequest, pk: int) -> HttpResponse:
    recipe = _find(request, pk)
    seed = whole(request.GET.get("seed"))
    start = StartForm(runs.origins(recipe.line), request.GET or None)
    plan, estimate, refusal = None, None, ""
    try:
        plan = recipes.preview(recipe, seed=seed)
        estimate = runs.estimate_recipe(recipe, plan.size, **_chosen(start))
    except FlywheelError as refused:
        refusal = refused.sentence
    context = {
        "start": start,
        "given": given_of(request.GET),
        "estimate": estimate,
        "settings": estimate and settings.rows(estimate.spec, estimate.reasons, fields_of(start)),
        **difficulty.found(recipe, request.user),
        "plan": plan,
        "plan_tables": [("By domain", plan.domains), ("By contributor", plan.contributors)] if plan else [],
        "refusal": refusal,
        "last": recipe.mixtures.first(),
        "mixtures": recipe.mixtures.prefetch_related("runs")[:20],
        "form": RecipeForm(
            initial={
                "body": pretty(recipe.body),
                "preset": recipe.preset,
                "overrides": pretty(recipe.overrides) if recipe.overrides else "",
            }
        ),
    }
    return render(request, "trainer/recipe.html", context)


def _chosen(form: StartForm) -> dict[str, Any]:
    """What differs from the recipe's settings; nothing where the form was not filled in, or not well."""
    if not (form.is_bound and form.is_valid()):
        return {}
    return {"overrides": form.overrides(), "start_from": form.cleaned_data["start_from"]}


@login_required
@require_POST
def create(request: HttpRequest) -> HttpResponse:
    line = get_object_or_404(Line.objects.for_user(request.user), slug=request.POST.get("line", ""))
    given = _valid(NewRecipeForm(request.POST))
    recipe = recipes.create(
        line,
        given["name"],
        given["body"],
        actor=request.user,
        preset=given["preset"],
        overrides=given["overrides"],
    )
    return redirect("recipe", recipe.pk)


@login_required
@require_POST
def update(request: HttpRequest, pk: int) -> HttpResponse:
    recipe = _find(request, pk)
    given = _valid(RecipeForm(request.POST))
    recipes.update(
        recipe, given["body"], actor=request.user, preset=given["preset"], overrides=given["overrides"] or {}
    )
    messages.success(request, "The recipe is changed; mixtures that were built stay as they are.")
    return redirect("recipe", pk)


def _valid(form: Any) -> dict[str, Any]:
    if not form.is_valid():
        field, errors = next(iter(form.errors.items()))
        raise Invalid("recipe_invalid", f"{field}: {' '.join(errors)}", field)
    given: dict[str, Any] = form.cleaned_data
    return given


@login_required
@require_POST
def build(request: HttpRequest, pk: int) -> HttpResponse:
    recipe = _find(request, pk)
    mixture = recipes.build(recipe, seed=_valid(SeedForm(request.POST))["seed"], actor=request.user)
    messages.success(request, f"Mixture {mixture.digest[:12]} holds {mixture.size:,} tasks in a frozen order.")
    return redirect("recipe", pk)


@login_required
@require_POST
def run(request: HttpRequest, pk: int) -> HttpResponse:
    """Build (or take a built mixture) and queue a run of the recipe's line."""
    recipe = _find(request, pk)
    mixture = None
    if (chosen := whole(request.POST.get("mixture"))) is not None:
        mixture = get_object_or_404(Mixture, pk=chosen, recipe=recipe)
    form = StartForm(runs.origins(recipe.line), request.POST)
    seed = _valid(form)["seed"]
    source = {"mixture": mixture} if mixture else {"recipe": recipe}
    started = runs.start(recipe.line, actor=request.user, seed=seed, **source, **_chosen(form))
    messages.success(request, f"Run {started.pk} is queued.")
    return redirect("run", started.pk)
