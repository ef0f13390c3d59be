"""From frozen dataset versions to a mixture: preview without a trace, build with one event."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, QuerySet

from tasks.errors import Conflict, Invalid
from tasks.models import Dataset, DatasetVersion, DatasetVersionTask, Task, Team
from tasks.models.events import Subject, record
from tasks.services import datasets, heldout, pool, sealing
from tasks.services.access import require_role
from tasks.states import Role, Split, TaskState
from trainer import mixing
from trainer.mixing import MixturePlan
from trainer.models import Line, Mixture, MixtureEntry, MixtureSource, Recipe
from trainer.presets import PRESETS, resolve
from trainer.services import difficulty, rows


def _parse(body: dict[str, Any], preset: str, overrides: dict[str, Any]) -> mixing.Recipe:
    """Raises Invalid with the name of the first knob that is wrong, of the recipe or of its runs."""
    if preset not in PRESETS:
        raise Invalid("unknown_preset", f"A preset is one of {', '.join(PRESETS)}.", "preset")
    resolve(preset, rows=1000, parameters=1_000_000, overrides=overrides)
    try:
        recipe = msgspec.convert(body, mixing.Recipe)
    except msgspec.ValidationError as error:
        raise Invalid("bad_recipe", f"The recipe is not valid: {error}.", "body") from error
    mixing.check(recipe)
    return recipe


@transaction.atomic
def create(
    line: Line,
    name: str,
    body: dict[str, Any],
    *,
    actor: Any,
    preset: str = "flywheel",
    overrides: dict[str, Any] | None = None,
) -> Recipe:
    require_role(actor, line.team, Role.OPERATOR)
    parsed = _parse(body, preset, overrides or {})
    if Recipe.objects.filter(line=line, name=name).exists():
        raise Conflict("recipe_exists", f"{line.slug} has a recipe {name} already: change that one, or rename.", "name")
    recipe = Recipe.objects.create(
        line=line,
        name=name,
        body=msgspec.to_builtins(parsed),
        preset=preset,
        overrides=overrides or {},
        created_by=actor,
    )
    record(
        "recipe.created", subject=Subject("recipe", str(recipe.pk)), team=line.team_id, actor=actor, data=recipe.body
    )
    return recipe


@transaction.atomic
def update(
    recipe: Recipe,
    body: dict[str, Any],
    *,
    actor: Any,
    preset: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> Recipe:
    """Change what the next mixture looks like; mixtures that were built keep the recipe as it was."""
    require_role(actor, recipe.line.team, Role.OPERATOR)
    old = recipe.body
    recipe.preset = preset or recipe.preset
    recipe.overrides = recipe.overrides if overrides is None else overrides
    recipe.body = msgspec.to_builtins(_parse(body, recipe.preset, recipe.overrides))
    recipe.save(update_fields=["body", "preset", "overrides"])
    record(
        "recipe.changed",
        subject=Subject("recipe", str(recipe.pk)),
        team=recipe.line.team_id,
        actor=actor,
        data={"old": old, "new": recipe.body},
    )
    return recipe


def preview(recipe: Recipe, *, seed: int | None = None, without: QuerySet[Task] | None = None) -> MixturePlan:
    """The mixture that would be built of what is approved now, or of that `without` some. No row is written."""
    approved = [
        (dataset, f"unfrozen:{dataset.pk}", datasets.approved(dataset)) for dataset in _sources(recipe.line.team)
    ]
    rates = _rates(recipe)
    rows = (
        _candidate(row, dataset, digest, rates)
        for dataset, digest, tasks in approved
        for row in _columns(_left(tasks.filter(split=Split.TRAIN), without))
    )
    return mixing.mix(rows, _seeded(recipe, seed))


def _left(tasks: QuerySet[Task], without: QuerySet[Task] | None) -> QuerySet[Task]:
    return tasks if without is None else tasks.exclude(pk__in=without.values("pk"))


def offered(space: Team, *, without: QuerySet[Task] | None = None) -> int:
    """How many tasks a mixture of this space could be made of now, before any recipe: counted, not mixed."""
    return _left(pool.approved_tasks(space, Split.TRAIN), without).order_by().count()


@transaction.atomic
def build(recipe: Recipe, *, seed: int | None = None, actor: Any) -> Mixture:
    """Freeze a version of every dataset that has approved tasks, mix, and keep the ordered list."""
    require_role(actor, recipe.line.team, Role.OPERATOR)
    heldout.require_scanned(recipe.line.team_id)
    sealing.lock_splits(recipe.line.team_id)
    versions = [datasets.freeze(dataset, actor=None) for dataset in _sources(recipe.line.team)]
    plan = mixing.mix(_candidates(versions, _rates(recipe)), _seeded(recipe, seed))
    mixture, new = Mixture.objects.get_or_create(
        recipe=recipe,
        digest=plan.digest,
        defaults={
            "body": msgspec.to_builtins(plan.recipe),
            "seed": plan.recipe.seed,
            "size": plan.size,
            "by_domain": {count.name: msgspec.to_builtins(count) for count in plan.domains},
            "by_contributor": {count.name: msgspec.to_builtins(count) for count in plan.contributors},
            "by_difficulty": _by_difficulty(recipe, plan),
            "notes": plan.sentences,
        },
    )
    if new:
        mixture.dataset_versions.set(versions)
        MixtureEntry.objects.bulk_create(
            (MixtureEntry(mixture=mixture, position=i, task_id=int(task)) for i, task in enumerate(plan.tasks)),
            batch_size=5000,
        )
        _count(mixture, versions)
        record(
            "mixture.built",
            subject=Subject("mixture", str(mixture.pk)),
            team=recipe.line.team_id,
            actor=actor,
            data={"digest": plan.digest, "size": plan.size},
        )
    return mixture


def _count(mixture: Mixture, versions: list[DatasetVersion]) -> None:
    """What of the frozen list is of which dataset version and of which grader: said once, read by every lineage."""
    taken = DatasetVersionTask.objects.filter(version__in=versions, task__in=mixture.entries.values("task"))
    counts = taken.order_by().values_list("version").annotate(n=Count("pk"))
    MixtureSource.objects.bulk_create(
        MixtureSource(mixture=mixture, dataset_version_id=pk, rows=n) for pk, n in counts.order_by("version")
    )
    graders = mixture.entries.order_by().values_list("task__grader__type").annotate(n=Count("pk"))
    mixture.by_grader = dict(graders.order_by("-n", "task__grader__type"))
    mixture.save(update_fields=["by_grader"])


def digest(mixture: Mixture) -> str:
    """As the mixture's digest was made, from the rows of now: what is withdrawn keeps its place and content digest."""
    names = mixture.entries.order_by("position").values_list("task_id", "task__content_digest")
    trained = DatasetVersionTask.objects.filter(version=OuterRef("pk"), task__split=Split.TRAIN)
    offered = mixture.dataset_versions.filter(Exists(trained)).values_list("digest", flat=True)
    order = [content[:32] or str(pk) for pk, content in names.iterator(chunk_size=10_000)]
    return mixing.digest_of(msgspec.convert(mixture.body, mixing.Recipe), sorted(set(offered)), order)


def _rates(recipe: Recipe) -> Mapping[str, float]:
    """The champion's pass rates, where the recipe asks for them."""
    return difficulty.rates_of(recipe) if recipe.body.get("difficulty") else {}


def _by_difficulty(recipe: Recipe, plan: MixturePlan) -> dict[str, Any] | None:
    if plan.recipe.difficulty is None:
        return None
    measure = difficulty.measure_of(recipe)
    model = measure.version.name if measure else ""
    return {"model": model, "solved": plan.solved, "too_hard": plan.too_hard, "unknown": plan.unknown}


def _seeded(recipe: Recipe, seed: int | None) -> mixing.Recipe:
    body = msgspec.convert(recipe.body, mixing.Recipe)
    return body if seed is None else msgspec.structs.replace(body, seed=seed)


def _sources(space: Team) -> Iterable[Dataset]:
    """Datasets of the line's space with approved tasks: contributed ones for the pool, its own for a team."""
    return (
        Dataset.objects.filter(space=space, held_out=False, memberships__task__state=TaskState.APPROVED)
        .select_related("team", "space")
        .distinct()
        .order_by("pk")
    )


_FIELDS = ("pk", "domain", "exact_key", "family", "content_digest")


def _columns(tasks: Any) -> Iterator[tuple[Any, ...]]:
    """Never the payload: a mixture of a million tasks needs their ids and digests only."""
    return tasks.values_list(*_FIELDS).iterator(chunk_size=10_000)


def _candidates(versions: list[DatasetVersion], rates: Mapping[str, float]) -> Iterator[mixing.Candidate]:
    for version in versions:
        entries = DatasetVersionTask.objects.filter(
            version=version, task__split=Split.TRAIN, task__state=TaskState.APPROVED
        ).values_list(*(F(f"task__{name}") for name in _FIELDS))
        for row in entries.iterator(chunk_size=10_000):
            yield _candidate(row, version.dataset, version.digest, rates)


def _candidate(row: tuple[Any, ...], dataset: Dataset, digest: str, rates: Mapping[str, float]) -> mixing.Candidate:
    pk, domain, exact_key, family, content = row
    return mixing.Candidate(
        task=str(pk),
        domain=domain or dataset.domain or rows.GENERAL,
        contributor=dataset.team.slug,
        exact_key=exact_key,
        dataset=digest,
        family=str(family) if family else "",
        arrived=pk,
        content=content[:32],
        pass_rate=rates.get(content),
    )
