"""What a withdrawal means on the model side, before it is done; and, once it is, what its receipt keeps of that.

Weights that were trained stay as they are, mixtures and suites stay as frozen records, runs that have begun go on: only
what is built from now on is without the tasks. Nothing here writes a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, F, Max, QuerySet

from tasks.errors import Invalid
from tasks.models import Dataset, Task, Team, WithdrawalReceipt
from tasks.services.withdrawals import Preview
from tasks.states import TaskState
from trainer.models import Evaluation, Line, Recipe, SuiteItem, SuiteVersion
from trainer.services import recipes, suites, training_data, uses
from trainer.services.uses import UsedIn
from trainer.states import EVALUATION_ENDED

MOST_MIXED = 50_000  # tasks that a dry run mixes at once: half a second
MOST_RECIPES = 3  # of a space, those that were used last


@dataclass(frozen=True, slots=True)
class Next:
    """The next mixture of a recipe, or the next training on a dataset, with the tasks and without them."""

    name: str
    line: str
    recipe: int | None
    now: int | None  # tasks; None: too many to be mixed for a preview
    then: int | None
    sentence: str = ""  # why there would be none


@dataclass(frozen=True, slots=True)
class Retiring:
    """A line's current suite with items that are withdrawn: the next one is frozen without them."""

    suite: str
    line: str
    items: int
    of: int
    left: int  # sealed tasks of the domain that the next suite may be made of
    under_way: int  # evaluations on it that have not ended: they end with the items that they were frozen with

    @property
    def is_enough(self) -> bool:
        return self.left >= suites.FEWEST


@dataclass(frozen=True, slots=True)
class Consequences:
    used: UsedIn
    suites: tuple[Retiring, ...]
    offered_now: int  # approved training tasks of the space
    offered_then: int
    next: tuple[Next, ...]
    recipes_left_out: int  # not tried: used longer ago


def of(preview: Preview, lines: QuerySet[Line]) -> Consequences:
    """`lines`: those that the reader may be told of."""
    space = _space(preview.subject)
    used = uses.of_tasks(preview.going, lines)
    now, then = recipes.offered(space), recipes.offered(space, without=preview.going)
    tried, left_out = _recipes(space, lines)
    small = now <= MOST_MIXED
    mixed = [_mixed(recipe, preview.going) if small else _too_many(recipe) for recipe in tried]
    experts = _experts(preview.subject, preview.going, lines)
    return Consequences(used, _retiring(preview.going, space, lines), now, then, (*mixed, *experts), left_out)


def told(receipt: WithdrawalReceipt) -> Mapping[str, Any]:
    """For the receipt, once all tasks have gone: who had seen them, and what the next mixture is without them. Of
    lines that the withdrawing team may see; the receipt is its own."""
    lines = Line.objects.for_team(receipt.team_id)
    went = Task.objects.filter(pk__in=receipt.tasks.filter(kept=False).values("task"))
    space = _space(receipt.dataset or receipt.task)
    tried, _ = _recipes(space, lines)
    small = recipes.offered(space) <= MOST_MIXED
    used = uses.of_tasks(went, lines)
    return {
        "versions": [_seen(use) for use in used.versions],
        "going_on": [{"run": use.run, "line": use.line, "rows": use.rows, "of": use.of} for use in used.going_on],
        "mixtures": [
            {"mixture": one.mixture, "digest": one.digest, "line": one.line, "rows": one.rows, "of": one.of}
            for one in used.mixtures
        ],
        "descendants": [{"version": one.version, "through": one.through} for one in used.descendants],
        "suites": [
            {"suite": one.suite, "line": one.line, "items": one.items, "of": one.of}
            for one in _retiring(went, space, lines)
        ],
        "next": [
            {"recipe": one.name, "line": one.line, "rows": one.then, "sentence": one.sentence}
            for one in (_after(recipe) if small else _too_many(recipe) for recipe in tried)
        ],
    }


def _seen(use: uses.Use) -> dict[str, Any]:
    return {
        "version": use.version,
        "run": use.run,
        "rows": use.rows,
        "of": use.of,
        "share": round(use.share, 6),
        "aliases": list(use.aliases),
        "was": list(use.was),
    }


def _space(subject: Task | Dataset | None) -> Team:
    assert subject is not None
    return subject.space


# The next mixture


def _recipes(space: Team, lines: QuerySet[Line]) -> tuple[list[Any], int]:
    """Recipes that draw on the space, those first whose mixtures are newest; how many more there are."""
    mine = Recipe.objects.filter(line__team=space, line__in=lines.values("pk")).select_related("line__team")
    ordered: list[Recipe] = [*mine.annotate(last=Max("mixtures")).order_by(F("last").desc(nulls_last=True), "-pk")]
    return ordered[:MOST_RECIPES], len(ordered[MOST_RECIPES:])


def _mixed(recipe: Recipe, without: QuerySet[Task]) -> Next:
    now, _ = _size(recipe, None)
    then, sentence = _size(recipe, without)
    return Next(recipe.name, recipe.line.slug, recipe.pk, now, then, sentence)


def _after(recipe: Recipe) -> Next:
    then, sentence = _size(recipe, None)
    return Next(recipe.name, recipe.line.slug, recipe.pk, None, then, sentence)


def _size(recipe: Recipe, without: QuerySet[Task] | None) -> tuple[int, str]:
    try:
        return recipes.preview(recipe, without=without).size, ""
    except Invalid as refused:
        return 0, refused.sentence


def _too_many(recipe: Recipe) -> Next:
    sentence = f"More than {MOST_MIXED:,} tasks are offered: the recipe's own page mixes them."
    return Next(recipe.name, recipe.line.slug, recipe.pk, None, None, sentence)


def _experts(subject: Task | Dataset, going: QuerySet[Task], lines: QuerySet[Line]) -> list[Next]:
    """Lines of which a dataset is the whole subject matter."""
    datasets = [subject] if isinstance(subject, Dataset) else Dataset.objects.filter(memberships__task=subject)
    found = []
    for line in lines.filter(dataset__in=datasets).select_related("dataset"):
        assert line.dataset is not None
        held = line.dataset.memberships.values("task")
        approved = Task.objects.filter(pk__in=held, state=TaskState.APPROVED)
        now = training_data.train_tasks(approved, private=True).count()
        left = approved.exclude(pk__in=going.values("pk"))
        then = training_data.train_tasks(left, private=True).count()
        found.append(Next(f"training on {line.dataset}", line.slug, None, now, then))
    return found


# Suites


def _retiring(going: QuerySet[Task], space: Team, lines: QuerySet[Line]) -> tuple[Retiring, ...]:
    """Of each line's newest suite of a domain."""
    newest = SuiteVersion.objects.filter(line__in=lines.values("pk"), line__team=space).order_by(
        "line", "name", "-number"
    )
    current = list(newest.distinct("line", "name").select_related("line"))
    held = SuiteItem.objects.filter(suite__in=current, task__in=going.values("pk")).order_by()
    items = dict(held.values_list("suite").annotate(n=Count("pk")))
    under_way = Evaluation.objects.filter(suites__in=items).exclude(state__in=EVALUATION_ENDED).order_by()
    running = dict(under_way.values_list("suites").annotate(n=Count("pk")))
    return tuple(
        Retiring(
            suite=suite.name,
            line=suite.line.slug,
            items=items[suite.pk],
            of=suite.item_count,
            left=_left(suite, going),
            under_way=running.get(suite.pk, 0),
        )
        for suite in current
        if suite.pk in items
    )


def _left(suite: SuiteVersion, going: QuerySet[Task]) -> int:
    sealed = suites.of_name(suite.line, suite.name)
    return sealed.exclude(pk__in=going.values("pk")).values("exact_key").order_by().distinct().count()
