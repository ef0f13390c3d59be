"""Sealed items that a version, or one that it goes on from, was trained on.

The split forbids it in the shared pool; small private sets train on all of their rows, and a file that is brought as a
suite may hold what was trained on long ago. Keys are compared within the line's space. What is near without being equal
is read off what imports and the comparison of held-out suites have found already.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.models import HeldOutItem, Task, TaskFinding
from tasks.states import TaskState
from trainer.models import Evaluation, Line, MixtureEntry, ModelVersion, SuiteItem, TrainingRun
from trainer.services import suites, training_data

CHUNK = 1000  # keys of a question: lists that Postgres looks up by index, whatever it believes of the tables


@dataclass(frozen=True, slots=True)
class Seen:
    """What of an imported suite the versions of a comparison were trained on."""

    items: int  # prompts of the suite, with these
    keys: frozenset[str]  # exact keys to leave out
    versions: Mapping[str, int] = field(default_factory=dict)  # name → prompts that it was trained on

    @property
    def sentences(self) -> list[str]:
        return [
            f"{count:,} of {self.items:,} items stood among the rows that trained {name}, or nearly: left out."
            for name, count in self.versions.items()
        ]


def leaked(evaluation: Evaluation) -> set[str]:
    """Exact keys of the suites' items that stood among the rows of any of the runs that made the candidate."""
    return _exact(evaluation.line, _runs_behind(evaluation.candidate), {key for _, key in _held(evaluation)})


def leaked_by_suite(evaluation: Evaluation) -> dict[str, int]:
    """{suite: how many of its items}, of the suites that hold any."""
    keys = leaked(evaluation)
    return dict(Counter(name for name, key in _held(evaluation) if key in keys)) if keys else {}


def _held(evaluation: Evaluation) -> list[tuple[str, str]]:
    """(suite, exact key) of every item."""
    held = SuiteItem.objects.filter(suite__in=list(evaluation.suites.values_list("pk", flat=True)))
    return list(held.values_list("suite__name", "task__exact_key"))


def imported(line: Line, versions: Iterable[ModelVersion | None]) -> dict[str, Seen]:
    """By name of the line's imported suites: what is left out of them before they are frozen, for these versions."""
    brought = list(line.imported_suites.order_by("name").values_list("name", flat=True))
    if not brought:
        return {}
    runs = {version.name: _runs_behind(version) for version in versions if version is not None}
    tasks = {name: {int(task.key): task.exact_key for task in suites.candidates(line, name)} for name in brought}
    return {name: _seen(line, tasks[name], runs) for name in brought}


def _seen(line: Line, tasks: Mapping[int, str], runs: Mapping[str, Sequence[TrainingRun]]) -> Seen:
    keys = set(tasks.values())
    near = _near(line, tasks)
    found = {name: _exact(line, own, keys) | _through(own, near) for name, own in runs.items()}
    counts = {name: len(own) for name, own in found.items() if own}
    return Seen(len(keys), frozenset().union(*found.values()), counts)


def _exact(line: Line, runs: Sequence[TrainingRun], keys: Collection[str]) -> set[str]:
    """Keys of the tasks with these prompts that the runs trained on, whatever has become of them."""
    found: set[str] = set()
    ordered = sorted(keys) if runs else []
    for at in range(0, len(ordered), CHUNK):
        same = Task.objects.filter(space_id=line.team_id, exact_key__in=ordered[at : at + CHUNK])
        key_of = dict(same.values_list("pk", "exact_key"))
        found.update(key_of[pk] for run in runs for pk in _trained(run, key_of))
    return found


def _near(line: Line, tasks: Mapping[int, str]) -> dict[int, set[str]]:
    """{another task: keys of the items that it nearly is, or that it holds}.

    The one was told when the item came in, the other when the suite was compared with what is stored: the near look-up
    and the index of held-out suites the other way round.
    """
    found: dict[int, set[str]] = {}
    copies = TaskFinding.objects.filter(task__pk__any_of=list(tasks), kind=TaskFinding.Kind.NEAR_DUPLICATE)
    for pk, other in copies.values_list("task_id", "other"):
        if other is not None:
            found.setdefault(other, set()).add(tasks[pk])
    own = set(tasks.values())
    held = HeldOutItem.objects.filter(space=line.team_id, suite__name__startswith=f"{line.slug}/")
    key_of = {pk: key for pk, key in held.values_list("pk", "exact_key") if key in own}
    gone = Task.objects.filter(space=line.team_id, state=TaskState.REJECTED, reason_code="contaminated")
    overlaps = TaskFinding.objects.filter(task__in=gone.values("pk"), kind=TaskFinding.Kind.OVERLAP)
    for pk, evidence in overlaps.values_list("task_id", "evidence"):
        if (key := key_of.get(evidence.get("item"))) is not None:
            found.setdefault(pk, set()).add(key)
    return found


def _through(runs: Sequence[TrainingRun], near: Mapping[int, set[str]]) -> set[str]:
    """Keys of the items whose near ones the runs trained on."""
    ordered = sorted(near)
    found: set[str] = set()
    for at in range(0, len(ordered), CHUNK):
        for run in runs:
            found.update(*(near[pk] for pk in _trained(run, ordered[at : at + CHUNK])))
    return found


def _runs_behind(version: ModelVersion | None) -> list[TrainingRun]:
    runs = []
    while version is not None:
        runs += [version.run] if version.run is not None else []
        version = version.parent
    return runs


def _trained(run: TrainingRun, tasks: Collection[int]) -> set[int]:
    """Which of the tasks the run trained on, those withdrawn since included."""
    if run.mixture_id is not None:
        entries = MixtureEntry.objects.filter(mixture=run.mixture_id, task__in=list(tasks))
        return set(entries.values_list("task_id", flat=True))
    # What was approved when it was frozen, and what is so now: a row that was refused since has been trained on.
    own = (training_data.trained_on(run), training_data.frozen(run))
    return {pk for rows in own for pk in rows.filter(pk__in=list(tasks)).values_list("pk", flat=True)}
