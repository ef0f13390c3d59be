"""What the checks found about an upload's rows, row by row."""

from typing import Any

from django.db.models import CharField, FloatField, JSONField, OuterRef, Subquery, Value
from django.db.models.functions import Cast

from tasks.models import DatasetTask, TaskFinding, Upload

DUPLICATE = "duplicate"  # no finding of its own: the row is a task that was there already
BESIDE = frozenset({TaskFinding.Kind.NEAR_DUPLICATE, TaskFinding.Kind.SUSPECT})  # `other` is a task


def found_in(upload: Upload, kind: str = "") -> Any:
    """Rows with line, task, kind, rule, other, similarity, evidence. Without a kind: all kinds but duplicates."""
    return _duplicates(upload) if kind == DUPLICATE else _findings(upload, kind)


def _findings(upload: Upload, kind: str) -> Any:
    line = DatasetTask.objects.filter(task=OuterRef("task"), upload=upload).order_by("line").values("line")[:1]
    own = DatasetTask.objects.filter(upload=upload, duplicate=False).values("task")
    rows = TaskFinding.objects.filter(task__in=own).annotate(line=Subquery(line))
    return rows.filter(kind=kind) if kind else rows


def _duplicates(upload: Upload) -> Any:
    nothing = Value(None)
    return DatasetTask.objects.filter(upload=upload, duplicate=True).annotate(
        kind=Value(DUPLICATE, CharField()),
        rule=Value("exact key", CharField()),
        other=Value(None, CharField()),
        similarity=Cast(nothing, FloatField()),
        evidence=Cast(nothing, JSONField()),
    )
