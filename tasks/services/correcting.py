"""Corrected rows take the place of what they correct.

An upload with `corrects` holds rows of an earlier upload of the same dataset, corrected. Once it is imported, each of
its good rows takes over the line for which it stands (`_line`), where nothing good stands there: the line was refused,
or its task rejected. The line then is that task, so the first upload no longer lists it as rejected, and says by which
upload it was corrected. A line that is good already keeps its task.

One task can be corrected by itself (`amend`): its row goes through the whole import, and the new task takes over every
row of the dataset that was the old one (`_task`). The old one is retired where no other dataset holds it, and stays
readable in versions that are frozen.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from django.db import connection, transaction

from tasks.crash import crash_point
from tasks.errors import Conflict, Invalid, NotFound
from tasks.formats import mapping, native, source
from tasks.formats.jsonl import rows as rows_of
from tasks.formats.reasons import LINE, TASK, line_of
from tasks.graders import judges
from tasks.models import Dataset, DatasetTask, Event, RowIssue, Task, Upload, User
from tasks.models.events import Subject, record
from tasks.models.moves import ids_digest
from tasks.services import rejections, rewriting, storage, uploads
from tasks.services.access import require_role
from tasks.services.copying import lock_space
from tasks.services.importing import add_counts
from tasks.services.waiting import clashing, prove_again
from tasks.states import Role, TaskState
from tasks.types import Issue, Message, Row
from tasks.validation import validate

BLOCK_ROWS = 1000
CORRECTED = "corrected"
EDITABLE = ("messages", "item", "gold", "grader", "domain", "metadata")
_TAKE_OVER = """
UPDATE tasks_datasettask m SET task_id = given.task, duplicate = true
  FROM unnest(%s::bigint[], %s::bigint[]) given(line, task) WHERE m.upload_id = %s AND m.line = given.line
"""


# One task


def amend(task: Task, dataset: Dataset, changes: Mapping[str, Any], *, actor: User | None) -> Upload | None:
    """Correct a task of the dataset: the changed row is uploaded, and what becomes of it is told on the upload's page.

    `changes` are native fields; what is not named stays. Raises Invalid with the first thing that is wrong. None: the
    row is the same task in other words, which it has taken (services.rewriting).
    """
    require_role(actor, dataset.team, Role.CONTRIBUTOR)
    if task.state == TaskState.WITHDRAWN:
        raise Conflict("withdrawn", "This task is withdrawn, which is final: upload the row anew.")
    row = changed(task, changes)
    found = checked(row, dataset)
    if not isinstance(found, Row):
        raise Invalid(found[0].code, f"{found[0].sentence} {found[0].remedy}", found[0].field or None)
    if rewriting.says_the_same(task, found, dataset):
        _reword(task, found, dataset, actor)
        return None
    return _upload(task, dataset, row, actor)


@transaction.atomic
def _reword(task: Task, row: Row, dataset: Dataset, actor: User | None) -> None:
    lock_space(dataset.space_id)
    held = Task.objects.select_for_update().get(pk=task.pk)
    if not rewriting.rewrite(held, row, dataset, actor=actor):
        raise Conflict(
            "says_the_same",
            "This changes nothing, or only the wording of a task that was approved or that another dataset holds too: "
            "it stays as it is. Withdraw it and upload the row anew where the wording matters.",
        )


def _upload(task: Task, dataset: Dataset, row: Mapping[str, Any], actor: User | None) -> Upload:
    held = DatasetTask.objects.filter(dataset=dataset, task=task).order_by("duplicate", "pk").first()
    if held is None:
        raise NotFound("not_found", f"{dataset} does not hold this task: correct it where it is.", "dataset")
    body = msgspec.json.encode({LINE: held.line, TASK: task.pk, **row}) + b"\n"
    options = uploads.Options(mapping=_native(), corrects=held.upload_id)
    upload, created = uploads.receive(
        dataset, [body], filename=f"correction-of-task-{task.pk}.jsonl", actor=actor, options=options
    )
    if not created:
        raise Conflict("corrected_before", "This very correction was made before: see what became of it.", "task")
    return upload


def _native() -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(mapping.NATIVE)
    return found


def row_of(task: Task) -> dict[str, Any]:
    """A stored task as a native row."""
    messages = tuple(Message(message["role"], message["content"]) for message in task.messages)
    grader = task.grader.config if task.grader else None
    written = native.write(messages, task.item, task.gold, grader, task.domain, task.metadata)
    row: dict[str, Any] = msgspec.json.decode(written)
    return row


def changed(task: Task, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The task's row with these fields; None takes a field away."""
    row = {**row_of(task), **changes}
    return {name: value for name, value in row.items() if value is not None}


def checked(row: Mapping[str, Any], dataset: Dataset, line: int = 0) -> Row | Sequence[Issue]:
    """What the import would say at once; nothing is stored."""
    default = dataset.default_grader.config if dataset.default_grader else None
    with judges.for_team(dataset.space_id):
        return validate(row, line=line, default=default)


# A file of corrected rows


def apply(upload: Upload) -> int:
    """Let an imported file's rows take over the lines for which they stand; returns how many did. Safe to repeat."""
    layout, taken, native_row = rejections.layout_of(upload), 0, mapping.compiled(_mapping(upload))
    for block in source.blocks(storage.kept_file(upload), layout, size=lambda _: BLOCK_ROWS):
        rows = [(number, row) for number, row, _ in rows_of(block) if not isinstance(row, Issue)]
        lines = {number: line for number, row in rows if (line := line_of(row)) is not None}
        tasks = {number: task for number, row in rows if (task := line_of(row, TASK)) is not None}
        if lines or tasks:
            taken += _apply_chunk(upload, lines, tasks)
            words = {number: native_row(row, number) for number, row in rows if number in lines}
            taken += _reword_chunk(upload, lines, words)
            crash_point("correct.after_chunk")
    return taken


@transaction.atomic
def _apply_chunk(upload: Upload, lines: Mapping[int, int], old_tasks: Mapping[int, int]) -> int:
    """`lines`: {line of this file: line of the corrected one}, `old_tasks`: {line of this file: task}."""
    lock_space(upload.dataset.space_id)
    good = _good(upload, [*lines, *old_tasks])
    taken = _take_lines(upload, {lines[number]: task for number, task in good.items() if number in lines})
    for number, old in old_tasks.items():
        if number in good:
            taken += _take_task(upload, old, good[number])
    if taken:
        add_to_counts(upload.pk, {"corrected": taken})
        data = {"corrects": upload.corrects_id, "count": taken, "ids_digest": ids_digest(list(good.values()))}
        subject = Subject("upload", str(upload.corrects_id))
        record("upload.corrected", subject=subject, team=upload.team_id, actor=upload.uploaded_by_id, data=data)
    return taken


def _mapping(upload: Upload) -> mapping.Mapping:
    given = upload.mapping or (upload.corrects.mapping if upload.corrects else None)
    return msgspec.convert(given, mapping.Mapping) if isinstance(given, dict) else mapping.NATIVE


@transaction.atomic
def _reword_chunk(upload: Upload, lines: Mapping[int, int], words: Mapping[int, Any]) -> int:
    """Rows that are the rejected task of their line in other words, another gold for instance."""
    lock_space(upload.dataset.space_id)
    mine = dict(DatasetTask.objects.filter(upload=upload, line__in=lines).values_list("line", "task_id"))
    rows = DatasetTask.objects.filter(upload=upload.corrects_id, line__in=lines.values())
    standing = dict(rows.values_list("line", "task_id"))
    same = {number: pk for number, pk in mine.items() if standing.get(lines[number]) == pk}
    found = Task.objects.select_for_update().filter(pk__in=same.values(), state=TaskState.REJECTED).order_by("pk")
    held = {task.pk: task for task in found}
    reworded = 0
    for number, pk in same.items():
        row = checked(words[number], upload.dataset, number) if isinstance(words[number], dict) else None
        if isinstance(row, Row) and (task := held.pop(pk, None)) is not None:
            reworded += rewriting.rewrite(task, row, upload.dataset, actor=upload.uploaded_by_id)
    if reworded:
        add_to_counts(upload.pk, {"corrected": reworded})
    return reworded


def _good(upload: Upload, numbers: Sequence[int]) -> dict[int, int]:
    """{line: task} of rows that came in."""
    rows = DatasetTask.objects.filter(upload=upload, line__in=numbers)
    rows = rows.exclude(task__state__in=(TaskState.REJECTED, TaskState.WITHDRAWN))
    return dict(rows.values_list("line", "task_id"))


def _take_lines(upload: Upload, tasks: Mapping[int, int]) -> int:
    """`tasks`: {line of the corrected upload: task that takes it over}."""
    first = upload.corrects_id
    assert first is not None
    standing = dict(DatasetTask.objects.filter(upload=first, line__in=tasks).values_list("line", "task__state"))
    refused = set(RowIssue.objects.filter(upload=first, line__in=tasks).values_list("line", flat=True))
    rejected = [line for line, state in standing.items() if state == TaskState.REJECTED]
    with connection.cursor() as cursor:
        cursor.execute(_TAKE_OVER, [rejected, [tasks[line] for line in rejected], first])
    new = [line for line in tasks if line not in standing and line in refused]
    DatasetTask.objects.bulk_create(
        DatasetTask(dataset_id=upload.dataset_id, upload_id=first, line=line, task_id=tasks[line], duplicate=True)
        for line in new
    )
    return len(new) + len(rejected)


def _take_task(upload: Upload, old: int, new: int) -> int:
    rows = DatasetTask.objects.filter(dataset=upload.dataset_id, task=old)
    if old == new or not rows.exists():
        return 0
    task = Task.objects.select_for_update().get(pk=old)
    rows.update(task=new, duplicate=True)
    record(
        "task.corrected",
        subject=Subject("task", str(new)),
        team=task.space_id,
        actor=upload.uploaded_by_id,
        data={"old": old, "upload": upload.pk},
    )
    retire([task], f"A corrected row has taken its place: task {new}.", CORRECTED, team=task.space_id)
    settle_conflict(task.space_id, new)
    return 1


def retire(tasks: Sequence[Task], reason: str, code: str, *, team: int) -> list[int]:
    """Reject those that no dataset holds any more; they stay readable in frozen versions. The space is locked."""
    held = set(DatasetTask.objects.filter(task__in=tasks).values_list("task_id", flat=True))
    retired: list[int] = []
    for state in sorted({task.state for task in tasks} - {TaskState.REJECTED, TaskState.WITHDRAWN}):
        going = [task.pk for task in tasks if task.state == state and task.pk not in held]
        retired += Task.objects.advance_many(
            going, TaskState(state), TaskState.REJECTED, team=team, reason=reason, reason_code=code, approved_at=None
        )
    return retired


def settle_conflict(space_id: int, pk: int) -> None:
    """A task against which nothing stands any more is proved like any other."""
    if clashing([pk]):
        return
    back = {"reason": "", "reason_code": ""}
    if Task.objects.advance_many([pk], TaskState.CONFLICT, TaskState.VALID, team=space_id, **back):
        prove_again([pk])


def add_to_counts(upload_id: int, more: dict[str, int]) -> None:
    """In the transaction of what is counted, so that a repeated job counts nothing twice."""
    upload = Upload.objects.select_for_update().get(pk=upload_id)
    Upload.objects.filter(pk=upload_id).update(counts=add_counts(upload.counts, more))


def corrects(task: Task) -> int | None:
    """The task that this one corrects, where it does."""
    told = Event.objects.filter(kind="task.corrected", subject_type="task", subject_id=str(task.pk)).first()
    return told.data.get("old") if told else None
