"""What became of data: the mixtures, runs and versions that saw it, who of them is or was champion, and what was
trained from those.

Counts are of frozen lists. Rows that were withdrawn before a run began were left out by it, and are taken off. A reader
is told of the lines that `lines` names; other teams' private lines are neither named nor counted.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Count, F, QuerySet

from tasks.models import Dataset, DatasetVersion, DatasetVersionTask, Task, Team
from trainer.models import (
    Alias,
    AliasMove,
    Line,
    Mixture,
    MixtureEntry,
    MixtureSource,
    ModelVersion,
    TrainingRun,
)
from trainer.services import training_data
from trainer.states import RUN_ENDED

MOST_RUNS = 500  # the newest
_DESCENDANTS = """
WITH RECURSIVE family AS (
    SELECT id, id AS root FROM trainer_modelversion WHERE id = ANY(%s)
     UNION
    SELECT child.id, family.root FROM trainer_modelversion child JOIN family ON child.parent_id = family.id)
SELECT id, min(root) FROM family WHERE NOT id = ANY(%s) GROUP BY id ORDER BY id DESC LIMIT 500
"""


@dataclass(frozen=True, slots=True)
class Use:
    """A run that had the rows among those it was given to train on, and the version that came of it."""

    run: int
    state: str
    started_at: datetime | None
    version: str  # line/vN; "": none yet, or none any more
    version_id: int | None
    line: str
    number: int | None
    mixture: int | None  # None: trained on one dataset version
    recipe: str
    rows: int
    of: int  # rows that the run was given
    aliases: tuple[str, ...]  # of the version, now
    was: tuple[str, ...]  # that it had before

    @property
    def share(self) -> float:
        return self.rows / self.of if self.of else 0.0

    @property
    def is_going_on(self) -> bool:
        return self.state not in RUN_ENDED

    @property
    def has_read(self) -> bool:
        """A run that has not begun leaves out what is withdrawn before it does; one that has, keeps its files."""
        return self.started_at is not None


@dataclass(frozen=True, slots=True)
class Mixed:
    """A mixture that holds the rows, trained on or not."""

    mixture: int
    digest: str
    recipe_id: int
    recipe: str
    line: str
    built_at: datetime
    rows: int
    of: int
    runs: int

    @property
    def share(self) -> float:
        return self.rows / self.of if self.of else 0.0


@dataclass(frozen=True, slots=True)
class Descendant:
    """A version that was not trained on the rows, but from one that was."""

    version: str
    version_id: int
    line: str
    number: int
    through: str  # "": a version that the reader may not see
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UsedIn:
    uses: tuple[Use, ...]
    mixtures: tuple[Mixed, ...]
    descendants: tuple[Descendant, ...]

    @property
    def versions(self) -> tuple[Use, ...]:
        return tuple(use for use in self.uses if use.version)

    @property
    def going_on(self) -> tuple[Use, ...]:
        return tuple(use for use in self.uses if use.is_going_on)

    @property
    def in_service(self) -> tuple[Use, ...]:
        """Versions with a name that people ask for."""
        return tuple(use for use in self.versions if use.aliases)

    @property
    def largest(self) -> Use | None:
        """The version with most of its rows from here."""
        return max(self.versions, key=lambda use: (use.share, use.version_id or 0), default=None)


def of_dataset(dataset: Dataset, lines: QuerySet[Line]) -> UsedIn:
    versions = DatasetVersion.objects.filter(dataset=dataset)
    return _used(_sources(versions), _runs_on(versions), lines, Task.objects.filter(memberships__dataset=dataset))


def of_dataset_version(version: DatasetVersion, lines: QuerySet[Line]) -> UsedIn:
    versions = DatasetVersion.objects.filter(pk=version.pk)
    tasks = Task.objects.filter(pk__in=version.entries.values("task"))
    return _used(_sources(versions), _runs_on(versions), lines, tasks)


def of_contributor(team: Team, lines: QuerySet[Line]) -> UsedIn:
    """As the mixtures credit it: a task of two teams is the one's that brought it first."""
    counted = Mixture.objects.filter(by_contributor__has_key=team.slug).values_list("pk", "by_contributor")
    by_mixture = {pk: given[team.slug]["used"] for pk, given in counted if given[team.slug]["used"]}
    tasks = Task.objects.filter(memberships__dataset__team=team)
    return _used(by_mixture, _runs_on(DatasetVersion.objects.filter(dataset__team=team)), lines, tasks)


def of_task(task: Task, lines: QuerySet[Line]) -> UsedIn:
    return of_tasks(Task.objects.filter(pk=task.pk), lines)


def of_tasks(tasks: QuerySet[Task], lines: QuerySet[Line]) -> UsedIn:
    """Of exactly these tasks: entries are read, which takes seconds where there are millions."""
    entries = MixtureEntry.objects.filter(task__in=tasks.values("pk")).order_by()
    by_mixture = dict(entries.values_list("mixture").annotate(n=Count("pk")))
    held = DatasetVersionTask.objects.filter(task__in=tasks.values("pk")).values("version")
    runs = _given(DatasetVersion.objects.filter(pk__in=held), tasks)
    by_run = {pk: counts for pk, counts in runs.items() if counts[0]}
    return _used(by_mixture, by_run, lines, tasks)


def _sources(versions: QuerySet[DatasetVersion]) -> dict[int, int]:
    """Mixture → rows; a mixture has one version of a dataset."""
    found = MixtureSource.objects.filter(dataset_version__in=versions, rows__gt=0)
    return dict(found.values_list("mixture", "rows"))


def _runs_on(versions: QuerySet[DatasetVersion]) -> dict[int, tuple[int, int]]:
    """Runs on one dataset version alone: all that they were given is from there."""
    return _given(versions, None)


def _given(versions: QuerySet[DatasetVersion], tasks: QuerySet[Task] | None) -> dict[int, tuple[int, int]]:
    """Run on a dataset version → (rows of these tasks, or all; rows that it was given). Runs on the same version of
    lines of one purpose were given the same."""
    runs = TrainingRun.objects.filter(dataset_version__in=versions).select_related("line", "dataset_version")
    known: dict[tuple[int | None, str], tuple[int, int]] = {}
    found = {}
    for run in runs.order_by("-pk")[:MOST_RUNS]:
        key = (run.dataset_version_id, run.line.purpose)
        if key not in known:
            given = training_data.frozen(run)
            of = given.count()
            known[key] = (of if tasks is None else given.filter(pk__in=tasks.values("pk")).count(), of)
        found[run.pk] = known[key]
    return found


def _used(
    by_mixture: Mapping[int, int],
    by_run: Mapping[int, tuple[int, int]],
    lines: QuerySet[Line],
    tasks: QuerySet[Task],
) -> UsedIn:
    mixtures = {
        mixture.pk: mixture
        for mixture in Mixture.objects.filter(pk__in=by_mixture, recipe__line__in=lines.values("pk"))
        .select_related("recipe__line")
        .order_by("-pk")
    }
    runs = _runs(mixtures, by_run, lines)
    gone = _gone_before(runs, tasks)
    given = {
        run.pk: (by_mixture[run.mixture_id], mixtures[run.mixture_id].size) if run.mixture_id else by_run[run.pk]
        for run in runs
    }
    uses = [_use(run, given[run.pk], gone.get(run.pk, 0), mixtures) for run in runs]
    uses = _with_aliases([use for use in uses if use.rows > 0])
    counts: dict[int, int] = defaultdict(int)
    for run in runs:
        counts[run.mixture_id or 0] += 1
    mixed = tuple(_mixed(mixture, by_mixture[pk], counts[pk]) for pk, mixture in mixtures.items())
    return UsedIn(tuple(uses), mixed, _descendants([use for use in uses if use.version_id], lines))


def _runs(mixtures: Collection[int], by_run: Collection[int], lines: QuerySet[Line]) -> list[TrainingRun]:
    found = TrainingRun.objects.filter(line__in=lines.values("pk")).select_related("line", "version")
    wanted = found.filter(mixture__in=list(mixtures)) | found.filter(pk__in=list(by_run))
    return list(wanted.order_by("-pk")[:MOST_RUNS])


def _gone_before(runs: Iterable[TrainingRun], tasks: QuerySet[Task]) -> dict[int, int]:
    """Run → rows of the mixture that had been withdrawn when it began: it left them out."""
    within = TrainingRun.objects.filter(
        pk__in=[run.pk for run in runs if run.mixture_id and run.started_at],
        mixture__entries__task__withdrawals__kept=False,
        mixture__entries__task__withdrawals__receipt__begun_at__lt=F("started_at"),
        mixture__entries__task__in=tasks.values("pk"),
    )
    return dict(within.order_by().values_list("pk").annotate(n=Count("mixture__entries__task", distinct=True)))


def _use(run: TrainingRun, given: tuple[int, int], gone: int, mixtures: Mapping[int, Mixture]) -> Use:
    rows, of = given
    version = getattr(run, "version", None)
    return Use(
        run=run.pk,
        state=run.state,
        started_at=run.started_at,
        version=f"{run.line.slug}/v{version.number}" if version else "",
        version_id=version.pk if version else None,
        line=run.line.slug,
        number=version.number if version else None,
        mixture=run.mixture_id,
        recipe=mixtures[run.mixture_id].recipe.name if run.mixture_id else "",
        rows=rows - gone,
        of=of - gone,
        aliases=(),
        was=(),
    )


def _with_aliases(uses: list[Use]) -> list[Use]:
    pks = [use.version_id for use in uses if use.version_id]
    now, moves = _names(Alias.objects.filter(version__in=pks), "version"), AliasMove.objects.filter(new__in=pks)
    before = _names(moves, "new")
    return [
        replace(
            use,
            aliases=tuple(sorted(now.get(use.version_id, ()))),
            was=tuple(sorted(before.get(use.version_id, set()) - now.get(use.version_id, set()))),
        )
        for use in uses
    ]


def _names(rows: QuerySet[Any], field: str) -> dict[int | None, set[str]]:
    found: dict[int | None, set[str]] = defaultdict(set)
    for version, name in rows.values_list(field, "name"):
        found[version].add(name)
    return found


def _mixed(mixture: Mixture, rows: int, runs: int) -> Mixed:
    return Mixed(
        mixture=mixture.pk,
        digest=mixture.digest,
        recipe_id=mixture.recipe_id,
        recipe=mixture.recipe.name,
        line=mixture.recipe.line.slug,
        built_at=mixture.created_at,
        rows=rows,
        of=mixture.size,
        runs=runs,
    )


def _descendants(uses: Iterable[Use], lines: QuerySet[Line]) -> tuple[Descendant, ...]:
    names = {use.version_id: use.version for use in uses}
    with connection.cursor() as cursor:
        cursor.execute(_DESCENDANTS, [list(names), list(names)])
        through: dict[int, int] = dict(cursor.fetchall())
    rows = ModelVersion.objects.filter(pk__in=through, line__in=lines.values("pk"))
    found = rows.select_related("line").prefetch_related("aliases").order_by("-pk")
    return tuple(
        Descendant(
            version=version.name,
            version_id=version.pk,
            line=version.line.slug,
            number=version.number,
            through=names.get(through[version.pk], ""),
            aliases=tuple(sorted(alias.name for alias in version.aliases.all())),
        )
        for version in found
    )
