"""Rows that waited for a grader: checked against their dataset's default as soon as it has one, then proved."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, OuterRef

from tasks.graders import judges
from tasks.models import Dataset, DatasetTask, Grader, ProofRun, Task, Upload
from tasks.preparation import content_digest_of
from tasks.services import judged
from tasks.services.conflicts import CLASH, open_conflicts
from tasks.services.copying import lock_space
from tasks.services.importing import add_counts, keep_issues
from tasks.services.wake import wake
from tasks.states import ProofState, TaskState
from tasks.types import Issue
from tasks.validation import check_against

CHUNK = 1000
TWIN = "The same row with this grader is there already."


def check_grader(dataset_id: int) -> int:
    """Check what waits in the dataset; returns how many rows were decided. Repeated calls find nothing left."""
    decided = 0
    while found := _check_chunk(dataset_id):
        decided += found
    return decided


@transaction.atomic
def _check_chunk(dataset_id: int) -> int:
    dataset = Dataset.objects.select_related("default_grader").get(pk=dataset_id)
    grader = dataset.default_grader
    if grader is None:
        return 0
    lock_space(dataset.space_id)
    here = DatasetTask.objects.filter(dataset=dataset, task=OuterRef("pk"))
    tasks = list(
        Task.objects.filter(Exists(here), space=dataset.space_id, state=TaskState.NEEDS_GRADER)
        .select_for_update()
        .order_by("pk")[:CHUNK]
    )
    if not tasks:
        return 0
    with judges.for_team(dataset.space_id):
        issues = {task.pk: found for task in tasks if (found := check_against(grader.config, task.item, 0))}
    twins = _twins(tasks, grader)
    right = [task for task in tasks if task.pk not in issues and task.pk not in twins]
    _reject(dataset, [task.pk for task in tasks if task.pk in issues], issues)
    _join_twins(dataset, {pk: twin for pk, twin in twins.items() if pk not in issues})
    _make_valid(dataset, right, grader)
    prove_again([task.pk for task in right])
    return len(tasks)


def _reject(dataset: Dataset, pks: Sequence[int], issues: dict[int, list[Issue]]) -> None:
    if not pks:
        return
    set_reasons({pk: (issues[pk][0].code, issues[pk][0].sentence) for pk in pks})
    Task.objects.advance_many(pks, TaskState.NEEDS_GRADER, TaskState.REJECTED, team=dataset.space_id)
    for upload_id, rows in rows_of(pks).items():
        found = [at_line(line, issue) for pk, line, _ in rows for issue in issues[pk]]
        keep_issues(upload_id, found)
        codes: dict[str, int] = {}
        for pk, _, _ in rows:
            codes[issues[pk][0].code] = codes.get(issues[pk][0].code, 0) + 1
        first = sum(not duplicate for _, _, duplicate in rows)
        _count(upload_id, {"needs_grader": -first, "duplicates": first - len(rows), "rejected": codes})


def at_line(line: int, issue: Issue) -> Issue:
    return Issue(line, issue.field, issue.code, issue.sentence, issue.remedy, issue.value)


def set_reasons(reasons: dict[int, tuple[str, str]]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE tasks_task t SET reason_code = given.code, reason = given.sentence
              FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS given (id, code, sentence) WHERE t.id = given.id
            """,
            [
                list(reasons),
                [code[:40] for code, _ in reasons.values()],
                [sentence[:300] for _, sentence in reasons.values()],
            ],
        )


def _twins(tasks: Iterable[Task], grader: Grader) -> dict[int, int]:
    """{waiting task: the task that it would become, where that is there already}."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT w.id, twin.id FROM tasks_task w, LATERAL (
                   SELECT t.id FROM tasks_task t
                    WHERE t.space_id = w.space_id AND t.exact_key = w.exact_key AND t.answer_digest = w.answer_digest
                      AND t.grader_id = %s AND t.state <> 'withdrawn' OFFSET 0) twin
             WHERE w.id = ANY(%s)
            """,
            [grader.pk, [task.pk for task in tasks]],
        )
        return dict(cursor.fetchall())


def _join_twins(dataset: Dataset, twins: dict[int, int]) -> None:
    """The rows become further provenance of the task that is there; the empty one stays as a rejected shell."""
    if not twins:
        return
    for upload_id, rows in rows_of(list(twins)).items():
        first = sum(not duplicate for _, _, duplicate in rows)
        _count(upload_id, {"needs_grader": -first, "duplicates": first})
    for pk, twin in twins.items():
        DatasetTask.objects.filter(task_id=pk).update(task_id=twin, duplicate=True)
    changes = {"reason": TWIN, "reason_code": "duplicate"}
    Task.objects.advance_many(list(twins), TaskState.NEEDS_GRADER, TaskState.REJECTED, team=dataset.space_id, **changes)


def _make_valid(dataset: Dataset, tasks: Sequence[Task], grader: Grader) -> None:
    if not tasks:
        return
    digests = [content_digest_of(task.messages, task.item, task.gold, grader.pk) for task in tasks]
    pks = [task.pk for task in tasks]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE tasks_task t SET grader_id = %s, content_digest = decode(given.digest, 'hex')
              FROM unnest(%s::bigint[], %s::text[]) AS given (id, digest) WHERE t.id = given.id
            """,
            [grader.pk, pks, digests],
        )
    against = clashing(pks)
    _move(dataset, [pk for pk in pks if pk not in set(against)], TaskState.VALID, "valid")
    _move(dataset, against, TaskState.CONFLICT, "conflicts", reason=CLASH, reason_code="conflict")
    open_conflicts(dataset.space_id, against)


def clashing(pks: Sequence[int]) -> list[int]:
    """Those of the tasks beside which another one asks the same and has another answer."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT w.id FROM tasks_task w WHERE w.id = ANY(%s) AND (
                   SELECT true FROM tasks_task t WHERE t.space_id = w.space_id AND t.exact_key = w.exact_key
                      AND t.answer_digest <> w.answer_digest AND t.state <> 'withdrawn' AND t.state <> 'rejected'
                    LIMIT 1)
            """,
            [list(pks)],
        )
        return [pk for (pk,) in cursor.fetchall()]


def to_conflict(space_id: int, pks: Sequence[int]) -> None:
    """Send valid tasks that clash to review, with their other sides."""
    if pks:
        why = {"reason": CLASH, "reason_code": "conflict"}
        Task.objects.advance_many(pks, TaskState.VALID, TaskState.CONFLICT, team=space_id, **why)
        open_conflicts(space_id, pks)


def _move(dataset: Dataset, pks: Sequence[int], new: TaskState, counted: str, **changes: Any) -> None:
    if not pks:
        return
    Task.objects.advance_many(pks, TaskState.NEEDS_GRADER, new, team=dataset.space_id, **changes)
    for upload_id, rows in rows_of(pks).items():
        first = sum(not duplicate for _, _, duplicate in rows)
        _count(upload_id, {"needs_grader": -first, counted: first})


def rows_of(pks: Sequence[int]) -> dict[int, list[tuple[int, int, bool]]]:
    """{upload: [(task, line, duplicate)]} of the rows that are these tasks."""
    rows = DatasetTask.objects.filter(task__in=pks).order_by("upload_id", "line")
    found: dict[int, list[tuple[int, int, bool]]] = {}
    for row in rows:
        found.setdefault(row.upload_id, []).append((row.task_id, row.line, row.duplicate))
    return found


def _count(upload_id: int, more: dict[str, Any]) -> None:
    """Keep the upload's counts true. The import reads them anew under this lock with every chunk."""
    upload = Upload.objects.select_for_update().get(pk=upload_id)
    Upload.objects.filter(pk=upload_id).update(counts=add_counts(upload.counts, more))


def prove_again(pks: Sequence[int], *, ask_anew: bool = False) -> None:
    """Send the proofs of these tasks' uploads back to pending; one under way finds the new rows by itself.

    With `ask_anew` an agreement to what judges cost is no longer good: it was for another grader.
    """
    uploads = DatasetTask.objects.filter(task__in=pks).values_list("upload_id", flat=True).distinct()
    for run in ProofRun.objects.select_for_update().filter(upload__in=list(uploads)).order_by("pk"):
        if ask_anew:
            judged.forget_agreement(run, actor=None, reason="grader_changed")
        if run.state in (ProofState.DONE, ProofState.WAITING, ProofState.REFUSED):
            ProofRun.objects.advance(run.pk, ProofState(run.state), ProofState.PENDING, tries=0, finished_at=None)
            wake("prove_upload", run.upload_id)
