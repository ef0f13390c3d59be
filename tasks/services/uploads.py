"""Receiving files of rows: bytes to disk under their hash, then one row. What a client sent is never held in memory.

services.storage has the order of steps. A .part or .ready without a writer is left over: `reap` removes it, with the
stored file where no row came to it.

The file of an upload that is withdrawn goes behind the commit. A kill in between leaves it to `manage.py prune`.
"""

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.formats import number_format

from tasks.crash import crash_point
from tasks.errors import Conflict, Invalid, NotFound, TooLarge
from tasks.models import Dataset, File, ProofRun, Upload, User
from tasks.models.events import Subject, record
from tasks.models.uploads import WITHDRAWN
from tasks.services import mapping
from tasks.services.access import require_role, who_brings
from tasks.services.storage import arriving, has_a_writer, incoming, link, lock_file, stored_file
from tasks.services.wake import wake
from tasks.states import FilePurpose, ProofState, UploadMode, UploadState

__all__ = [
    "AS_USUAL",
    "Options",
    "check",
    "drop",
    "give_up",
    "keep",
    "label_of",
    "reap",
    "receive",
    "retry",
    "stored_file",
    "withdraw",
]

MAPPED_OTHERWISE = (
    "This very file was taken with another mapping, by which its rows stay: save it with any change (a blank line at"
    " its end will do) and upload that with mode=replace, or upload the file into another dataset."
)
PIECES = (".tus", ".piece")  # which services.resumable and services.parts remove
LEFT_OVER_SECONDS = 5.0  # since the last write: a file is locked a moment after it is made


@dataclass(frozen=True, slots=True)
class Options:
    """How the rows of a file are to be taken. `mapping`: a Mapping as JSON; "auto": the guess, where it is sure; None:
    as native rows, else as this person mapped such columns before, else somebody is asked."""

    mode: str = UploadMode.APPEND
    mapping: Mapping[str, Any] | str | None = None
    corrects: int | None = None  # id of the upload whose rejected rows the file holds, corrected

    def facts(self) -> dict[str, Any]:
        return {"mode": str(self.mode), "mapping": self.mapping, "corrects": self.corrects}


AS_USUAL = Options()


def receive(
    dataset: Dataset,
    stream: Iterable[bytes],
    *,
    filename: str,
    actor: User | None,
    options: Options = AS_USUAL,
) -> tuple[Upload, bool]:
    """Store a file and queue its import. The same bytes again answer with the first upload and False: one that failed
    is tried again, one that waits for its mapping takes the mapping given now. Where another mapping is in use, one
    that is given is refused: it would change nothing."""
    require_role(actor, dataset.team, who_brings(dataset))
    check(options, dataset)
    with arriving(dataset.team_id, stream, require_size) as file:
        return keep(
            dataset, file.path, sha256=file.sha256, size=file.bytes, filename=filename, actor=actor, options=options
        )


def check(options: Options, dataset: Dataset) -> None:
    """Refuse what cannot be, before any byte is taken."""
    if options.mode not in set(UploadMode):
        raise Invalid("unknown_mode", f"mode is one of {', '.join(UploadMode)}.", "mode")
    if options.mapping is not None:
        mapping.require_usable(options.mapping)
    if options.corrects is None:
        return
    if not Upload.objects.filter(pk=options.corrects, dataset=dataset).exists():
        raise NotFound("not_found", f"{dataset} has no upload {options.corrects}: check the id.", "corrects")
    if options.mode == UploadMode.REPLACE:
        raise Invalid("corrects_and_replaces", "Corrected rows are appended: leave out mode=replace.", "mode")


def require_size(size: int) -> None:
    if size > settings.UPLOAD_MAX_BYTES:
        limit = number_format(settings.UPLOAD_MAX_BYTES, use_l10n=False, force_grouping=True)
        sentence = (
            f"The file is larger than {limit} bytes: split it into several, or have `manage.py dedup_at_scale` "
            "de-duplicate it as it is."
        )
        raise TooLarge("file_too_large", sentence, "file")


@transaction.atomic
def keep(
    dataset: Dataset,
    ready: Path,
    *,
    sha256: str,
    size: int,
    filename: str,
    actor: User | None,
    options: Options = AS_USUAL,
) -> tuple[Upload, bool]:
    """The row of a file that lies whole under its .ready name, locked by the caller."""
    lock_file(sha256)
    label = label_of(filename)
    given = {"mode": options.mode, "mapping": options.mapping, "corrects_id": options.corrects}
    upload, created = Upload.objects.get_or_create(
        dataset=dataset,
        sha256=sha256,
        defaults={"team": dataset.team, "uploaded_by": actor, "filename": label, "bytes": size, **given},
    )
    if not created and _is_mapped_otherwise(upload, options.mapping):
        ready.unlink(missing_ok=True)
        raise Conflict("mapped_otherwise", MAPPED_OTHERWISE, "mapping")
    link(ready, stored_file(upload))
    crash_point("upload.after_rename")
    transaction.on_commit(lambda: ready.unlink(missing_ok=True))
    if created:
        data = {"filename": label, "bytes": size, "sha256": sha256, "dataset": dataset.pk}
        record(
            "upload.received", subject=Subject("upload", str(upload.pk)), team=upload.team_id, actor=actor, data=data
        )
        wake("import_upload", upload.pk)
    elif _begin_again(upload, options, actor):
        upload.refresh_from_db()
    _list(upload, actor)
    return upload, created


def _list(upload: Upload, actor: User | None) -> None:
    """Among the team's files: a new one, or one that was deleted and is here again."""
    about = {"team": upload.team, "uploaded_by": actor, "filename": upload.filename, "bytes": upload.bytes}
    file, created = File.objects.get_or_create(
        upload=upload, defaults={"purpose": FilePurpose.FINE_TUNE, "sha256": upload.sha256, "kept": False, **about}
    )
    if not created and file.deleted_at is not None:
        File.objects.filter(pk=file.pk).update(deleted_at=None, deleted_by=None, cleared_at=None, expires_at=None)


def label_of(filename: str) -> str:
    """The user's name for a file, without the folders that it may name."""
    return Path(filename.replace("\\", "/").replace("\0", "")).name[:255] or "upload.jsonl"


def _is_mapped_otherwise(upload: Upload, given: Mapping[str, Any] | str | None) -> bool:
    """Whether a mapping asks for other rows than the upload has, or is about to have. "auto" asks for none, and what
    waits or has no row yet takes any."""
    if not isinstance(given, Mapping) or upload.state == UploadState.UNMAPPED:
        return False
    if upload.state == UploadState.FAILED and not upload.line:
        return False
    used = upload.mapping
    return not isinstance(used, dict) or mapping.parse(used) != mapping.parse(given)


def _begin_again(upload: Upload, options: Options, actor: User | None) -> bool:
    """The same bytes once more, where that says something: what failed is tried again (from the start and as asked now,
    where no row was kept), what waits for a mapping gets the one that came along."""
    if upload.state == UploadState.UNMAPPED and options.mapping is not None:
        mapping.confirm(upload, options.mapping, actor=actor)
        return True
    if upload.state == UploadState.IMPORTED:
        from tasks.services import replacing  # which takes over rows by way of uploads

        return replacing.bring_back(upload, actor=actor, mode=options.mode)
    anew: dict[str, Any] = {"tries": 0, "finished_at": None, "failure": ""}
    if not upload.line:
        anew |= {"format": "", "detected": {}, "mode": options.mode, "mapping": options.mapping}
        anew |= {"corrects": options.corrects, "offset": 0}
    if upload.state != UploadState.FAILED or not Upload.objects.advance(
        upload.pk, UploadState.FAILED, UploadState.RECEIVED, actor=actor, **anew
    ):
        return False
    wake("import_upload", upload.pk)
    return True


@transaction.atomic
def retry(upload: Upload, *, actor: User | None) -> None:
    """Do again what failed: the import goes on behind the last chunk that was committed, the proof likewise."""
    require_role(actor, upload.team, who_brings(upload.dataset))
    if upload.withdrawn:
        raise Conflict("withdrawn", "This upload was withdrawn: upload the same file again to have it after all.")
    anew = {"tries": 0, "finished_at": None}
    if Upload.objects.advance(upload.pk, UploadState.FAILED, UploadState.RECEIVED, actor=actor, failure="", **anew):
        wake("import_upload", upload.pk)
        return
    proof = ProofRun.objects.filter(upload=upload).first()
    if proof is None or not ProofRun.objects.advance(
        proof.pk, ProofState.REFUSED, ProofState.PENDING, actor=actor, refusals=[], **anew
    ):
        raise Conflict("not_failed", "Nothing failed here: only a failed import or a refused proof can be done again.")
    wake("prove_upload", upload.pk)


@transaction.atomic
def withdraw(upload: Upload, *, actor: User | None) -> None:
    """Give up a file that waits for its mapping: no row of it comes in, and it is no longer kept. The same bytes
    uploaded again begin anew."""
    require_role(actor, upload.team, who_brings(upload.dataset))
    if not give_up(upload, UploadState.UNMAPPED, actor=actor):
        raise Conflict(
            "not_unmapped",
            "Only a file that waits for its mapping can be withdrawn: withdraw the tasks or the dataset of one that is "
            "imported.",
        )
    now = timezone.now()
    File.objects.filter(upload=upload).update(deleted_at=now, deleted_by=actor, cleared_at=now)
    transaction.on_commit(partial(drop, upload.team_id, upload.sha256), robust=True)


def give_up(upload: Upload, state: UploadState, *, actor: User | None) -> bool:
    """End an upload of which no row has come in. False where it is not in this state."""
    ended: dict[str, Any] = {"failure": WITHDRAWN, "finished_at": timezone.now()}
    moved = Upload.objects.advance(upload.pk, state, UploadState.FAILED, actor=actor, data={"withdrawn": True}, **ended)
    return bool(moved)


@transaction.atomic
def drop(team_id: int, sha256: str) -> None:
    """Stored bytes that nobody refers to any more. Under the file's lock: the same bytes may be another dataset's, or
    be uploaded again at this very moment."""
    lock_file(sha256)
    files = File.objects.filter(team_id=team_id, sha256=sha256)
    needing = Upload.objects.filter(team_id=team_id, sha256=sha256).exclude(state=UploadState.FAILED, failure=WITHDRAWN)
    if not files.filter(cleared_at=None).exists() and not needing.exclude(file__in=files).exists():
        stored_file(Upload(team_id=team_id, sha256=sha256)).unlink(missing_ok=True)


def reap(older_than_seconds: float = LEFT_OVER_SECONDS) -> int:
    """Remove what killed uploads left over; returns how many files."""
    paths = [path for path in incoming().iterdir() if path.suffix not in PIECES]
    return sum(reap_one(path, older_than_seconds) for path in paths)


def reap_one(path: Path, older_than_seconds: float) -> bool:
    """False where it is young, has a writer, or is gone: its upload has just finished."""
    try:
        with path.open("rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime <= older_than_seconds or has_a_writer(file):
                return False
            _remove(path)
    except FileNotFoundError:
        return False
    return True


@transaction.atomic
def _remove(path: Path) -> None:
    if path.suffix == ".ready":
        team, sha256, _ = path.name.split("-")
        lock_file(sha256)
        alike: dict[str, Any] = {"team_id": team, "sha256": sha256}
        if not Upload.objects.filter(**alike).exists() and not File.objects.filter(cleared_at=None, **alike).exists():
            orphan = Upload(team_id=int(team), sha256=sha256)
            stored_file(orphan).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
