"""Where a version comes from: its parents down to the base, and behind each what it was trained on.

Told per reader: lines and datasets that the reader may not see have no name here, and what a private version of another
team was trained on is not told at all. Counts were kept when the mixtures were built; no entry is read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, QuerySet

from tasks.models import Dataset, DatasetVersion, Team, WithdrawnTask
from trainer.models import Line, Mixture, MixtureEntry, ModelVersion, TrainingRun
from trainer.services import training_data
from trainer.services.model_cards import lineage

MOST_STEPS = 100  # of a chain, newest first


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset version that rows were taken of."""

    id: int
    dataset: str  # team/slug; "": the reader may not see it
    team: str
    number: int
    digest: str
    licence: str
    rows: int
    share: float  # of what the run was given to train on


@dataclass(frozen=True, slots=True)
class Credit:
    team: str
    rows: int
    share: float


@dataclass(frozen=True, slots=True)
class Training:
    """What a version was trained on. `mixture` None: on one dataset version."""

    run: int
    steps: int
    ended_at: datetime | None
    mixture: int | None
    digest: str  # of the mixture, or of the dataset version
    recipe: int | None
    recipe_name: str
    seed: int | None
    rows: int
    withdrawn: int  # of the rows, since
    sources: tuple[Source, ...]
    credits: tuple[Credit, ...]
    graders: Mapping[str, int]  # type → rows


@dataclass(frozen=True, slots=True)
class Step:
    """A version of the chain. `name` is "" where the reader may not see its line: then nothing more is told."""

    name: str
    line: str
    number: int
    digest: str
    origin: str
    created_at: datetime
    aliases: tuple[str, ...]
    training: Training | None


def of_version(version: ModelVersion, *, user: Any, team: Team | None = None) -> tuple[Step, ...]:
    """The version and what it came from, newest first, as the reader may know it."""
    return _steps(lineage(version)[::-1][:MOST_STEPS], user, team)


def step_of(version: ModelVersion, *, user: Any, team: Team | None = None) -> Step:
    """The version alone, without what it came from."""
    return _steps([version], user, team)[0]


def _steps(chain: list[ModelVersion], user: Any, team: Team | None) -> tuple[Step, ...]:
    lines = set(Line.objects.for_user(user, team).values_list("pk", flat=True))
    seen = [each for each in chain if each.line_id in lines]
    told = _told([each.run for each in seen if each.run is not None], Dataset.objects.for_user(user, team))
    return tuple(_step(each, told) if each.line_id in lines else _hidden(each) for each in chain)


def _hidden(version: ModelVersion) -> Step:
    return Step("", "", version.number, version.digest, "", version.created_at, (), None)


def _step(version: ModelVersion, told: Mapping[int, Training]) -> Step:
    return Step(
        name=version.name,
        line=version.line.slug,
        number=version.number,
        digest=version.digest,
        origin=version.origin,
        created_at=version.created_at,
        aliases=tuple(sorted(alias.name for alias in version.aliases.all())),
        training=told.get(version.run_id) if version.run_id else None,
    )


def _told(runs: list[TrainingRun], visible: QuerySet[Dataset]) -> dict[int, Training]:
    """By run, with a few questions for all of them."""
    mixtures = [run.mixture_id for run in runs if run.mixture_id]
    behind = _behind(runs)
    datasets = {source.dataset_id for sources in behind.values() for source, _ in sources}
    names = set(visible.filter(pk__in=datasets).values_list("pk", flat=True))
    withdrawn = _withdrawn(mixtures)
    return {run.pk: _training(run, behind[run.pk], names, withdrawn) for run in runs}


def _behind(runs: Iterable[TrainingRun]) -> dict[int, list[tuple[DatasetVersion, int]]]:
    """Run → its dataset versions with the rows that it took of each, most first."""
    found: dict[int, list[tuple[DatasetVersion, int]]] = {}
    for run in runs:
        if run.mixture is not None:
            sources = run.mixture.sources.filter(rows__gt=0).select_related("dataset_version__dataset__team")
            found[run.pk] = [(source.dataset_version, source.rows) for source in sources.order_by("-rows", "pk")]
        elif run.dataset_version is not None:
            found[run.pk] = [(run.dataset_version, training_data.frozen(run).count())]
    return found


def _withdrawn(mixtures: list[int]) -> dict[int, int]:
    """Mixture → tasks of it that have been withdrawn since."""
    gone = WithdrawnTask.objects.filter(kept=False).values("task")
    entries = MixtureEntry.objects.filter(mixture__in=mixtures, task__in=gone).order_by()
    return dict(entries.values_list("mixture").annotate(n=Count("pk")))


def _training(
    run: TrainingRun, behind: list[tuple[DatasetVersion, int]], names: set[int], withdrawn: Mapping[int, int]
) -> Training:
    mixture = run.mixture
    rows = mixture.size if mixture is not None else behind[0][1]
    digest = mixture.digest if mixture is not None else behind[0][0].digest
    return Training(
        run=run.pk,
        steps=run.step,
        ended_at=run.finished_at,
        mixture=mixture.pk if mixture is not None else None,
        digest=digest,
        recipe=mixture.recipe_id if mixture is not None else None,
        recipe_name=mixture.recipe.name if mixture is not None else "",
        seed=mixture.seed if mixture is not None else None,
        rows=rows,
        withdrawn=withdrawn.get(mixture.pk, 0) if mixture is not None else _gone(run),
        sources=tuple(_source(version, taken, rows, names) for version, taken in behind),
        credits=credits_of(mixture) if mixture is not None else (Credit(behind[0][0].dataset.team.name, rows, 1.0),),
        graders=_graders(run),
    )


def _gone(run: TrainingRun) -> int:
    gone = WithdrawnTask.objects.filter(kept=False).values("task")
    return int(training_data.frozen(run).filter(pk__in=gone).count())


def _source(version: DatasetVersion, taken: int, rows: int, names: set[int]) -> Source:
    dataset = version.dataset
    return Source(
        id=version.pk,
        dataset=str(dataset) if dataset.pk in names else "",
        team=dataset.team.name,
        number=version.number,
        digest=version.digest,
        licence=dataset.licence,
        rows=taken,
        share=taken / rows if rows else 0.0,
    )


def credits_of(mixture: Mixture) -> tuple[Credit, ...]:
    """Teams as the mixture counted them: a task of two teams is credited to the one that brought it first."""
    given = {slug: count for slug, count in mixture.by_contributor.items() if count["used"]}
    names = dict(Team.objects.filter(slug__in=given).values_list("slug", "name"))
    ordered = sorted(given.items(), key=lambda item: (-item[1]["used"], item[0]))
    return tuple(Credit(names.get(slug, slug), count["used"], count["share"]) for slug, count in ordered)


def _graders(run: TrainingRun) -> Mapping[str, int]:
    if run.grader is not None:
        return {str(run.grader.get("type", "")): run.mixture.size if run.mixture else training_data.frozen(run).count()}
    if run.mixture is not None:
        return dict(sorted(run.mixture.by_grader.items(), key=lambda item: (-item[1], item[0])))
    counts = training_data.frozen(run).order_by().values_list("grader__type").annotate(n=Count("pk", distinct=True))
    return dict(counts.order_by("-n"))
