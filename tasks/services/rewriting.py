"""A task that is said otherwise: same prompt to every comparison, same answer, same grader, and other words.

Such a row is a copy of the task, so no second one can stand beside it: the task itself takes the row's words, and is
proved again where its gold or its wording changed. That is done only where nobody relies on the task as it is: it was
never approved, and no other dataset holds it. Its subject and metadata may change at any time.
"""

from typing import Any

import msgspec

from tasks.dedup import fingerprint
from tasks.graders import registry
from tasks.models import Dataset, DatasetTask, DatasetVersionTask, Proof, Review, Task
from tasks.models.events import Subject, record
from tasks.preparation import content_digest_of
from tasks.services.waiting import clashing, prove_again, to_conflict
from tasks.states import TaskState
from tasks.types import Row

_PROVED_ANEW = (TaskState.PROVED, TaskState.UNPROVED, TaskState.REJECTED)


def says_the_same(task: Task, row: Row, dataset: Dataset) -> bool:
    """Whether the row would be a copy of the task."""
    keys = fingerprint.fingerprint(row.messages)
    answer = fingerprint.answer_digest(row.item, row.gold)
    config = row.grader if row.grader is not None else _default(dataset)
    digest = None if config is None else registry.digest(config)
    return (keys.exact_key, answer, digest) == (task.exact_key, task.answer_digest, task.grader_id)


def _default(dataset: Dataset) -> Any:
    return dataset.default_grader.config if dataset.default_grader else None


def relied_on(task: Task, dataset: Dataset) -> bool:
    """Whether the task must stay as it is."""
    return (
        task.state == TaskState.APPROVED
        or task.approved_at is not None
        or DatasetVersionTask.objects.filter(task=task).exists()
        or Review.objects.filter(task=task, decision=Review.Decision.APPROVED).exists()
        or held_elsewhere(task, dataset)
    )


def held_elsewhere(task: Task, dataset: Dataset) -> bool:
    return DatasetTask.objects.filter(task=task).exclude(dataset=dataset).exists()


def rewrite(task: Task, row: Row, dataset: Dataset, *, actor: Any) -> bool:
    """False where the task says so already, or must stay as it is. The caller holds the space and the task's row."""
    content = _content(row, task)
    about = {"domain": row.domain or dataset.domain, "metadata": dict(row.metadata)}
    other_words = content["content_digest"] != task.content_digest
    if not other_words and all(getattr(task, name) == value for name, value in about.items()):
        return False
    if relied_on(task, dataset) if other_words else held_elsewhere(task, dataset):
        return False
    Task.objects.filter(pk=task.pk).update(**about, **(content if other_words else {}))
    subject = Subject("task", str(task.pk))
    data = {"old": task.content_digest, "new": content["content_digest"]}
    record("task.rewritten", subject=subject, team=task.space_id, actor=actor, data=data)
    if other_words:
        _prove_anew(task)
    return True


def _content(row: Row, task: Task) -> dict[str, Any]:
    messages, item = msgspec.to_builtins(row.messages), msgspec.to_builtins(dict(row.item))
    digest = content_digest_of(messages, item, row.gold, task.grader_id)
    return {"messages": messages, "item": item, "gold": row.gold, "content_digest": digest}


def _prove_anew(task: Task) -> None:
    Proof.objects.filter(task=task).delete()
    if task.state in _PROVED_ANEW:
        back = {"reason": "", "reason_code": ""}
        Task.objects.advance_many([task.pk], TaskState(task.state), TaskState.VALID, team=task.space_id, **back)
        to_conflict(task.space_id, clashing([task.pk]))
    prove_again([task.pk])
