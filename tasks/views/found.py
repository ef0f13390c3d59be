"""What the checks found about an upload's rows, as lists: every finding with its rule and its evidence."""

from collections.abc import Sequence
from typing import Any

from tasks.models import Task, TaskFinding, Upload
from tasks.services import tombstones
from tasks.services.found import BESIDE, DUPLICATE, found_in

PAGE = 50
_LABELS = {DUPLICATE: "Was there already", **dict(TaskFinding.Kind.choices)}
_SHOWN = 600


def kinds(upload: Upload) -> list[tuple[str, str, int]]:
    """(kind, what it means, rows), of those that were found."""
    counts = {DUPLICATE: upload.counts.get("duplicates", 0), **upload.counts.get("found", {})}
    return [(kind, _LABELS.get(kind, kind.replace("_", " ")), count) for kind, count in counts.items() if count]


def page(upload: Upload, kind: str, after: int) -> Sequence[Any]:
    """One more than a page shows: there is another then."""
    return list(found_in(upload, kind).filter(pk__gt=after).select_related("task").order_by("pk")[: PAGE + 1])


def shown(rows: Sequence[Any], user: Any) -> list[dict[str, Any]]:
    """With a link to the other task where this person may see it."""
    others = {row.other for row in rows if row.other and row.kind in BESIDE}
    visible = {task.pk: task for task in Task.objects.for_user(user).filter(pk__in=others)}
    tombstones.bury([*visible.values(), *(row.task for row in rows)], user)
    return [
        {
            "line": row.line,
            "task": row.task,
            "label": _LABELS.get(row.kind, ""),
            "rule": row.rule,
            "similarity": row.similarity,
            "evidence": facts(row.evidence),
            "other": visible.get(row.other),
            "hidden": row.other in others and row.other not in visible,
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
