"""Files that come in parts, side by side and in any order: their sender says at the end in which order they belong.

A part lies in incoming/<name>.piece before its row is committed, so that a row always has its bytes; a piece without a
row, or of a file that is over, goes with the sweep. Completing writes the whole as any file is written, in one
transaction with its row: after a kill the parts are still there, and completing again begins anew.
"""

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone
from django.utils.formats import number_format

from tasks.crash import crash_point
from tasks.errors import Invalid, NoSpace, NotFound, TooLarge
from tasks.models import File, FileInParts, FilePart, Team, User
from tasks.services import files, storage, uploads
from tasks.services.access import require_role
from tasks.services.storage import incoming
from tasks.services.uploads import LEFT_OVER_SECONDS
from tasks.states import PartsState, Role

LIFETIME = timedelta(hours=1)
PART_BYTES = 64 * 2**20
AT_ONCE = 20  # of a sweep
_BLOCK_BYTES = 256 * 1024
_OVER = {
    PartsState.COMPLETED: "This upload is completed already: begin another one for other bytes.",
    PartsState.CANCELLED: "This upload was cancelled: begin another one.",
    PartsState.EXPIRED: "This upload has expired, one hour after it was begun: begin another one.",
}


def begin(
    team: Team,
    *,
    size: int,
    filename: str,
    purpose: str,
    actor: User,
    mime_type: str = "",
    seconds: int | None = None,
) -> FileInParts:
    """`seconds`: how long the file shall live once it is there."""
    files.check(team, purpose, actor=actor)
    if size < 1:
        raise Invalid("empty_file", "bytes is how many the file has: at least 1.", "bytes")
    if size > settings.UPLOAD_MAX_BYTES:
        raise TooLarge("file_too_large", f"A file in parts has at most {_told(settings.UPLOAD_MAX_BYTES)}.", "bytes")
    if 2 * size > shutil.disk_usage(incoming()).free:  # the parts lie there until the whole does
        raise NoSpace("no_space", "The disk has no room for this file: tell an operator, then upload again.")
    return FileInParts.objects.create(
        team=team,
        created_by=actor,
        filename=uploads.label_of(filename),
        purpose=purpose,
        bytes=size,
        mime_type=mime_type[:255],
        seconds=seconds,
        expires_at=timezone.now() + LIFETIME,
    )


def _told(size: int) -> str:
    return f"{number_format(size, use_l10n=False, force_grouping=True)} bytes"


def add(whole: FileInParts, stream: Iterable[bytes], *, actor: User) -> FilePart:
    """One more part. Which of them are used is said in the end, so that one that was sent twice does no harm."""
    require_role(actor, whole.team, Role.CONTRIBUTOR)
    _require_pending(whole)
    name = uuid.uuid4()
    path = _piece(name)
    with path.open("xb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            _, _, size = storage.written(file, stream, _require_size)
            crash_point("parts.before_row")
            return _keep(whole, name, size)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _require_size(size: int) -> None:
    if size > PART_BYTES:
        raise TooLarge("part_too_large", f"A part has at most {_told(PART_BYTES)}: send more of them.", "data")


@transaction.atomic
def _keep(whole: FileInParts, name: uuid.UUID, size: int) -> FilePart:
    _require_pending(_locked(whole))
    here = whole.parts.aggregate(bytes=Sum("bytes"))["bytes"] or 0
    if here + size > settings.UPLOAD_MAX_BYTES:
        sentence = f"The parts of a file have at most {_told(settings.UPLOAD_MAX_BYTES)} together: begin anew."
        raise TooLarge("file_too_large", sentence, "data")
    return FilePart.objects.create(whole=whole, name=name, bytes=size)


def complete(whole: FileInParts, part_ids: Sequence[int | None], *, actor: User, md5: str | None = None) -> FileInParts:
    """Put the parts together in this order. `None` is an id that cannot be. The same again changes nothing."""
    require_role(actor, whole.team, Role.CONTRIBUTOR)
    with transaction.atomic():
        whole = _locked(whole)
        if whole.state != PartsState.COMPLETED or whole.order != list(part_ids):
            _require_pending(whole)
            _complete(whole, _chosen(whole, part_ids), actor, md5)
    return whole


def _chosen(whole: FileInParts, part_ids: Sequence[int | None]) -> list[FilePart]:
    known = {part.pk: part for part in whole.parts.all()}
    if not part_ids or not known.keys() >= set(part_ids):
        raise Invalid("unknown_part", "part_ids are the ids of parts of this upload, in their order.", "part_ids")
    if len(set(part_ids)) < len(part_ids):
        raise Invalid("part_twice", "A part is named twice in part_ids: name each once.", "part_ids")
    parts = [known[pk] for pk in part_ids if pk is not None]
    size = sum(part.bytes for part in parts)
    if size != whole.bytes:
        sentence = f"The parts have {_told(size)} together, and {_told(whole.bytes)} were announced: check part_ids."
        raise Invalid("size_differs", sentence, "part_ids")
    return parts


def _complete(whole: FileInParts, parts: Sequence[FilePart], actor: User, md5: str | None) -> None:
    """While the row is locked: another request for the same waits, and finds it completed."""
    with storage.arriving(whole.team_id, _bytes(parts), lambda size: None) as arrived:
        if md5 and md5.strip().lower() != arrived.md5:
            sentence = f"The parts have the MD5 {arrived.md5}, not the one given: send what was damaged again."
            raise Invalid("md5_differs", sentence, "md5")
        file = _file(whole, arrived, actor)
        crash_point("parts.before_commit")
        moved = FileInParts.objects.advance(
            whole.pk,
            PartsState.PENDING,
            PartsState.COMPLETED,
            actor=actor,
            data={"file": file.pk, "bytes": file.bytes},
            file=file,
            order=[part.pk for part in parts],
        )
        assert moved  # the row is locked
        whole.refresh_from_db()
        transaction.on_commit(partial(_remove_pieces, list(whole.parts.values_list("name", flat=True))), robust=True)


def _file(whole: FileInParts, arrived: storage.Arrived, actor: User) -> File:
    expires_at = timezone.now() + timedelta(seconds=whole.seconds) if whole.seconds else None
    return files.keep(
        whole.team, arrived, filename=whole.filename, purpose=whole.purpose, actor=actor, expires_at=expires_at
    )


def _bytes(parts: Iterable[FilePart]) -> Iterator[bytes]:
    for part in parts:
        with _piece(part.name).open("rb") as file:
            yield from iter(partial(file.read, _BLOCK_BYTES), b"")


@transaction.atomic
def cancel(whole: FileInParts, *, actor: User) -> FileInParts:
    """Forget its parts. Once more changes nothing."""
    require_role(actor, whole.team, Role.CONTRIBUTOR)
    whole = _locked(whole)
    if whole.state != PartsState.CANCELLED:
        _require_pending(whole)
        _end(whole, PartsState.CANCELLED, actor)
        whole.refresh_from_db()
    return whole


def state_of(whole: FileInParts) -> PartsState:
    """As it is now, also where the sweep has not been here yet."""
    is_over = whole.state == PartsState.PENDING and whole.expires_at <= timezone.now()
    return PartsState.EXPIRED if is_over else PartsState(whole.state)


def _require_pending(whole: FileInParts) -> None:
    state = state_of(whole)
    if state != PartsState.PENDING:
        raise Invalid(f"upload_{state}", _OVER[state])


def _locked(whole: FileInParts) -> FileInParts:
    known = FileInParts.objects.select_for_update(of=("self",)).select_related("team").filter(pk=whole.pk).first()
    if known is None:
        raise NotFound("not_found", "This upload is no longer known here: begin another one.")
    return known


def _end(whole: FileInParts, state: PartsState, actor: User | None) -> None:
    if FileInParts.objects.advance(whole.pk, PartsState.PENDING, state, actor=actor):
        transaction.on_commit(partial(_remove_pieces, list(whole.parts.values_list("name", flat=True))), robust=True)


def _piece(name: uuid.UUID) -> Path:
    return incoming() / f"{name.hex}.piece"


def _remove_pieces(names: Iterable[uuid.UUID]) -> None:
    for name in names:
        _piece(name).unlink(missing_ok=True)


# The sweep


def reap(older_than_seconds: float = LEFT_OVER_SECONDS) -> int:
    """End what nobody has completed in time; remove pieces that nobody can use. Returns how many files went."""
    expire()
    return sum(reap_one(path, older_than_seconds) for path in incoming().glob("*.piece"))


def expire() -> None:
    over = FileInParts.objects.filter(state=PartsState.PENDING, expires_at__lte=timezone.now()).order_by("pk")
    for pk in list(over.values_list("pk", flat=True)[:AT_ONCE]):
        with transaction.atomic():  # one that is being completed just now is let be
            if (whole := over.select_for_update(skip_locked=True).filter(pk=pk).first()) is not None:
                _end(whole, PartsState.EXPIRED, None)


def reap_one(path: Path, older_than_seconds: float) -> bool:
    """False where it is young, has a writer, is needed, or is gone."""
    try:
        with path.open("rb") as file:
            young = time.time() - os.fstat(file.fileno()).st_mtime <= older_than_seconds
            if young or storage.has_a_writer(file) or is_needed(path):
                return False
    except FileNotFoundError:
        return False
    path.unlink(missing_ok=True)
    return True


def is_needed(path: Path) -> bool:
    try:
        name = uuid.UUID(hex=path.stem)
    except ValueError:
        return False
    return FilePart.objects.filter(name=name, whole__state=PartsState.PENDING).exists()
