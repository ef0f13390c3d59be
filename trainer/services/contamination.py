"""Sealed items that a candidate, or a version that it goes on from, was trained on.

The split forbids it in the shared pool; small private sets train on all of their rows. Keys are compared within the
line's space.
"""

from collections.abc import Collection

from tasks.models import Task
from trainer.models import Evaluation, MixtureEntry, ModelVersion, SuiteItem, TrainingRun
from trainer.services import training_data

CHUNK = 1000  # keys of a question: lists that Postgres looks up by index, whatever it believes of the tables


def leaked(evaluation: Evaluation) -> set[str]:
    """Exact keys of the suites' items that stood among the rows of any of the runs that made the candidate."""
    suites = list(evaluation.suites.values_list("pk", flat=True))
    keys = sorted(set(SuiteItem.objects.filter(suite__in=suites).values_list("task__exact_key", flat=True)))
    runs = _runs_behind(evaluation.candidate)
    found: set[str] = set()
    for at in range(0, len(keys), CHUNK):
        same = Task.objects.filter(space_id=evaluation.line.team_id, exact_key__in=keys[at : at + CHUNK])
        key_of = dict(same.values_list("pk", "exact_key"))
        for run in runs:
            found.update(key_of[pk] for pk in _trained(run, key_of))
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
    return set(training_data.trained_on(run).filter(pk__in=list(tasks)).values_list("pk", flat=True))
