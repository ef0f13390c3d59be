"""Tasks as the engine reads them."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from tasks.models import Task
from trainer.contract import ChatMessage, EvalItem, PromptItem

GENERAL = "general"  # the domain of tasks that name none


def prompt_item(task: Task) -> PromptItem:
    """A row of a file may have no grader: the run on it brings one for all."""
    return PromptItem(
        key=str(task.pk),
        messages=_messages(task),
        item=task.item,
        grader=dict(task.grader.config) if task.grader else {},
        domain=task.domain or GENERAL,
    )


def eval_item(task: Task, suite: str) -> EvalItem:
    cluster = str(task.family) if task.family else ""
    return EvalItem(
        key=str(task.pk),
        suite=suite,
        cluster=cluster,
        messages=_messages(task),
        item=task.item,
        grader=_grader(task),
        domain=task.domain or GENERAL,
    )


def storable(text: str) -> str:
    """What a model says may hold NUL, which Postgres stores in no text and in no JSON."""
    return text.replace("\x00", "\ufffd")


def in_order(pks: Iterable[int], *, chunk: int = 2000) -> Iterator[Task]:
    """The tasks of these ids in this order, a chunk at a time."""
    batch: list[int] = []
    for pk in pks:
        batch.append(pk)
        if len(batch) == chunk:
            yield from _fetch(batch)
            batch = []
    yield from _fetch(batch)


def write_lines(path: Path, rows: Iterable[msgspec.Struct]) -> int:
    """One JSON line a row; the number of rows. The file appears whole or not at all, and only ever with these bytes:
    an engine that is reading the last attempt's file is not disturbed.
    """
    written = 0
    encoder = msgspec.json.Encoder()
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        for row in rows:
            file.write(encoder.encode(row) + b"\n")
            written += 1
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return written


def _fetch(pks: list[int]) -> Iterator[Task]:
    found = Task.objects.select_related("grader").in_bulk(pks)
    return (found[pk] for pk in pks)


def _messages(task: Task) -> list[ChatMessage]:
    return [ChatMessage(role=message["role"], content=message["content"]) for message in task.messages]


def _grader(task: Task) -> dict[str, Any]:
    """Approved tasks have a grader; the state table sees to it."""
    assert task.grader is not None
    return dict(task.grader.config)
