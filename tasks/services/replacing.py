"""A file that replaces: once it is imported, the rows of the dataset's earlier uploads that it does not hold leave.

A row leaves by losing its membership. A task that no dataset holds then is retired (`rejected`, code `replaced`): it
stays readable in versions that are frozen, and is in no version or mixture to come. Chunk by chunk, each a transaction
with its event: a kill in the middle goes on, and what has left does not come back by itself.

The way back is to upload the earlier file again, as one that replaces: its rows are imported anew, and retired tasks
are taken out of retirement (`revive`) as soon as any upload brings them.
"""

from collections import Counter
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from tasks.crash import crash_point
from tasks.models import Dataset, DatasetTask, File, ProofFinding, ProofRun, RowIssue, Task, Upload, User
from tasks.models.events import Subject, record
from tasks.models.moves import ids_digest
from tasks.services.access import require_role
from tasks.services.copying import lock_space
from tasks.services.correcting import add_to_counts, retire
from tasks.services.waiting import clashing, prove_again, to_conflict
from tasks.services.wake import wake
from tasks.states import Role, TaskState, UploadMode, UploadState

CHUNK = 1000
REPLACED = "replaced"
_RETIRED = "Another file has replaced the one that brought it."


def leaving(upload: Upload) -> QuerySet[DatasetTask]:
    """Rows of earlier uploads whose tasks this one does not hold. None where it holds no good row at all."""
    held = DatasetTask.objects.filter(upload=upload, task=OuterRef("task"))
    earlier = DatasetTask.objects.filter(dataset=upload.dataset_id, upload__created_at__lt=upload.created_at)
    earlier = earlier.exclude(upload=upload)
    if not DatasetTask.objects.filter(upload=upload).exclude(task__state=TaskState.REJECTED).exists():
        return earlier.none()
    return earlier.filter(~Exists(held))


def count(upload: Upload) -> int:
    """How many rows will leave, as far as its import has come."""
    return leaving(upload).count()


def most(dataset: Dataset) -> int:
    """How many rows would leave if a file held none of them: what a page says before there is a file."""
    return DatasetTask.objects.filter(dataset=dataset).count()


def blocked(upload: Upload) -> bool:
    """Whether earlier files are still coming in: their rows would come behind the replacement."""
    busy = (UploadState.RECEIVED, UploadState.IMPORTING)
    earlier = Upload.objects.filter(dataset=upload.dataset_id, state__in=busy, created_at__lt=upload.created_at)
    return earlier.exclude(pk=upload.pk).exists()


def apply(upload: Upload) -> int:
    """Returns how many rows left now. Safe to repeat."""
    left, after = 0, 0
    while (chunk := _apply_chunk(upload, after))[0]:
        left, after = left + chunk[0], chunk[1]
        crash_point("replace.after_chunk")
    return left


@transaction.atomic
def _apply_chunk(upload: Upload, after: int = 0) -> tuple[int, int]:
    """(rows that left, the last of them). Rows before `after` stay: they are not looked at once a chunk."""
    lock_space(upload.dataset.space_id)
    going = leaving(upload).filter(pk__gt=after).order_by("pk")
    rows = list(going[:CHUNK].values_list("pk", "task_id", "upload_id"))
    if not rows:
        return 0, after
    DatasetTask.objects.filter(pk__in=[pk for pk, _, _ in rows]).delete()
    tasks = list(Task.objects.select_for_update().filter(pk__in={task for _, task, _ in rows}).order_by("pk"))
    retire(tasks, _RETIRED, REPLACED, team=upload.dataset.space_id)
    add_to_counts(upload.pk, {"left": len(rows)})
    for earlier, gone in sorted(Counter(earlier for _, _, earlier in rows).items()):
        add_to_counts(earlier, {"gone": gone})
    data = {"count": len(rows), "ids_digest": ids_digest([pk for pk, _, _ in rows]), "dataset": upload.dataset_id}
    subject = Subject("upload", str(upload.pk))
    record("upload.replaced", subject=subject, team=upload.team_id, actor=upload.uploaded_by_id, data=data)
    return len(rows), rows[-1][0]


def revive(upload: Upload) -> int:
    """Tasks of this upload that an earlier replacement had retired are proved again; returns how many."""
    revived = 0
    while pks := _retired(upload):
        revived += _revive_chunk(upload, pks)
    return revived


def _retired(upload: Upload) -> list[int]:
    rows = DatasetTask.objects.filter(upload=upload, duplicate=True, task__state=TaskState.REJECTED)
    found = rows.filter(task__reason_code=REPLACED).values_list("task_id", flat=True)
    return list(found.distinct()[:CHUNK])


@transaction.atomic
def _revive_chunk(upload: Upload, pks: list[int]) -> int:
    space = upload.dataset.space_id
    lock_space(space)
    back = Task.objects.advance_many(
        pks, TaskState.REJECTED, TaskState.VALID, team=space, reason="", reason_code="", data={"upload": upload.pk}
    )
    to_conflict(space, clashing(back))
    prove_again(back)
    return len(back)


@transaction.atomic
def bring_back(upload: Upload, *, actor: User | None, mode: str = UploadMode.APPEND) -> bool:
    """Import a file again whose rows have left. False where none has: then there is nothing to do."""
    require_role(actor, upload.team, Role.CONTRIBUTOR)
    if not has_left(upload):
        return False
    anew: dict[str, Any] = {
        "offset": 0,
        "line": 0,
        "read_bytes": 0,
        "counts": {},
        "tries": 0,
        "started_at": None,
        "finished_at": None,
    }
    if not Upload.objects.advance(
        upload.pk,
        UploadState.IMPORTED,
        UploadState.RECEIVED,
        actor=actor,
        mode=mode,
        created_at=timezone.now(),  # it comes after what has replaced it
        **anew,
    ):
        return False
    lock_space(upload.dataset.space_id)
    DatasetTask.objects.filter(upload=upload).delete()
    RowIssue.objects.filter(upload=upload).delete()
    ProofRun.objects.filter(upload=upload).delete()
    ProofFinding.objects.filter(upload=upload).delete()
    wake("import_upload", upload.pk)
    return True


def has_left(upload: Upload) -> bool:
    """Whether rows of it had to leave for a later file, or because the file was deleted."""
    deleted = File.objects.filter(upload=upload).exclude(cleared_at=None)
    return upload.state == UploadState.IMPORTED and (upload.counts.get("gone", 0) > 0 or deleted.exists())
