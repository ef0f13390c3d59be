"""Everything that an import decided about its rows, without ids and moments: equal after a kill and a retry, and equal
in two spaces that saw the same files."""

from collections.abc import Mapping
from typing import Any

from tasks.models import Dataset, DatasetTask, RowIssue, TaskFinding, Upload, Wrapper
from tasks.services import datasets

_IDS = frozenset({"task", "other", "oldest", "family", "upload", "dataset"})


def outcome(dataset: Dataset) -> dict[str, Any]:
    """By the lines of its files. A task of another dataset is named by its content."""
    names = _names(dataset)
    return {
        "digest": datasets.digest(dataset),
        "counts": list(
            Upload.objects.filter(dataset=dataset).order_by("sha256").values_list("state", "line", "counts")
        ),
        "rows": sorted(_row(row, names) for row in _rows(dataset)),
        "findings": sorted(_findings(dataset, names), key=repr),
        "issues": sorted(_issues(dataset, names), key=repr),
        "wrappers": sorted(_wrappers(dataset), key=repr),
    }


def _rows(dataset: Dataset) -> Any:
    return DatasetTask.objects.filter(dataset=dataset).select_related("task", "upload").order_by("upload", "line")


def _names(dataset: Dataset) -> dict[int, str]:
    """Task → the content of a row of a task in the dataset's space."""
    rows = DatasetTask.objects.filter(dataset__space=dataset.space)
    return {pk: str(digest) for pk, digest in rows.values_list("task_id", "task__content_digest")}


def _row(row: DatasetTask, names: Mapping[int, str]) -> tuple[Any, ...]:
    task = row.task
    return (
        row.upload.sha256, row.line, row.duplicate, row.role, task.state, task.reason_code, task.content_digest,
        task.split, task.domain, names.get(task.family or 0, ""), task.stripped_key or "",
    )  # fmt: skip


def _findings(dataset: Dataset, names: Mapping[int, str]) -> list[tuple[Any, ...]]:
    found = TaskFinding.objects.filter(task__in=dataset.memberships.values("task"))
    return [
        (
            names[one.task_id],
            one.kind,
            one.rule,
            names.get(one.other or 0, ""),
            one.similarity,
            _named(one.evidence, names),
        )
        for one in found
    ]


def _issues(dataset: Dataset, names: Mapping[int, str]) -> list[tuple[Any, ...]]:
    found = RowIssue.objects.filter(upload__dataset=dataset).select_related("upload")
    return [
        (one.upload.sha256, one.line, one.field, one.code, one.sentence, one.value, _named(one.evidence, names))
        for one in found
    ]  # fmt: skip


def _wrappers(dataset: Dataset) -> list[tuple[Any, ...]]:
    """That its files have proposed, with how many rows each."""
    proposed = Wrapper.objects.filter(space=dataset.space, upload__dataset=dataset)
    return list(proposed.values_list("upload__sha256", "text", "state", "rows", "example"))


def _named(value: Any, names: Mapping[int, str]) -> Any:
    """Evidence with contents where it names tasks by their ids."""
    if isinstance(value, list):
        return [_named(each, names) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: names.get(each, "elsewhere") if key in _IDS and isinstance(each, int) else _named(each, names)
        for key, each in sorted(value.items())
    }
