"""How the rows of a file become tasks: settled once, before the first of them is imported, by the file or a person."""

from collections.abc import Mapping
from typing import Any

import msgspec
from django.db import transaction

from tasks.errors import Conflict, Invalid
from tasks.models import Upload, User
from tasks.services.access import require_role
from tasks.services.wake import wake
from tasks.states import Role, UploadState

AUTO = "auto"


def parse(given: Mapping[str, Any]) -> Any:
    """A mapping out of JSON, or Invalid with the field that is wrong."""
    from tasks.formats import mapping as mappings  # in here: the readers of formats are needed by few requests

    try:
        return msgspec.convert(given, mappings.Mapping)
    except msgspec.ValidationError as fault:
        raise Invalid("bad_mapping", f"This is no mapping: {fault}.", "mapping") from None


def require_usable(given: Mapping[str, Any] | str) -> None:
    """`auto`, or a mapping."""
    if isinstance(given, str):
        if given != AUTO:
            raise Invalid("bad_mapping", 'Give a mapping as a JSON object, or "auto".', "mapping")
        return
    parse(given)


@transaction.atomic
def confirm(upload: Upload, given: Mapping[str, Any] | str, *, actor: User | None, remember: bool = False) -> None:
    """Say how the rows of a file are read; its import begins."""
    require_role(actor, upload.team, Role.CONTRIBUTOR)
    require_usable(given)
    if not go_on(upload, given, actor=actor):
        raise Conflict("not_unmapped", "This file does not wait for a mapping: its rows are imported already.")


def go_on(upload: Upload, given: Mapping[str, Any] | str, *, actor: User | None) -> bool:
    """Import a file that has waited for this mapping; False where it does not wait."""
    changes: dict[str, Any] = {"mapping": given, "tries": 0, "finished_at": None}
    if given == AUTO:
        changes["format"] = ""  # looked at again
    if not Upload.objects.advance(upload.pk, UploadState.UNMAPPED, UploadState.RECEIVED, actor=actor, **changes):
        return False
    wake("import_upload", upload.pk)
    return True
