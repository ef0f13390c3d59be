"""Files that come in pieces: what has arrived stays, however the connection, the browser or the server ends.

The bytes lie in incoming/<id>.tus, and the size of that file is the offset: there is no second count that could differ.
Whoever writes holds the file's lock. With the last byte, under the lock: hashed; linked as .ready and to its storage
key; committed, both rows together; .ready and .tus removed. A kill in between leaves a whole .tus, which the next
request or the sweep finishes. The bytes are never copied.
"""

import base64
import binascii
import errno
import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from tasks.crash import crash_point
from tasks.errors import Busy, Conflict, Damaged, Forbidden, Invalid, Locked, NoSpace, NotFound, TooLarge
from tasks.models import Dataset, PartialUpload, User
from tasks.services import uploads
from tasks.services.access import require_role, who_brings
from tasks.services.storage import EMPTY, has_a_writer, incoming
from tasks.services.uploads import AS_USUAL, LEFT_OVER_SECONDS, Options

MAX_UNFINISHED = 100  # of one person
CHECKSUMS = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "md5": hashlib.md5}
_BLOCK_BYTES = 1 << 20


def begin(
    dataset: Dataset,
    *,
    length: int,
    filename: str,
    actor: User,
    options: Options = AS_USUAL,
    source: Mapping[str, Any] | None = None,
) -> PartialUpload:
    """A file of this many bytes is going to come; `source`: from where services.fetching gets it."""
    require_role(actor, dataset.team, who_brings(dataset))
    uploads.check(options, dataset)
    if length < 1:
        raise Invalid("empty_file", EMPTY, "Upload-Length")
    uploads.require_size(length)
    if length > shutil.disk_usage(incoming()).free:
        raise NoSpace("no_space", "The disk has no room for this file: tell an operator, then upload again.")
    if PartialUpload.objects.filter(user=actor, upload=None).count() >= MAX_UNFINISHED:
        raise Busy(
            "too_many_unfinished", f"{MAX_UNFINISHED} of your uploads are unfinished: finish or delete some first."
        )
    return PartialUpload.objects.create(
        dataset=dataset,
        user=actor,
        filename=uploads.label_of(filename),
        length=length,
        options=options.facts() | ({"source": dict(source)} if source else {}),
        expires_at=_expiry(),
    )


def _expiry() -> datetime:
    return timezone.now() + timedelta(hours=settings.UPLOAD_RESUME_HOURS)


def unfinished(user: User) -> list[tuple[PartialUpload, int]]:
    """(file on its way, bytes that are here), the newest first; those of datasets that the person still sees."""
    rows = PartialUpload.objects.filter(user=user, upload=None, dataset__in=Dataset.objects.for_user(user))
    return [(partial, offset(partial)) for partial in rows.select_related("dataset__team").order_by("-created_at")[:10]]


def offset(partial: PartialUpload) -> int:
    """How many of its bytes are here."""
    if partial.upload_id is not None:
        return int(partial.length)
    try:
        return _file(partial).stat().st_size
    except FileNotFoundError:
        return 0


def _file(partial: PartialUpload) -> Path:
    return incoming() / f"{partial.pk.hex}.tus"


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a piece must hash to, or none of it is kept."""

    algorithm: str
    digest: bytes

    @classmethod
    def parse(cls, header: str) -> "Checksum":
        """ "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=" """
        algorithm, _, encoded = header.strip().partition(" ")
        if algorithm not in CHECKSUMS:
            raise Invalid("unknown_checksum", f"Checksums are {', '.join(CHECKSUMS)}.", "Upload-Checksum")
        try:
            return cls(algorithm, base64.b64decode(encoded, validate=True))
        except binascii.Error:
            raise Invalid("unknown_checksum", "The checksum is not base64.", "Upload-Checksum") from None


def append(
    partial: PartialUpload, stream: Iterable[bytes], *, at: int, actor: User, checksum: Checksum | None = None
) -> PartialUpload:
    """The bytes from `at` on. Whatever arrives before a fault is kept, unless a checksum was given for all of it.

    The last byte makes it an Upload; the same call again changes nothing.
    """
    require_role(actor, partial.dataset.team, who_brings(partial.dataset))
    if partial.upload_id is None:
        with held(partial) as file:
            partial = _known(partial)
            if partial.upload_id is None:
                _append(partial, file, stream, at, checksum)
                return partial
    if at != partial.length:
        raise _elsewhere(partial.length)
    return partial


def _append(
    partial: PartialUpload, file: BinaryIO, stream: Iterable[bytes], at: int, checksum: Checksum | None
) -> None:
    here = file.seek(0, os.SEEK_END)
    if at != here:
        raise _elsewhere(here)
    PartialUpload.objects.filter(pk=partial.pk).update(expires_at=_expiry())
    _write(file, stream, room=partial.length - here, checksum=checksum)
    if file.tell() == partial.length:
        _finish(partial, file)


def take_whole(partial: PartialUpload, file: BinaryIO, fetched: BinaryIO) -> None:
    """All of its bytes at once, for whoever holds the file."""
    file.truncate(0)
    _write(file, iter(lambda: fetched.read(_BLOCK_BYTES), b""), room=partial.length, checksum=None)
    _finish(partial, file)


def _elsewhere(here: int) -> Conflict:
    return Conflict("offset_differs", f"{here} bytes of the file are here: go on from there.", "Upload-Offset")


@contextmanager
def held(partial: PartialUpload) -> Iterator[BinaryIO]:
    """The file, locked. Unbuffered: what a kill may lose is what was not read yet."""
    with _file(partial).open("ab", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(
                "piece_under_way", "Another request sends this file just now: ask again in a moment."
            ) from None
        yield file


def _known(partial: PartialUpload) -> PartialUpload:
    """As it is now that the file is locked."""
    known = PartialUpload.objects.select_related("dataset__team").filter(pk=partial.pk).first()
    if known is None:
        _file(partial).unlink(missing_ok=True)
        raise NotFound("not_found", "This upload was given up or has expired: begin it anew.")
    return known


def _write(file: BinaryIO, stream: Iterable[bytes], *, room: int, checksum: Checksum | None) -> None:
    """Onto the disk, also where the stream breaks."""
    before = file.tell()
    try:
        try:
            _copy(file, stream, room, checksum)
        except BaseException:
            if checksum is not None:
                file.truncate(before)
            raise
        finally:
            os.fsync(file.fileno())
    except OSError as fault:
        if fault.errno in (errno.ENOSPC, errno.EDQUOT):
            sentence = "The disk is full: what has arrived is kept. Tell an operator, then go on."
            raise NoSpace("no_space", sentence) from fault
        raise


def _copy(file: BinaryIO, stream: Iterable[bytes], room: int, checksum: Checksum | None) -> None:
    digest = CHECKSUMS[checksum.algorithm]() if checksum else None
    for block in stream:
        room -= len(block)
        if room < 0:
            raise TooLarge("more_than_announced", "The file is longer than its Upload-Length said.", "Upload-Length")
        view = memoryview(block)
        while view:
            view = view[file.write(view) :]
        if digest is not None:
            digest.update(block)
        crash_point("upload.in_piece")
    if checksum is not None and digest is not None and digest.digest() != checksum.digest:
        raise Damaged("checksum_differs", "The piece was damaged on its way: send it again.", "Upload-Checksum")


def _finish(partial: PartialUpload, file: BinaryIO) -> None:
    """The whole file becomes an Upload: see the top of this module for the order."""
    path, team = _file(partial), partial.dataset.team_id
    sha256 = _sha256(path)
    ready = path.with_name(f"{team}-{sha256}-{partial.pk.hex}.ready")
    ready.unlink(missing_ok=True)
    ready.hardlink_to(path)
    with transaction.atomic():
        upload, _ = uploads.keep(
            partial.dataset,
            ready,
            sha256=sha256,
            size=partial.length,
            filename=partial.filename,
            actor=partial.user,
            options=Options(*(partial.options[name] for name in ("mode", "mapping", "corrects"))),
        )
        PartialUpload.objects.filter(pk=partial.pk).update(upload=upload)
        transaction.on_commit(lambda: path.unlink(missing_ok=True))
    partial.upload = upload


def _sha256(path: Path) -> str:
    """Read once more: a hash that was kept while streaming would be lost with every interruption."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def give_up(partial: PartialUpload, *, actor: User) -> None:
    """Forget it and its bytes. An upload that has come of it stays."""
    require_role(actor, partial.dataset.team, who_brings(partial.dataset))
    with held(partial):
        PartialUpload.objects.filter(pk=partial.pk).delete()
        _file(partial).unlink(missing_ok=True)


def reap(older_than_seconds: float = LEFT_OVER_SECONDS) -> int:
    """Finish what is whole, remove what nobody has gone on with in time; returns how many files were removed."""
    removed = sum(reap_one(path, older_than_seconds) for path in incoming().glob("*.tus"))
    _forget_expired()
    return removed


def reap_one(path: Path, older_than_seconds: float) -> bool:
    """True: it was nobody's, or too old, and is gone."""
    try:
        with path.open("rb") as file:
            idle = time.time() - os.fstat(file.fileno()).st_mtime
            return idle > older_than_seconds and not has_a_writer(file) and _settle(path, file)
    except FileNotFoundError:
        return False


def is_over(path: Path) -> bool:
    """Whether nobody can go on with a file that came in pieces, and it does not wait to become an upload."""
    partial = PartialUpload.objects.filter(pk=name).first() if (name := _id(path)) else None
    if partial is None or partial.upload_id is not None:
        return True
    return offset(partial) != partial.length and partial.expires_at <= timezone.now()


def _settle(path: Path, file: BinaryIO) -> bool:
    """True: the file is gone."""
    known = PartialUpload.objects.select_related("dataset__team", "user")
    partial = known.filter(pk=name).first() if (name := _id(path)) else None
    if partial is not None and partial.upload_id is None:
        whole = os.fstat(file.fileno()).st_size == partial.length
        if whole and _is_taken(partial, file):
            return False
        if not whole and partial.expires_at > timezone.now():
            return False
        partial.delete()
    path.unlink(missing_ok=True)
    return True


def _is_taken(partial: PartialUpload, file: BinaryIO) -> bool:
    """False where its bytes cannot become an Upload as they were asked to, now or later: its last request was told."""
    try:
        _finish(partial, file)
    except (Conflict, Forbidden, Invalid):
        return False
    return True


def _id(path: Path) -> uuid.UUID | None:
    try:
        return uuid.UUID(hex=path.stem)
    except ValueError:
        return None


def _forget_expired() -> None:
    """Rows whose file is gone, or has never come."""
    for partial in PartialUpload.objects.filter(expires_at__lt=timezone.now())[:100]:
        if not _file(partial).exists():
            partial.delete()
