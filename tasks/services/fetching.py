"""Files of a dataset at a Hugging Face hub: looked up while somebody waits, fetched by a job, then like any upload.

Until it is fetched the file is a PartialUpload whose options name where it comes from; `failure` there says why a fetch
has ended without it. The commit that was found is kept, so that a later attempt gives the same bytes.
"""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.db.models import QuerySet

from tasks.errors import FlywheelError, Invalid, Locked
from tasks.formats import hub
from tasks.models import Dataset, PartialUpload, User
from tasks.services import resumable
from tasks.services.uploads import AS_USUAL, Options
from tasks.services.wake import wake

_SHOWN_FILES = 12


def find(name: str, revision: str = "", path: str = "") -> hub.HubFile:
    """The file of a dataset that is meant: the one named, else the only one."""
    found = hub.look_up(name.strip(), revision.strip() or "main")
    chosen = [file for file in found.files if file.path == path.strip()] if path.strip() else list(found.files)
    if len(chosen) == 1:
        return chosen[0]
    known = ", ".join(file.path for file in found.files[:_SHOWN_FILES])
    more = f" and {len(found.files) - _SHOWN_FILES} others" if len(found.files) > _SHOWN_FILES else ""
    sentence = f"Name the file: {found.id} holds {known}{more}."
    raise Invalid("choose_file", sentence, "path")


def begin(dataset: Dataset, file: hub.HubFile, *, actor: User, options: Options = AS_USUAL) -> PartialUpload:
    """Have a file fetched; it becomes an upload of this dataset."""
    partial = resumable.begin(
        dataset,
        length=max(file.size, 1),  # some hubs do not tell it
        filename=Path(file.path).name,
        actor=actor,
        options=options,
        source=asdict(file),
    )
    wake("fetch_from_hub", str(partial.pk))
    return partial


def fetch(pk: str) -> None:
    """Fetch one, if nobody else does. Repeated or late calls change nothing."""
    partial = due().filter(pk=pk).select_related("dataset__team", "user").first()
    if partial is None:
        return
    try:
        with resumable.held(partial) as file:
            if due().filter(pk=pk).exists():
                _fetch(partial, file)
    except Locked:
        return
    except FlywheelError as refused:
        partial.options["failure"] = refused.sentence
        partial.save(update_fields=["options"])


def due() -> QuerySet[PartialUpload]:
    """Files that are still to be fetched."""
    waiting = PartialUpload.objects.filter(upload=None, options__has_key="source")
    return waiting.exclude(options__has_key="failure")


def _fetch(partial: PartialUpload, file: BinaryIO) -> None:
    folder = Path(settings.MEDIA_ROOT) / "fetched" / partial.pk.hex
    shutil.rmtree(folder, ignore_errors=True)  # what a killed fetch has left
    folder.mkdir(parents=True)
    try:
        path = hub.download(hub.HubFile(**partial.options["source"]), folder, max_bytes=settings.UPLOAD_MAX_BYTES)
        partial.length = path.stat().st_size
        partial.save(update_fields=["length"])
        with path.open("rb") as fetched:
            resumable.take_whole(partial, file, fetched)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
