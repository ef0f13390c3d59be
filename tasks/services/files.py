"""Files of a team under a name and a purpose. Rows for training begin their import as they arrive; of any other file
just the bytes are kept. services.storage has the order in which bytes become a row.

A deleted file is hidden at once. `clear` takes out its rows and bytes behind that; what a kill or an import under way
has kept it from, the sweep has done.
"""

import codecs
import json
import secrets
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.text import slugify

from tasks.crash import crash_point
from tasks.errors import Conflict, Forbidden, Invalid, TooLarge
from tasks.formats.block import MAX_LINE_BYTES
from tasks.models import Dataset, DatasetTask, File, Team, Upload, User, WithdrawalReceipt
from tasks.models.events import Subject, record
from tasks.services import datasets, storage, uploads, withdrawals
from tasks.services.access import require_role
from tasks.services.storage import Arrived
from tasks.services.withdrawals import Told
from tasks.states import FilePurpose, Role, TaskState, UploadState

ROWS_OF_OPENAI = {"dialect": "openai_rft"}
REPEATED_WITHIN = timedelta(minutes=30)
DELETED = "The file that brought it was deleted."
AT_ONCE = 20  # of a sweep
_BLOCK_BYTES = 256 * 1024
_SLUG_CHARACTERS = 60


def store(
    team: Team,
    stream: Iterable[bytes],
    *,
    filename: str,
    purpose: str,
    actor: User | None,
    expires_at: datetime | None = None,
) -> File:
    """Keep these bytes; of purpose fine-tune, have their rows imported into a private dataset of their own."""
    check(team, purpose, actor=actor)
    with arriving(team, stream) as arrived:
        return keep(team, arrived, filename=filename, purpose=purpose, actor=actor, expires_at=expires_at)


def check(team: Team, purpose: str, *, actor: User | None) -> None:
    """Refuse what cannot be, before any byte is taken."""
    require_may_store(team, actor)
    given = [str(known) for known in FilePurpose if known is not FilePurpose.FINE_TUNE_RESULTS]
    if purpose not in given and (actor is not None or purpose != FilePurpose.FINE_TUNE_RESULTS):
        told = f"'{purpose[:40]}' is not one of {', '.join(given)}: give one of these as purpose."
        raise Invalid("invalid_purpose", told, "purpose")


def require_may_store(team: Team, actor: User | None) -> None:
    require_role(actor, team, Role.CONTRIBUTOR)


def arriving(team: Team, stream: Iterable[bytes]) -> AbstractContextManager[Arrived]:
    """The bytes on the disk, for `keep`: of a form they may be here before it is said what they are for."""
    return storage.arriving(team.pk, stream, require_size)


def require_size(size: int) -> None:
    if size > settings.FILE_MAX_BYTES:
        limit = number_format(settings.FILE_MAX_BYTES, use_l10n=False, force_grouping=True)
        sentence = f"The file is larger than {limit} bytes: send it in parts by POST /uploads, or as several files."
        raise TooLarge("file_too_large", sentence, "file")


@transaction.atomic
def keep(
    team: Team,
    arrived: Arrived,
    *,
    filename: str,
    purpose: str,
    actor: User | None,
    expires_at: datetime | None = None,
    again: bool = False,
) -> File:
    """The row of bytes that have arrived. `again`: a client repeats a request whose reply it did not hear."""
    check(team, purpose, actor=actor)
    storage.lock_file(arrived.sha256)
    label = uploads.label_of(filename)
    first = repeated(team, arrived.sha256, filename=label, purpose=purpose, actor=actor) if again else None
    if first is not None:
        transaction.on_commit(lambda: arrived.path.unlink(missing_ok=True))
        return first
    if purpose == FilePurpose.FINE_TUNE:
        return _keep_rows(team, arrived, label, actor, expires_at)
    file = File(
        team=team, uploaded_by=actor, filename=label, purpose=purpose, sha256=arrived.sha256, bytes=arrived.bytes
    )
    storage.link(arrived.path, storage.stored_file(file))
    crash_point("file.after_link")
    transaction.on_commit(lambda: arrived.path.unlink(missing_ok=True))
    file.expires_at = expires_at
    file.save(force_insert=True)
    _tell("file.stored", file, actor, {"purpose": purpose, "filename": label})
    return file


def repeated(team: Team, sha256: str, *, filename: str, purpose: str, actor: User | None) -> File | None:
    """The file that the same request has made a moment ago. For whoever holds the file's lock."""
    alike = File.objects.live().filter(team=team, sha256=sha256, filename=filename, purpose=purpose, uploaded_by=actor)
    return alike.filter(kept=True, created_at__gt=timezone.now() - REPEATED_WITHIN).order_by("-pk").first()


def _keep_rows(team: Team, arrived: Arrived, label: str, actor: User | None, expires_at: datetime | None) -> File:
    _require_rows(arrived.path)
    dataset = _dataset_for(team, label, actor)
    upload, _ = uploads.keep(
        dataset,
        arrived.path,
        sha256=arrived.sha256,
        size=arrived.bytes,
        filename=label,
        actor=actor,
        options=uploads.Options(mapping=ROWS_OF_OPENAI),
    )
    File.objects.filter(upload=upload).update(kept=True, expires_at=expires_at)
    file = File.objects.get(upload=upload)
    _tell("file.stored", file, actor, {"purpose": file.purpose, "filename": label, "upload": upload.pk})
    return file


def _require_rows(path: Path) -> None:
    """JSON Lines, as far as its first row says; the import looks at the others."""
    with path.open("rb") as file:
        line = file.readline(MAX_LINE_BYTES).removeprefix(codecs.BOM_UTF8)
        while line.isspace():
            line = file.readline(MAX_LINE_BYTES)
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        sentence = "Its first line is not a JSON object: write one object with `messages` on each line of the file."
        raise Invalid("invalid_file_format", sentence, "file")


def _dataset_for(team: Team, label: str, actor: User | None) -> Dataset:
    """Private, called as the file is. Another one of that name gets a few more letters."""
    name = Path(label).stem.strip()[:120] or "file"
    slug = slugify(name)[:_SLUG_CHARACTERS].strip("-_") or "file"
    if not Dataset.objects.filter(team=team, slug=slug).exists():
        try:
            return datasets.create(team, name, slug=slug, actor=actor)
        except Conflict:  # somebody was first
            pass
    return datasets.create(team, name, slug=f"{slug}-{secrets.token_hex(4)}", actor=actor)


def _tell(kind: str, file: File, actor: User | None, data: dict[str, Any]) -> None:
    told = {"sha256": file.sha256, "bytes": file.bytes, **data}
    record(kind, subject=Subject("file", str(file.pk)), team=file.team_id, actor=actor, data=told)


# What it is now


def read(file: File) -> Iterator[bytes]:
    """Its bytes as they came. Raises at once where they are no longer kept."""
    path = storage.stored_file(file) if file.upload is None else storage.kept_file(file.upload)
    opened = path.open("rb")

    def blocks() -> Iterator[bytes]:
        with opened:
            yield from iter(partial(opened.read, _BLOCK_BYTES), b"")

    return blocks()


def status(file: File) -> tuple[str, str | None]:
    """uploaded, processed or error, and one sentence where no row of it could be taken. Of a file that was asked for
    `with_first_issue`."""
    upload = file.upload
    if upload is None:
        return "processed", None
    if upload.state == UploadState.IMPORTED and not _is_all_rejected(upload):
        return "processed", None
    if upload.state not in (UploadState.IMPORTED, UploadState.FAILED):
        return "uploaded", None
    line, sentence = getattr(file, "first_line", None), getattr(file, "first_sentence", None)
    if not sentence or upload.withdrawn:
        return "error", upload.failure or "No row of the file could be taken."
    return "error", f"Line {line}: {sentence}" if line else sentence


def _is_all_rejected(upload: Upload) -> bool:
    rows = int(upload.counts.get("rows", 0))
    return sum(upload.counts.get("rejected", {}).values()) >= rows


# Going


def delete(file: File, *, actor: User | None, told: Told | None = None) -> None:
    """Hide it, then take out its rows and bytes. `told`: as of a withdrawal. Once more changes nothing."""
    _require_may_delete(file, actor)
    _hide(file, actor)
    clear(file.pk, told=told)


def _require_may_delete(file: File, actor: User | None) -> None:
    if file.upload is None:
        require_role(actor, file.team, Role.CONTRIBUTOR)
    else:
        require_role(actor, file.team, uploads.who_brings(file.upload.dataset))


def was_deleted(pk: int, user: User, team: Team | None) -> bool:
    """A moment ago, by this person."""
    since = timezone.now() - REPEATED_WITHIN
    gone = File.objects.filter(pk=pk, deleted_by=user, deleted_at__gt=since)
    return (gone if team is None else gone.filter(team=team)).exists()


@transaction.atomic
def _hide(file: File, actor: User | None) -> None:
    hidden = File.objects.filter(pk=file.pk, deleted_at=None).update(deleted_at=timezone.now(), deleted_by=actor)
    if hidden:
        _tell("file.deleted", file, actor, {"upload": file.upload_id})


def clear(pk: int, *, told: Told | None = None) -> bool:
    """Of a deleted file: its rows are withdrawn, what has not begun is given up, then its bytes go where no other row
    refers to them. False where an import has to end first. Safe to repeat."""
    crash_point("file.before_clearing")
    file = due().select_related("upload__dataset__team", "upload__team", "deleted_by").filter(pk=pk).first()
    if file is None:
        return True
    if file.upload is not None and not _take_out(file.upload, file.deleted_by, told):
        return False
    _forget_bytes(file)
    return True


def due() -> QuerySet[File]:
    """Deleted files whose rows or bytes are still there."""
    return File.objects.filter(deleted_at__isnull=False, cleared_at=None)


def _take_out(upload: Upload, actor: User | None, told: Told | None) -> bool:
    for waiting in (UploadState.RECEIVED, UploadState.UNMAPPED):
        if upload.state == waiting and not uploads.give_up(upload, waiting, actor=actor):
            return False
    upload.refresh_from_db()
    if upload.state == UploadState.IMPORTING:
        return False
    live = DatasetTask.objects.filter(upload=upload).exclude(task__state=TaskState.WITHDRAWN)
    if live.exists() or WithdrawalReceipt.objects.filter(upload=upload, finished_at=None).exists():
        _withdraw(upload, actor, told)
    return True


def _withdraw(upload: Upload, actor: User | None, told: Told | None) -> None:
    """In the name of who has deleted the file; of who has left since, the platform goes on."""
    try:
        withdrawals.withdraw(upload, actor=actor, reason=DELETED, told=told)
    except Forbidden:
        withdrawals.withdraw(upload, actor=None, reason=DELETED, told=told)


@transaction.atomic
def _forget_bytes(file: File) -> None:
    if due().filter(pk=file.pk).update(cleared_at=timezone.now()):
        transaction.on_commit(partial(uploads.drop, file.team_id, file.sha256), robust=True)


def expire() -> int:
    """Delete what is past its time; returns how many."""
    over = File.objects.filter(deleted_at=None, expires_at__lte=timezone.now()).order_by("pk")[:AT_ONCE]
    for file in (found := list(over.select_related("upload__dataset__team", "team"))):
        _hide(file, None)
    return len(found)
