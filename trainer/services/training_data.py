"""Which rows a run trains on, validates on and probes with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db.models import Exists, OuterRef

from tasks.models import DatasetTask, DatasetVersion, Task
from tasks.services import datasets
from tasks.states import Split, TaskState
from trainer.models import Mixture, TrainingRun
from trainer.runspec import RunSpec
from trainer.services import rows
from trainer.states import LinePurpose

FEW = 100  # below this a private set is too small to split: every row trains
_TRAIN, _VALIDATION = DatasetTask.MembershipRole.TRAIN, DatasetTask.MembershipRole.VALIDATION


def version_tasks(version: DatasetVersion | None) -> Any:
    """Approved tasks of a frozen version; one that was withdrawn since is left out."""
    return _entries(version).filter(state=TaskState.APPROVED)


def whole(version: DatasetVersion | None) -> Any:
    """Every task of a frozen version, approved or not; one that was withdrawn since, or that a held-out suite has
    caught, is left out."""
    return datasets.left(_entries(version))


def _entries(version: DatasetVersion | None) -> Any:
    return Task.objects.filter(pk__in=version.entries.values("task")) if version else Task.objects.none()


def train_tasks(tasks: Any, *, private: bool) -> Any:
    """The training split. In a private set the memberships may say otherwise, and all rows of a small one train."""
    if not private:
        return tasks.filter(split=Split.TRAIN)
    named = tasks.filter(memberships__role__in=[_TRAIN, _VALIDATION])
    if named.exists():
        return tasks.filter(memberships__role=_TRAIN).distinct()
    return tasks if tasks.count() < FEW else tasks.filter(split=Split.TRAIN)


def validation_tasks(tasks: Any) -> Any:
    named = tasks.filter(memberships__role__in=[_TRAIN, _VALIDATION])
    if named.exists():
        return tasks.filter(memberships__role=_VALIDATION).distinct()
    return tasks.none() if tasks.count() < FEW else tasks.filter(split=Split.VALIDATION)


def validation_rows(mixture: Mixture | None, version: DatasetVersion | None) -> int:
    """How many tasks may validate a run on this mixture, or on this dataset version."""
    if mixture is None:
        return int(validation_tasks(version_tasks(version)).count())
    return int(_mixed_validation(mixture).count())


def trained_on(run: TrainingRun) -> Any:
    """The tasks that the run trains on, as a question to the database; withdrawn ones are left out."""
    if run.mixture is not None:
        return Task.objects.filter(pk__in=run.mixture.entries.values("task"), state=TaskState.APPROVED)
    if run.is_whole:
        return whole(run.dataset_version)
    private = run.line.purpose == LinePurpose.EXPERT
    return train_tasks(version_tasks(run.dataset_version), private=private)


def frozen(run: TrainingRun) -> Any:
    """The rows that were frozen for the run to train on, whatever has become of them since."""
    if run.mixture is not None:
        return Task.objects.filter(pk__in=run.mixture.entries.values("task"))
    entries = _entries(run.dataset_version)
    return entries if run.is_whole else train_tasks(entries, private=run.line.purpose == LinePurpose.EXPERT)


def write(run: TrainingRun, spec: RunSpec, directory: Path) -> None:
    """train.jsonl in training order, validation.jsonl and probe.jsonl: a fixed choice, the same at every attempt."""
    validation = _validation_pks(run, spec.validation_prompts)
    probe = _validation_pks(run, spec.probe_prompts) or list(_train_order(run, spec))[: spec.probe_prompts]
    files = {"train": _train_order(run, spec), "validation": validation, "probe": probe}
    for name, pks in files.items():
        rows.write_lines(directory / f"{name}.jsonl", map(rows.prompt_item, rows.in_order(pks)))


def _train_order(run: TrainingRun, spec: RunSpec) -> Iterator[int]:
    """The mixture's frozen order without tasks withdrawn since; a dataset's tasks by a hash of their content."""
    if run.mixture is not None:
        entries = run.mixture.entries.filter(task__state=TaskState.APPROVED).order_by("position")
        return entries.values_list("task_id", flat=True).iterator(chunk_size=10_000)
    held_out = DatasetTask.objects.filter(dataset__held_out=True, task=OuterRef("pk"))
    chosen = trained_on(run).filter(~Exists(held_out)).order_by("content_digest")  # a small set trains on all else
    return chosen.values_list("pk", flat=True).iterator(chunk_size=10_000)


def _validation_pks(run: TrainingRun, most: int) -> list[int]:
    """By content hash: an unbiased choice that does not depend on the order of arrival."""
    if run.mixture is not None:
        domains = list(run.mixture.by_domain)
        tasks = _mixed_validation(run.mixture)
        each = -(-most // max(len(domains), 1))
        named = {domain: [domain, ""] if domain == rows.GENERAL else [domain] for domain in sorted(domains)}
        by_domain = [tasks.filter(domain__in=names).order_by("content_digest")[:each] for names in named.values()]
        return [pk for chosen in by_domain for pk in chosen.values_list("pk", flat=True)]
    tasks = whole(run.validation_version) if run.is_whole else validation_tasks(version_tasks(run.dataset_version))
    return list(tasks.order_by("content_digest").values_list("pk", flat=True)[:most])


def _mixed_validation(mixture: Mixture) -> Any:
    """The validation split of the datasets that the mixture was made of."""
    members = DatasetTask.objects.filter(dataset__versions__in=mixture.dataset_versions.all()).values("task")
    return Task.objects.filter(pk__in=members, state=TaskState.APPROVED, split=Split.VALIDATION)
