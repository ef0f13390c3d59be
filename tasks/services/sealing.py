"""The split of a prompt is decided once. The one exception is made here, for held-out items that were asked often: they
become validation, and prompts that nobody has trained on are sealed in their place.

What moves, moves with all that must share its split: its near-duplicate family and every task with its prompt, whatever
their state, so that a copy that comes later finds the split of the original. A released item binds no import any more;
it is validation now, and stays out of training as validation does: by the split of its prompt, which its copies, its
near-copies and its wrapped copies inherit.

Whoever decides what is untouched holds `lock_splits` until that is committed, as do those who freeze what is trained
on: nobody can be given a row to train on while it is being sealed.
"""

from collections.abc import Collection, Iterable

from django.db import connection, transaction
from django.db.models import BigIntegerField, F, Q, QuerySet
from django.db.models.functions import Coalesce

from tasks.dedup import fingerprint
from tasks.models import Task, Team, User
from tasks.models.events import Subject, record
from tasks.models.moves import ids_digest
from tasks.services import heldout
from tasks.services.copying import lock_space
from tasks.splits import Member, together
from tasks.states import Split
from tasks.types import Message

CHUNK = 1000
_SPLIT_LOCK = 0x73706C74
_FAMILY = Coalesce(F("family"), F("pk"), output_field=BigIntegerField())


def lock_splits(space_id: int) -> None:
    """One at a time in a space, to the end of the transaction: seal rows, or freeze rows to train on."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_SPLIT_LOCK, space_id])


def groups(space_id: int, tasks: Iterable[int]) -> list[list[int]]:
    """The tasks with all that must share their split, as groups."""
    found: dict[int, Member] = {}
    fresh = _members(Task.objects.filter(space=space_id), "pk", set(tasks))
    while fresh:
        found |= {member.task: member for member in fresh}
        ties = _tied(space_id, fresh)
        fresh = [member for member in ties if member.task not in found]
    return together(found.values())


def _tied(space_id: int, members: Collection[Member]) -> list[Member]:
    own = Task.objects.filter(space=space_id)
    families = {member.family for member in members}
    keys = {member.exact_key for member in members}
    return [*_members(own, "exact_key", keys), *_members(own, "family", families), *_members(own, "pk", families)]


def _members(rows: QuerySet[Task], column: str, values: Collection[int | str]) -> list[Member]:
    ordered, found = sorted(values), []
    for at in range(0, len(ordered), CHUNK):
        some = rows.filter(Q(**{f"{column}__in": ordered[at : at + CHUNK]})).order_by()
        found += [Member(*row) for row in some.values_list("pk", _FAMILY, "exact_key")]
    return found


@transaction.atomic
def retire(space: Team, tasks: Collection[int], *, actor: User | None, reason: str) -> int:
    """Sealed tasks to validation; their prompts are held out no more. The caller gives whole groups."""
    lock_space(space.pk)
    moved = _move(space, tasks, Split.SEALED, Split.VALIDATION)
    released = heldout.release(space.pk, _keys(moved))
    _record("tasks.unsealed", space, moved, actor, {"reason": reason, "released": released})
    return len(moved)


@transaction.atomic
def seal(space: Team, tasks: Collection[int], *, actor: User | None, reason: str) -> int:
    """Training tasks that nobody has trained on into the sealed split. The caller gives whole groups, and answers for
    their being untouched: it holds `lock_splits`."""
    lock_space(space.pk)
    moved = _move(space, tasks, Split.TRAIN, Split.SEALED)
    _record("tasks.sealed", space, moved, actor, {"reason": reason})
    return len(moved)


def _move(space: Team, tasks: Collection[int], old: Split, new: Split) -> list[int]:
    rows = Task.objects.filter(space=space, pk__any_of=sorted(tasks), split=old)
    locked = list(rows.select_for_update().order_by("pk").values_list("pk", flat=True))
    Task.objects.filter(pk__any_of=locked).update(split=new)
    return locked


def _keys(tasks: Collection[int]) -> set[str]:
    """As stored, and as a suite registers a prompt now: the two differ while a space is keyed anew."""
    found: set[str] = set()
    rows = Task.objects.filter(pk__any_of=sorted(tasks)).values_list("exact_key", "messages")
    for key, messages in rows.iterator(chunk_size=CHUNK):
        asked = [Message(**message) for message in messages]
        found |= {key, fingerprint.exact_key(asked)}
    return found


def _record(kind: str, space: Team, moved: list[int], actor: User | None, data: dict[str, object]) -> None:
    told = {"count": len(moved), "ids_digest": ids_digest(moved), **data}
    record(kind, subject=Subject("team", str(space.pk)), team=space.pk, actor=actor, data=told)
