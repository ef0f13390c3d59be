"""What the checks found about an upload's rows, as lists: every finding with its rule and its evidence."""

from collections.abc import Sequence
from typing import Any

from django.db.models import OuterRef, Subquery

from tasks.models import DatasetTask, Task, TaskFinding, Upload

PAGE = 50
DUPLICATE = "duplicate"
_LABELS = {DUPLICATE: "Was there already", **dict(TaskFinding.Kind.choices)}
_TO_A_TASK = {TaskFinding.Kind.NEAR_DUPLICATE, TaskFinding.Kind.SUSPECT}
_SHOWN = 600


def kinds(upload: Upload) -> list[tuple[str, str, int]]:
    """(kind, what it means, rows), of those that were found."""
    counts = {DUPLICATE: upload.counts.get("duplicates", 0), **upload.counts.get("found", {})}
    return [(kind, _LABELS.get(kind, kind.replace("_", " ")), count) for kind, count in counts.items() if count]


def findings(upload: Upload, kind: str, after: int) -> Sequence[TaskFinding]:
    line = DatasetTask.objects.filter(task=OuterRef("task"), upload=upload).order_by("line").values("line")[:1]
    own = DatasetTask.objects.filter(upload=upload, duplicate=False).values("task")
    rows = TaskFinding.objects.filter(task__in=own, pk__gt=after).annotate(line=Subquery(line))
    rows = rows.filter(kind=kind) if kind else rows
    return list(rows.select_related("task").order_by("pk")[: PAGE + 1])


def duplicates(upload: Upload, after: int) -> Sequence[DatasetTask]:
    rows = DatasetTask.objects.filter(upload=upload, duplicate=True, pk__gt=after)
    return list(rows.select_related("task").order_by("pk")[: PAGE + 1])


def shown(rows: Sequence[Any], user: Any) -> list[dict[str, Any]]:
    """With a link to the other task where this person may see it."""
    others = {row.other for row in rows if getattr(row, "other", None) and row.kind in _TO_A_TASK}
    visible = {task.pk: task for task in Task.objects.for_user(user).filter(pk__in=others)}
    return [
        {
            "line": row.line,
            "task": row.task,
            "label": _LABELS.get(getattr(row, "kind", DUPLICATE), ""),
            "rule": getattr(row, "rule", "exact key"),
            "similarity": getattr(row, "similarity", None),
            "evidence": facts(getattr(row, "evidence", None)),
            "other": visible.get(getattr(row, "other", None)),
            "hidden": getattr(row, "other", None) in others and row.other not in visible,
        }
        for row in rows
    ]


def facts(evidence: Any) -> list[tuple[str, str]]:
    """Evidence as names and short texts."""
    if not isinstance(evidence, dict):
        return []
    return [(str(name).replace("_", " "), _text(value)) for name, value in evidence.items() if value not in (None, "")]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    text = ", ".join(f"“{one}”" for one in value) if isinstance(value, list) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"
