"""Stored tasks that a row may be a near copy of: the index of a space's bands, kept up with the database, and the few
tasks that are worth comparing as texts."""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from threading import get_ident
from typing import Any, NamedTuple

import msgspec
import numpy as np
from django.conf import settings
from django.db import connection
from numpy.typing import NDArray

from tasks.dedup import wrappers
from tasks.dedup.bands import BandIndex
from tasks.dedup.families import Near
from tasks.dedup.signature import STORED_BYTES, unpacked
from tasks.models import Team
from tasks.states import TaskState
from tasks.text import NORM_VERSION, folded
from tasks.types import Message

EXTENDED_AT_ONCE = 20_000  # tasks

# State by state out of the index: a space may be a small part of the table. Tasks behind NORM_VERSION have other bands;
# they get theirs before any is looked up (rekeying).
BANDS_ABOVE = """
SELECT t.id, t.bands FROM unnest(%(states)s::text[]) s(state), LATERAL (
       SELECT t.id, t.bands FROM tasks_task t
        WHERE t.state = s.state AND t.space_id = %(space)s AND t.id > %(after)s
          AND t.norm_version = %(version)s AND octet_length(t.bands) = %(bytes)s
        ORDER BY t.id LIMIT %(most)s) t
 ORDER BY t.id LIMIT %(most)s
"""
_TASKS = """
SELECT t.id, t.messages, t.number_signature, t.answer_digest, t.family, t.state, t.split
  FROM unnest(%s::bigint[]) k(id), LATERAL (SELECT * FROM tasks_task t WHERE t.id = k.id OFFSET 0) t
"""


def folder_of(space: Team) -> Path:
    """Named by what no other space has, in this database or in one that is restored beside its files."""
    name = f"{connection.settings_dict['NAME']}:{space.pk}:{space.split_salt}:{space.created_at.isoformat()}"
    name += f":{NORM_VERSION}"
    return Path(settings.DATA_DIR) / "cache" / "bands" / blake2b(name.encode(), digest_size=12).hexdigest()


def forget(space: Team) -> None:
    """Begin the index anew with the next look-up: bands below its watermark have changed."""
    (folder_of(space) / "manifest.json").unlink(missing_ok=True)


@lru_cache(maxsize=16)
def _index(folder: Path, thread: int) -> BandIndex:
    return BandIndex(folder)


def caught_up(space: Team) -> BandIndex:
    """The bands of every task of a space that is committed: ids are given out under the space's lock, so that none is
    still to come below the last one that can be seen."""
    index = _index(folder_of(space), get_ident())
    while True:
        after = index.watermark
        rows = _bands_above(space.pk, after)
        if rows:
            ids = np.fromiter((pk for pk, _ in rows), dtype=np.int64, count=len(rows))
            index.extend(ids, unpacked(b"".join(bytes(own) for _, own in rows)), after=after)
        if len(rows) < EXTENDED_AT_ONCE:
            return index


class Added(NamedTuple):
    """All tasks that a transaction has added to a space, under its lock."""

    after: int  # watermark of the index when it held the lock: no other task of the space lies between
    ids: NDArray[np.int64]  # ascending
    signatures: NDArray[np.uint64]  # as of tasks.dedup.signature


def extend(space: Team, added: Added) -> None:
    """Spare the next look-up to read what has just been written. To be called when it is committed, and not before."""
    _index(folder_of(space), get_ident()).extend(added.ids, added.signatures, after=added.after)


def _bands_above(space: int, after: int) -> list[tuple[int, Any]]:
    states = [state.value for state in TaskState]
    given: dict[str, Any] = {
        "states": states,
        "space": space,
        "after": after,
        "version": NORM_VERSION,
        "bytes": STORED_BYTES,
        "most": EXTENDED_AT_ONCE,
    }
    with connection.cursor() as cursor:
        cursor.execute(BANDS_ABOVE, given)
        return list(cursor.fetchall())


class Compared(NamedTuple):
    near: Near
    split: str


def compared(pks: Iterable[int], known: wrappers.Wrappers) -> dict[int, Compared]:
    """Tasks as they are compared with a row, by id."""
    with connection.cursor() as cursor:
        cursor.execute(_TASKS, [sorted(pks)])
        return {pk: Compared(_near(known, pk, *rest), split) for pk, *rest, split in cursor.fetchall()}


def _near(
    known: wrappers.Wrappers, pk: int, messages: Any, signature: Any, answer: Any, family: int | None, state: str
) -> Near:
    given = msgspec.json.decode(messages) if isinstance(messages, str) else messages
    text, _ = wrappers.strip(folded(Message(**message) for message in given), known)
    live = state not in (TaskState.WITHDRAWN, TaskState.REJECTED)
    return Near(pk, text, bytes(signature).hex(), answer.hex, family, live)
