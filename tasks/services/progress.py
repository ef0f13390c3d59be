"""How far an import is: of the file's bytes, and how long it will take from here."""

from django.utils import timezone

from tasks.models import Upload
from tasks.states import UploadState

_TOO_EARLY = 0.02  # of the file: what a rate says before that is noise


def seconds(upload: Upload) -> float:
    """Since the import began."""
    if upload.started_at is None:
        return 0.0
    return float(((upload.finished_at or timezone.now()) - upload.started_at).total_seconds())


def share_read(upload: Upload) -> float:
    """Of the file's bytes, from 0 to 1."""
    if upload.state == UploadState.IMPORTED or not upload.bytes:
        return 1.0
    read = upload.read_bytes or (upload.offset if upload.format in ("", "jsonl") else 0)
    return min(read / upload.bytes, 1.0)


def seconds_left(upload: Upload) -> float | None:
    share = share_read(upload)
    if upload.state != UploadState.IMPORTING or not _TOO_EARLY < share < 1:
        return None
    return seconds(upload) * (1 - share) / share


def rows_per_second(upload: Upload) -> float:
    passed = seconds(upload)
    return upload.line / passed if passed > 0 else 0.0
