"""Where files lie: those on their way under incoming/, whole ones under their team and their hash.

Whoever receives bytes goes in this order, so that a kill at any step leaves nothing half-written: into
incoming/<random>.part, fsync; renamed to incoming/<team>-<sha-256>-<random>.ready; linked to its storage key; row
committed; .ready removed. The writer holds a lock on the file for as long as it lives.
"""

import errno
import fcntl
import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.db import connection

from tasks.errors import FlywheelError, Invalid, NoSpace
from tasks.models import File, Upload
from tasks.states import UploadState

ENDED = (UploadState.IMPORTED, UploadState.FAILED)
EMPTY = "The file is empty: upload rows, for example one JSON object a line."
FILE_LOCK = 0x66696C65  # advisory lock space: storing a file against reaping it


class Gone(FlywheelError):
    """It was there, and the policy of `manage.py prune` has removed it."""

    status = 410


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file that lies whole under its .ready name, locked by its writer."""

    path: Path
    team_id: int
    sha256: str
    bytes: int
    md5: str


def stored_file(of: Upload | File) -> Path:
    return Path(settings.MEDIA_ROOT) / of.storage_key


def kept_file(upload: Upload) -> Path:
    """The file as it was received. The same bytes uploaded again put it back."""
    path = stored_file(upload)
    if upload.state in ENDED and not path.exists():
        raise Gone(
            "file_pruned",
            f"The file itself is no longer kept ({settings.PRUNE_FILES_DAYS} days after its import it goes), its rows "
            "and their issues are: upload the same file again to have its rows at hand.",
        )
    return path


def incoming() -> Path:
    folder = Path(settings.MEDIA_ROOT) / "incoming"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def arriving(team_id: int, stream: Iterable[bytes], require_size: Callable[[int], None]) -> Iterator[Arrived]:
    """Bytes onto the disk. `require_size` refuses too many of them, while they come."""
    part = incoming() / f"{uuid.uuid4().hex}.part"
    with part.open("xb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            sha256, md5, size = written(file, stream, require_size)
            ready = part.with_name(f"{team_id}-{sha256}-{part.stem}.ready")
            part.rename(ready)
        finally:
            part.unlink(missing_ok=True)
        try:
            yield Arrived(ready, team_id, sha256, size, md5)
        except FlywheelError:  # refused before it was linked; what a fault leaves, `uploads.reap` looks at
            ready.unlink(missing_ok=True)
            raise


def written(file: BinaryIO, stream: Iterable[bytes], require_size: Callable[[int], None]) -> tuple[str, str, int]:
    """(sha-256, MD5, bytes) of what is on the disk then."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    try:
        for block in stream:
            size += len(block)
            require_size(size)
            sha256.update(block)
            md5.update(block)
            file.write(block)
        if not size:
            raise Invalid("empty_file", EMPTY, "file")
        file.flush()
        os.fsync(file.fileno())
    except OSError as fault:
        if fault.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                "no_space", "The disk is full: nothing was kept. Tell an operator, then upload again."
            ) from fault
        raise
    return sha256.hexdigest(), md5.hexdigest(), size


def lock_file(sha256: str) -> None:
    """Until the transaction ends: nobody else stores, or drops, a file with this hash."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [FILE_LOCK, int(sha256[:7], 16)])


def link(ready: Path, stored: Path) -> None:
    stored.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(ready, stored)
    except FileExistsError:  # the same bytes under another row of the team
        return
    for folder in (stored.parent, stored.parent.parent, stored.parent.parent.parent):
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def has_a_writer(file: BinaryIO) -> bool:
    """The kernel drops a process's locks with the process, however that ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
