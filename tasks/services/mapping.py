"""How the rows of a file become tasks: settled once, before the first of them is imported, by the file or a person.

The importer asks `look` before it reads a file for the first time. It takes, in this order: the mapping that came with
the upload; the one of the upload whose rows this file corrects; rows that are native; what this person chose for the
same columns before; and, where the upload asked for it ("auto"), a guess that is sure. Otherwise the upload waits,
unmapped, until somebody says what its columns are (`confirm`). A stored file that is gone raises FileNotFoundError.
"""

import hashlib
import json
from collections.abc import Mapping as Values
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec
from django.db import transaction
from django.utils import timezone

from tasks.errors import Conflict, Invalid
from tasks.models import RowIssue, SavedMapping, Upload, User
from tasks.models.events import Subject, record
from tasks.services import leases
from tasks.services.access import require_role, who_brings
from tasks.services.storage import stored_file
from tasks.services.wake import wake
from tasks.states import UploadState
from tasks.types import Issue, Row

if TYPE_CHECKING:  # the readers of formats are needed by few requests
    from tasks.formats.mapping import Mapping
    from tasks.formats.source import Detected

AUTO = "auto"
KEPT_ROWS = 5  # of the head, for previews
_KEPT_CHARACTERS = 2000  # of a text: its beginning and its end
_KEPT_ENTRIES = 50  # of a list or an object
_KEPT_DEPTH = 6


class By(StrEnum):
    """What settled a mapping."""

    GIVEN = "given"  # with the upload, or confirmed by a person
    CORRECTED = "corrected"  # the mapping of the upload whose rows this one corrects
    NATIVE = "native"  # rows that need none
    REMEMBERED = "remembered"  # what this person chose for these columns the last time
    GUESSED = "guessed"  # a dialect that is sure, taken because the upload said "auto"


# Before the import


def look(upload: Upload) -> "Mapping | None":
    """Read the head of a file that an importer has claimed and settle its mapping. None: it waits or has failed."""
    from tasks.formats import source

    found = source.detect(stored_file(upload), upload.filename)
    if found.problem is not None:
        _fail(upload, found.problem)
        return None
    seen = described(found)
    settled = _settled(upload, found, seen)
    about = {**seen, "by": settled[1] if settled else None}
    if settled is None:
        _wait(upload, found.format, about)
        return None
    chosen = in_order(settled[0], [column.name for column in found.columns])
    _take(upload, found.format, about, chosen)
    return chosen


def _settled(upload: Upload, found: "Detected", seen: Values[str, Any]) -> "tuple[Mapping, By] | None":
    from tasks.formats import mapping as mappings

    names = [column.name for column in found.columns]
    given = upload.mapping if isinstance(upload.mapping, dict) else None
    if given is not None:
        chosen = parse(given)
        return (chosen, By.GIVEN) if not mappings.problems(chosen, names) else None
    if upload.corrects is not None and isinstance(upload.corrects.mapping, dict):
        return parse(upload.corrects.mapping), By.CORRECTED
    if not names:  # not one row can be read: each says so itself
        return mappings.NATIVE, By.NATIVE
    if found.confident and found.dialect in ("native", "openai_rft"):
        return found.mapping, By.NATIVE
    if (known := remembered(upload.uploaded_by, seen)) is not None:
        if upload.dataset.default_grader_id:  # the grader was chosen for a dataset that had none
            known = msgspec.structs.replace(known, grader=None)
        return known, By.REMEMBERED
    return (found.mapping, By.GUESSED) if upload.mapping == AUTO and found.confident else None


@transaction.atomic
def _take(upload: Upload, format: str, about: Values[str, Any], chosen: "Mapping") -> None:
    held = Upload.objects.filter(pk=upload.pk, state=UploadState.IMPORTING, attempt=upload.attempt)
    given = msgspec.to_builtins(chosen)
    if not held.update(format=format, detected=about, mapping=given):
        raise leases.FencedOff
    upload.format, upload.detected, upload.mapping = format, dict(about), given
    data = {"format": format, "dialect": chosen.dialect, "by": about["by"]}
    record("upload.mapped", subject=Subject("upload", str(upload.pk)), team=upload.team_id, data=data)


def _wait(upload: Upload, format: str, about: Values[str, Any]) -> None:
    rest: dict[str, Any] = {"tries": 0, "lease_until": None, "started_at": None}
    if not Upload.objects.advance(
        upload.pk,
        UploadState.IMPORTING,
        UploadState.UNMAPPED,
        attempt=upload.attempt,
        data={"format": format, "dialect": about["dialect"]},
        format=format,
        detected=about,
        **rest,
    ):
        raise leases.FencedOff


@transaction.atomic
def _fail(upload: Upload, fault: Issue) -> None:
    sentence = f"{fault.sentence} {fault.remedy}"
    ended = {"failure": sentence[:500], "finished_at": timezone.now()}
    if not Upload.objects.advance(
        upload.pk, UploadState.IMPORTING, UploadState.FAILED, attempt=upload.attempt, **ended
    ):
        raise leases.FencedOff
    RowIssue.objects.filter(upload=upload, line=0).delete()
    told = {"code": fault.code, "sentence": fault.sentence, "remedy": fault.remedy, "value": fault.value}
    RowIssue.objects.create(upload=upload, line=0, field=fault.field, **told)


def described(found: "Detected") -> dict[str, Any]:
    """What a file is, as JSON: for its page, its preview and the next look at it."""
    from tasks.formats import mapping as mappings

    names = [column.name for column in found.columns]
    return {
        "layout": msgspec.to_builtins(found.layout),
        "columns": [{"name": column.name, "values": list(column.values)} for column in found.columns],
        "sample": [shortened(row) for row in found.sample[:KEPT_ROWS]],
        "dialect": found.dialect,
        "guess": msgspec.to_builtins(found.mapping),
        "confident": found.confident,
        "grader": mappings.guess(names, found.sample).grader if names else None,
        "rows": found.rows,
        "notes": list(found.notes),
    }


def shortened(value: Any, depth: int = 0) -> Any:
    """A row's value, small enough to be kept with the upload: the middle of long texts is left out."""
    if isinstance(value, str):
        half = _KEPT_CHARACTERS // 2
        return value if len(value) <= _KEPT_CHARACTERS else f"{value[:half]} … {value[-half:]}"
    if depth > _KEPT_DEPTH and isinstance(value, dict | list):
        return "…"
    if isinstance(value, dict):
        return {name[:200]: shortened(part, depth + 1) for name, part in list(value.items())[:_KEPT_ENTRIES]}
    if isinstance(value, list):
        return [shortened(part, depth + 1) for part in value[:_KEPT_ENTRIES]]
    return value


def of(upload: Upload) -> "Mapping":
    """The mapping that was settled for this upload: what `look` has returned, at every later time."""
    return in_order(parse(upload.mapping or {"dialect": "native"}), names_of(upload))


def in_order(chosen: "Mapping", names: Sequence[str]) -> "Mapping":
    """Columns in the order of the file, in which the parts of a prompt are joined: JSON in the database keeps none."""
    place = {name: number for number, name in enumerate(names)}
    columns = dict(sorted(chosen.columns.items(), key=lambda pair: (place.get(pair[0], len(place)), pair[0])))
    return msgspec.structs.replace(chosen, columns=columns)


# A person's choice


def parse(given: Values[str, Any]) -> "Mapping":
    """A mapping out of JSON, or Invalid with the field that is wrong."""
    from tasks.formats import mapping as mappings

    try:
        return msgspec.convert(given, mappings.Mapping)
    except msgspec.ValidationError as fault:
        raise Invalid("bad_mapping", f"This is no mapping: {fault}.", "mapping") from None


def require_usable(given: Values[str, Any] | str) -> None:
    """`auto`, or a mapping whose targets make a task."""
    from tasks.formats import mapping as mappings

    if isinstance(given, str):
        if given != AUTO:
            raise Invalid("bad_mapping", 'Give a mapping as a JSON object, or "auto".', "mapping")
        return
    if problems := mappings.problems(parse(given), ()):
        raise Invalid("bad_mapping", " ".join(problems), "mapping")


def problems(upload: Upload, chosen: "Mapping") -> list[str]:
    """What is wrong with a mapping for this file, in sentences."""
    from tasks.formats import mapping as mappings

    return mappings.problems(chosen, names_of(upload))


def names_of(upload: Upload) -> list[str]:
    return [column["name"] for column in upload.detected.get("columns", ())]


def proposal(upload: Upload) -> "Mapping":
    """What its page begins with: what came with it, else what was guessed."""
    given = upload.mapping if isinstance(upload.mapping, dict) else upload.detected.get("guess")
    return in_order(parse(given or {"dialect": "native"}), names_of(upload))


@transaction.atomic
def confirm(upload: Upload, given: Values[str, Any] | str, *, actor: User | None, remember: bool = False) -> None:
    """Say how the rows of a file are read; its import begins. Remembered for files with the same columns."""
    require_role(actor, upload.team, who_brings(upload.dataset))
    require_usable(given)
    if isinstance(given, Values):
        if wrong := problems(upload, parse(given)):
            raise Invalid("bad_mapping", " ".join(wrong), "mapping")
        if remember and actor is not None:
            _remember(actor, upload.detected, given)
    if not go_on(upload, given, actor=actor):
        upload.refresh_from_db(fields=["state", "failure"])
        read = "This file does not wait for a mapping: its rows are read already."
        raise Conflict("not_unmapped", upload.failure if upload.withdrawn else read)


def go_on(upload: Upload, given: Values[str, Any] | str, *, actor: User | None) -> bool:
    """Import a file that has waited for this mapping; False where it does not wait."""
    changes: dict[str, Any] = {"mapping": given, "tries": 0, "finished_at": None}
    about = {"dialect": AUTO if isinstance(given, str) else given.get("dialect", "columns")}
    if isinstance(given, str):
        changes["format"] = ""  # looked at again
    else:
        changes["detected"] = {**upload.detected, "by": By.GIVEN}
    if not Upload.objects.advance(
        upload.pk, UploadState.UNMAPPED, UploadState.RECEIVED, actor=actor, data=about, **changes
    ):
        return False
    wake("import_upload", upload.pk)
    return True


def remembered(user: User | None, seen: Values[str, Any]) -> "Mapping | None":
    """What this person chose for such a file before, where it still holds."""
    from tasks.formats import mapping as mappings

    saved = SavedMapping.objects.filter(user=user, columns=_alike(seen)).first() if user else None
    if saved is None:
        return None
    try:
        chosen = parse(saved.mapping)
    except Invalid:
        return None
    return None if mappings.problems(chosen, [column["name"] for column in seen["columns"]]) else chosen


def _remember(user: User, seen: Values[str, Any], given: Values[str, Any]) -> None:
    SavedMapping.objects.update_or_create(user=user, columns=_alike(seen), defaults={"mapping": dict(given)})


def _alike(seen: Values[str, Any]) -> str:
    """The same for files with the same columns that look alike: ten tests may share two columns, and one of them lists
    choices while another asks for a number."""
    names = sorted(column["name"] for column in seen["columns"])
    looks = [names, seen.get("guess"), seen.get("grader")]
    return hashlib.blake2b(json.dumps(looks, sort_keys=True).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Previewed:
    """A row as it stands and as it would be read."""

    line: int
    raw: dict[str, Any]
    row: Row | None
    issues: Sequence[Issue]


def preview(upload: Upload, chosen: "Mapping | None") -> list[Previewed]:
    """The first rows under a mapping, or alone; nothing is stored. Long texts are cut, as they were kept."""
    from tasks.formats import mapping as mappings
    from tasks.validation import validate

    names = names_of(upload)
    rows = [{name: raw[name] for name in [*names, *raw] if name in raw} for raw in upload.detected.get("sample", ())]
    sample = list(enumerate(rows, 1))
    if chosen is None:
        return [Previewed(line, raw, None, ()) for line, raw in sample]
    default = upload.dataset.default_grader.config if upload.dataset.default_grader else None
    read = mappings.compiled(in_order(chosen, names))
    shown = []
    for line, raw in sample:
        native = read(raw, line)
        found = [native] if isinstance(native, Issue) else validate(native, line=line, default=default)
        shown.append(Previewed(line, raw, *((None, found) if isinstance(found, list) else (found, ()))))
    return shown
