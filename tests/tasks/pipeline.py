"""Uploads for tests: sums as rows, received, imported and proved in this process."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tasks.models import Dataset, Task, Upload
from tasks.services import importing, proving, uploads

Row = Mapping[str, Any]


def sums(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Rows that differ in their prompts and answers."""
    return [{"prompt": f"What is {n} + {n}?", "reference": 2 * n} for n in range(start + 100, start + 100 + count)]


def lines(rows: Iterable[Row | str]) -> bytes:
    """JSON Lines; a text is written as it stands."""
    return b"".join((row if isinstance(row, str) else json.dumps(row)).encode() + b"\n" for row in rows)


def receive(dataset: Dataset, content: bytes | Iterable[Row | str]) -> Upload:
    data = content if isinstance(content, bytes) else lines(content)
    return uploads.receive(dataset, [data], filename="rows.jsonl", actor=None)[0]


def imported(dataset: Dataset, content: bytes | Iterable[Row | str]) -> Upload:
    upload = receive(dataset, content)
    importing.import_upload(upload.pk)
    upload.refresh_from_db()
    return upload


def proved(dataset: Dataset, content: bytes | Iterable[Row | str]) -> Upload:
    upload = imported(dataset, content)
    proving.prove_upload(upload.pk)
    upload.refresh_from_db()
    return upload


def states(dataset: Dataset) -> list[str]:
    """By line."""
    return list(dataset.memberships.order_by("upload_id", "line").values_list("task__state", flat=True))


def tasks(dataset: Dataset) -> list[Task]:
    return [row.task for row in dataset.memberships.select_related("task").order_by("upload_id", "line")]


def content(dataset: Dataset) -> list[tuple[Any, ...]]:
    """Everything that an import decides, without ids and moments: equal after a kill and a retry."""
    rows = dataset.memberships.order_by("upload__sha256", "line").values_list(
        "upload__sha256", "line", "duplicate", "task__state", "task__content_digest", "task__split", "task__domain"
    )
    return list(rows)
