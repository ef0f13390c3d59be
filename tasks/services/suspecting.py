"""Suspected wrong references: approved tasks that a model answered many times and never once as the reference says.

The model side measures and tells of it here; a finding is made, nothing moves. A reviewer of the task's space decides:
the reference is right (`uphold`: it is not asked again for this task), or the task is rejected (`reviews.reject`). The
finding goes by itself once a model has solved the task.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from tasks.errors import Conflict, Invalid
from tasks.models import Proof, Task, TaskFinding, User
from tasks.models.events import Subject, record
from tasks.models.moves import ids_digest
from tasks.services.access import require_role
from tasks.states import Role, TaskState

_KIND = TaskFinding.Kind.NEVER_SOLVED
OPEN, UPHELD = "no_answer_passed", "upheld"  # rules: what the finding rests on
MOST_NOTE = 500  # characters


@dataclass(frozen=True, slots=True)
class Tried:
    """What a model made of one task."""

    task: int
    content: str  # digest of what was asked: a task that says something else by now is left alone
    answers: int  # that were graded
    passes: int
    wrong: str  # the most frequent answer that was refused
    wrong_count: int


@dataclass(frozen=True, slots=True)
class Settled:
    suspected: int  # findings made, where there was none before
    cleared: int  # findings withdrawn


@transaction.atomic
def settle(space_id: int, *, model: str, never_solved: Iterable[Tried], solved: Iterable[int]) -> Settled:
    """Keep what a model's answers say about approved tasks of a space: one event for what is new, one for what goes.

    A task that was upheld stays upheld; of one that is suspected already the newest evidence is kept.
    """
    tried = _still_as_asked(space_id, never_solved)
    known = dict(_of(tried).values_list("task_id", "rule"))
    fresh = {pk: one for pk, one in tried.items() if known.get(pk) != UPHELD}
    _of(fresh).delete()
    TaskFinding.objects.bulk_create(
        (TaskFinding(task_id=pk, kind=_KIND, rule=OPEN, evidence=_evidence(model, one)) for pk, one in fresh.items()),
        ignore_conflicts=True,  # another model's measurement was first
    )
    new = [pk for pk in fresh if pk not in known]
    cleared = list(_of(solved).filter(task__space=space_id).values_list("task_id", flat=True))
    _of(cleared).delete()
    for kind, pks in (("task.suspected", new), ("task.cleared", cleared)):
        if pks:
            data = {"model": model, "count": len(pks), "ids_digest": ids_digest(pks)}
            record(kind, subject=Subject("task", "*"), team=space_id, actor=None, data=data)
    return Settled(len(new), len(cleared))


def suspected(spaces: Collection[int]) -> QuerySet[Task]:
    """Approved tasks of these spaces that wait for a person's decision on their reference."""
    found = TaskFinding.objects.filter(kind=_KIND, rule=OPEN).values("task")
    rows: QuerySet[Task] = Task.objects.filter(pk__in=found, space__in=spaces, state=TaskState.APPROVED)
    return rows


def is_suspected(task: Task) -> bool:
    return suspected([task.space_id]).filter(pk=task.pk).exists()


@transaction.atomic
def uphold(task: Task, *, reviewer: User, note: str = "") -> TaskFinding:
    """The reference is right and the task is hard: it stays, and nobody is asked again."""
    require_role(reviewer, task.space, Role.REVIEWER)
    if len(note) > MOST_NOTE:
        raise Invalid("note_too_long", f"A note has at most {MOST_NOTE} characters.", "note")
    found = _of([task.pk]).select_for_update().filter(rule=OPEN).first()
    if found is None or not is_suspected(task):
        raise Conflict("not_suspected", "This task's reference is not in question: somebody has decided, or solved it.")
    found.rule = UPHELD
    found.evidence = {**found.evidence, "upheld_by": reviewer.username, "note": note}
    found.save(update_fields=["rule", "evidence"])
    data = {"note": note}
    record("task.upheld", subject=Subject("task", str(task.pk)), team=task.space_id, actor=reviewer, data=data)
    return found


def take_back(task: Task, *, reviewer: User) -> TaskState:
    """Put a suspected task back to where its proof had left it, from where it can be rejected, and that be undone."""
    proof = Proof.objects.filter(task=task, grader=task.grader_id).values_list("outcome", flat=True).first()
    before = TaskState.PROVED if proof == TaskState.PROVED else TaskState.UNPROVED
    data = {"reason": "suspected_reference"}
    Task.objects.advance(task.pk, TaskState.APPROVED, before, actor=reviewer, data=data, approved_at=None)
    return before


def _still_as_asked(space_id: int, tried: Iterable[Tried]) -> Mapping[int, Tried]:
    by_task = {one.task: one for one in tried}
    now = Task.objects.filter(pk__any_of=list(by_task), space=space_id, state=TaskState.APPROVED)
    digests = dict(now.values_list("pk", "content_digest"))
    return {pk: one for pk, one in sorted(by_task.items()) if digests.get(pk) == one.content}


def _of(pks: Iterable[int]) -> QuerySet[TaskFinding]:
    return TaskFinding.objects.filter(task__pk__any_of=list(pks), kind=_KIND)


def _evidence(model: str, one: Tried) -> dict[str, Any]:
    """What a reviewer needs. An answer that the model gives every time and that the reference refuses is the strongest
    sign of a wrong reference."""
    return {
        "model": model,
        "answers": one.answers,
        "passed": one.passes,
        "most_frequent_answer": one.wrong or ("(an empty answer)" if one.wrong_count else ""),
        "given": f"{one.wrong_count} of {one.answers} times" if one.wrong_count else "",
    }
