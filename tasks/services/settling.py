"""What follows from an upload once its rows are in: corrections take their places, a replaced dataset lets rows go.

Work of its own, behind the import: the import of a million rows stays as it is, and a kill here repeats nothing that
was done. An upload is settled when its counts say so.
"""

from contextlib import suppress

from django.db import transaction
from django.db.models import QuerySet

from tasks.models import Upload
from tasks.services import correcting, replacing, storage
from tasks.services.correcting import add_to_counts
from tasks.states import UploadMode, UploadState

SETTLED = "settled"  # the key of Upload.counts that is there from then on


def due() -> QuerySet[Upload]:
    rows: QuerySet[Upload] = Upload.objects.filter(state=UploadState.IMPORTED).exclude(counts__has_key=SETTLED)
    return rows


def settle(upload_id: int) -> bool:
    """True when it is settled now. False: it is not imported, done before, or waits for earlier uploads."""
    upload = due().select_related("dataset").filter(pk=upload_id).first()
    if upload is None or (upload.mode == UploadMode.REPLACE and replacing.blocked(upload)):
        return False
    replacing.revive(upload)
    if upload.corrects_id:
        with suppress(storage.Gone):  # its rows are in; which lines they stood for, nobody can read any more
            correcting.apply(upload)
    if upload.mode == UploadMode.REPLACE:
        replacing.apply(upload)
    return _keep(upload)


@transaction.atomic
def _keep(upload: Upload) -> bool:
    held = Upload.objects.select_for_update().get(pk=upload.pk)
    if SETTLED in held.counts or held.state != UploadState.IMPORTED:
        return False
    add_to_counts(upload.pk, {SETTLED: 1})
    return True
