"""Held-out suites: the model side registers the prompts on which it measures, and no training task may repeat them.

From its registration on a suite binds every import (`generation`, `index_of`). What is stored already is compared with
it in chunks, each a transaction under the space's lock that keeps how far it came: at once where the space is small,
else by a job that a kill or a lost message only delays. Until it is through nothing new is mixed (`require_scanned`):
a contaminated task reaches no mixture that is built after the suite was frozen. Sealed tasks are what suites are made
of, and are never touched.

An item that is held out no longer is released: it binds nobody from then on (sealing).

Wrappers come off both sides, the built-in ones and those that the suite's own space has approved: a suite binds its
space only, whose tasks lose the same. After an approval the suites that hold the line are compared once more
(wrapping); what was found about a task before is not found again, so that a person's answer to an appeal stands.
"""

import os
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

import msgspec
import numpy as np
from django.db import transaction
from django.db.models import Count, F, Max, Sum
from django.utils import timezone
from xxhash import xxh3_64_hexdigest

from tasks.crash import crash_point
from tasks.dedup import contamination, fingerprint, grams, signature, suites, wrappers
from tasks.dedup.contamination import HeldOut, Index, Overlap, Verdict
from tasks.dedup.wrappers import Wrappers
from tasks.errors import Conflict
from tasks.formats.codes import CODES
from tasks.models import HeldOutItem, HeldOutSuite, Task, TaskFinding, Team
from tasks.models.events import Subject, record
from tasks.preparation import approved
from tasks.services import wrapping
from tasks.services.copying import copy_rows, lock_space
from tasks.services.wake import wake
from tasks.services.walking import tasks_after
from tasks.states import TASK_MOVES, Split, TaskState
from tasks.text import NORM_VERSION, folded
from tasks.types import Message

CHUNK = 2000  # tasks compared in one transaction: well under a second
FEWEST_TOKENS = 5  # of an item without its wrappers: a shorter one is not looked for inside other texts
AT_ONCE = 10_000  # stored tasks up to which a registration compares them itself
_FINDING_COLUMNS = ("task_id", "kind", "rule", "other", "similarity", "evidence")
_encode = msgspec.json.Encoder().encode


@transaction.atomic
def register(space: Team, digest: str, name: str, prompts: Iterable[Sequence[Message]]) -> HeldOutSuite:
    """Keep the items of a frozen suite, and reject stored tasks that repeat them outside the sealed split.

    The same digest again is the suite that is there.
    """
    lock_space(space.pk)
    suite, created = HeldOutSuite.objects.get_or_create(space=space, digest=digest, defaults={"name": name[:120]})
    if not created:
        return suite
    items = {keys.exact_key: keys.folded for keys in map(fingerprint.fingerprint, prompts)}
    rows = ((suite.pk, space.pk, key, text) for key, text in sorted(items.items()))
    copy_rows("tasks_heldoutitem", ("suite_id", "space_id", "exact_key", "folded"), rows)
    data = {"name": suite.name, "digest": digest, "keys": len(items)}
    record("heldoutsuite.registered", subject=Subject("heldoutsuite", str(suite.pk)), team=space.pk, data=data)
    if len(list(islice(tasks_after(space.pk, 0, AT_ONCE + 1), AT_ONCE + 1))) > AT_ONCE:
        wake("rescan_suite", suite.pk)
    else:
        _scan(suite)
        suite.refresh_from_db()
    return suite


# What imports ask


def generation(space_id: int) -> int:
    """Rises with every suite of the space and with every item released; 0: there are none. Read under the space's lock
    it cannot change any more."""
    known = HeldOutSuite.objects.filter(space=space_id).aggregate(newest=Max("pk"), released=Sum("released"))
    return int(known["newest"] or 0) + int(known["released"] or 0)


def index_of(space_id: int) -> Index:
    """All suites of a space, as tasks are compared with them."""
    return _index(space_id, generation(space_id), wrapping.texts_of(space_id))


def index_file(space_id: int, folder: Path) -> Path | None:
    """The same for helper processes: a file that is written once a generation, set of wrappers and version of what is
    in it. None: there are no suites. Its name ends in the generation."""
    newest = generation(space_id)
    if not newest:
        return None
    own = wrapping.texts_of(space_id)
    made_by = f"{suites.VERSION}.{signature.BANDS_VERSION}.{NORM_VERSION}"
    known = xxh3_64_hexdigest("\n".join((made_by, *own)).encode())
    path = folder / f"suites-{space_id}-{known}-{newest}"
    if not path.exists():
        with NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(_index(space_id, newest, own).to_bytes())
        os.replace(file.name, path)
    return path


@lru_cache(maxsize=8)
def _index(space_id: int, newest: int, own: tuple[str, ...]) -> Index:
    """`newest` is the generation: what came after it in between only makes an index that nobody asks for again."""
    return _built(HeldOutItem.objects.filter(space=space_id), approved(own))


@lru_cache(maxsize=2)
def _index_of_suite(suite_id: int, released: int, own: tuple[str, ...]) -> Index:
    return _built(HeldOutItem.objects.filter(suite=suite_id), approved(own))


def _built(items: Any, known: Wrappers) -> Index:
    """Wrappers are taken off, as they are from the tasks."""
    rows = items.order_by("pk").values_list("pk", "exact_key", "folded")
    return Index.build(HeldOut(pk, key, _bare(text, known)) for pk, key, text in rows.iterator(chunk_size=CHUNK))


def _bare(text: str, known: Wrappers) -> str:
    """An item without its wrappers, unless too little is left to be looked for inside other texts."""
    bare, names = wrappers.strip(text, known)
    return bare if not names or len(grams.words(bare)) >= FEWEST_TOKENS else text


def release(space_id: int, keys: Collection[str]) -> int:
    """Items with these exact keys bind imports no more; how many there were. The caller holds the space's lock, within
    its own transaction and event: what is prepared with the old index is prepared again (`generation`)."""
    let_go = HeldOutItem.objects.filter(space=space_id, exact_key__in=list(keys))
    counted = let_go.order_by().values_list("suite").annotate(n=Count("pk"))
    for suite, count in sorted(counted):
        HeldOutSuite.objects.filter(pk=suite).update(released=F("released") + count)
    return int(let_go.delete()[0])


def require_scanned(space_id: int) -> None:
    if unscanned(space_id).exists():
        raise Conflict(
            "suite_scan_running", "A new held-out suite is being compared with the stored tasks: try again in a minute."
        )


def unscanned(space_id: int | None = None) -> Any:
    """Suites that have not been compared with all stored tasks yet."""
    rows = HeldOutSuite.objects.filter(scanned_at=None)
    return rows if space_id is None else rows.filter(space=space_id)


# A new suite against what is stored


class _Stored(NamedTuple):
    pk: int
    state: str
    exact_key: str
    messages: list[dict[str, str]]
    bands: bytes | None


def rescan(suite_id: int) -> None:
    """Compare a suite with what is stored, from where the last call was killed. Late or repeated calls do nothing."""
    while _scan_chunk(suite_id):
        crash_point("heldout.after_chunk")


def _scan(suite: HeldOutSuite) -> None:
    while _scan_chunk(suite.pk):
        pass


@transaction.atomic
def _scan_chunk(suite_id: int) -> bool:
    """True while there may be more."""
    found = HeldOutSuite.objects.filter(pk=suite_id, scanned_at=None).first()
    if found is None:
        return False
    lock_space(found.space_id)  # before the suite's row, as everywhere
    suite = HeldOutSuite.objects.select_for_update().get(pk=suite_id)
    if suite.scanned_at is not None:
        return False
    pks = list(islice(tasks_after(suite.space_id, suite.scanned, CHUNK), CHUNK))
    if pks:
        suite.scanned = pks[-1]
        _compare(suite, pks)
    if len(pks) < CHUNK:
        suite.scanned_at = timezone.now()
    suite.save(update_fields=["scanned", "scanned_at"])
    return suite.scanned_at is None


def _compare(suite: HeldOutSuite, pks: Sequence[int]) -> None:
    columns = Task.objects.filter(pk__in=pks).exclude(split=Split.SEALED).order_by("pk")
    rows = [_Stored(*row) for row in columns.values_list(*_Stored._fields)]
    own = wrapping.texts_of(suite.space_id)
    texts = [_text(row, approved(own)) for row in rows]
    probed = _index_of_suite(suite.pk, suite.released, own).probe(
        texts, [row.exact_key for row in rows], _bands(rows, texts)
    )
    told = _told(pks)
    overlaps = {
        row.pk: overlap
        for row, overlap in zip(rows, probed, strict=True)
        if overlap is not None and (row.pk, overlap.item, overlap.verdict) not in told
    }
    kept = {pk: overlap for pk, overlap in overlaps.items() if overlap.verdict is not Verdict.SIBLING}
    copy_rows("tasks_taskfinding", _FINDING_COLUMNS, (_finding(suite, pk, found) for pk, found in kept.items()))
    rejected = _reject(suite, [pk for pk, found in kept.items() if found.verdict is Verdict.CONTAMINATED])
    if overlaps:
        counted = {"rejected": rejected, "found": len(kept), "siblings": len(overlaps) - len(kept), "to": pks[-1]}
        record(
            "heldoutsuite.compared", subject=Subject("heldoutsuite", str(suite.pk)), team=suite.space_id, data=counted
        )


def _told(pks: Sequence[int]) -> set[tuple[int, int, str]]:
    """(task, item, verdict) of what was found before: at its import, or when the suite was compared already."""
    rows = TaskFinding.objects.filter(task__pk__any_of=list(pks), kind=TaskFinding.Kind.OVERLAP)
    return {(pk, found.get("item"), found.get("verdict")) for pk, found in rows.values_list("task_id", "evidence")}


def _text(row: _Stored, known: Wrappers) -> str:
    return wrappers.strip(folded(Message(**message) for message in row.messages), known)[0]


def _bands(rows: Sequence[_Stored], texts: Sequence[str]) -> np.ndarray:
    """As stored; computed where a row has none, or has them of another making."""
    found = np.zeros((len(rows), signature.BANDS), dtype=np.uint64)
    usable = [row.bands is not None and len(row.bands) == signature.STORED_BYTES for row in rows]
    stored = b"".join(bytes(row.bands) for row, own in zip(rows, usable, strict=True) if own and row.bands is not None)
    found[usable] = signature.unpacked(stored)[:, : signature.BANDS]
    missing = [position for position, own in enumerate(usable) if not own]
    if missing:
        found[missing] = contamination.bands_of([texts[position] for position in missing])
    return found


def _finding(suite: HeldOutSuite, pk: int, overlap: Overlap) -> tuple[Any, ...]:
    return (
        pk,
        TaskFinding.Kind.OVERLAP,
        overlap.rule,
        None,
        overlap.share,
        _encode(evidence(suite.name, overlap)).decode(),
    )


def evidence(suite: str, overlap: Overlap) -> dict[str, Any]:
    """What a person is shown: of the suite its name only, of the text what the task itself says."""
    return {"suite": suite, "item": overlap.item, "verdict": overlap.verdict.value, "shared": overlap.shared}


def _reject(suite: HeldOutSuite, pks: Sequence[int]) -> int:
    """Also what somebody is proving or reviewing at this moment: its row is locked first. What is rejected stays so."""
    locked = Task.objects.select_for_update().filter(pk__in=pks).order_by("pk").values_list("pk", "state")
    by_state: dict[TaskState, list[int]] = {}
    for pk, state in locked:
        by_state.setdefault(TaskState(state), []).append(pk)
    changes: dict[str, Any] = {
        "reason": CODES["contaminated"].sentence,
        "reason_code": "contaminated",
        "approved_at": None,
    }
    moved = 0
    for state, group in sorted(by_state.items()):
        if TaskState.REJECTED in TASK_MOVES[state]:
            done = Task.objects.advance_many(group, state, TaskState.REJECTED, team=suite.space_id, **changes)
            moved += len(done)
    return moved
