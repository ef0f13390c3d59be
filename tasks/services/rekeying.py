"""Stored keys follow tasks.text.NORM_VERSION: what tasks and held-out items of a space are compared by is computed
anew. Keys, digests and bands change; prompts, splits, ids, states and content digests stay.

Nobody looks anything up meanwhile: an import, a change of grader and a comparison with a suite first bring their space
up to date, wherever a killed worker left it, in chunks that are a transaction each under the space's lock. Two workers
take turns. The newest task of a space says how far it is: tasks are done from the oldest to the newest, and nothing is
added to a space that is behind. So no scan is needed to know that there is nothing to do.

Two tasks may become one question with one answer and one grader. Both stay: the older one holds the key, so that the
next copy is credited to it; the later one gets a key that no prompt has, joins its family, and a finding says why.

Items of suites are prompts of sealed tasks of their space, and get the keys of those; of an item whose task is
elsewhere the text is folded anew. At last the suites are compared with all tasks once more, for other texts may be the
same now.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from django.db import connection, transaction
from xxhash import xxh3_128_hexdigest

from tasks.crash import crash_point
from tasks.dedup import families, fingerprint, signature
from tasks.models import HeldOutItem, HeldOutSuite, TaskFinding, Team
from tasks.models.events import Subject, record
from tasks.preparation import Keys, approved, keys_of
from tasks.services import neighbours, wrapping
from tasks.services.copying import copy_rows, lock_space
from tasks.services.wake import wake
from tasks.services.wrapping import Copy
from tasks.states import TaskState
from tasks.text import NORM_VERSION, TRAILING, normalise, whole_words
from tasks.types import Message

CHUNK = 5000  # tasks, or held-out items
_FINDING_COLUMNS = ("task_id", "kind", "rule", "other", "similarity", "evidence")
_RULE = "exact"
_encode = msgspec.json.Encoder().encode
_messages = msgspec.json.Decoder(list[Message]).decode
_item = msgspec.json.Decoder(dict[str, Any]).decode

_LAST = 2**63 - 1
_IS_BEHIND = "(t.norm_version < %(version)s OR octet_length(t.bands) IS DISTINCT FROM %(bytes)s)"
# By state out of the index task_queue. Whole entries are compared and sorted by: asked for the last id of a state and a
# space, the planner may walk through the primary key instead, for ever where the space is small.
_BEHIND = f"""
SELECT space.id FROM tasks_team space, LATERAL (
       SELECT newest.* FROM unnest(%(states)s::text[]) s(state), LATERAL (
              SELECT t.id, t.state, t.space_id, t.norm_version, t.bands FROM tasks_task t
               WHERE (t.state, t.space_id, t.id) <= (s.state, space.id, {_LAST})
               ORDER BY t.state DESC, t.space_id DESC, t.id DESC LIMIT 1) newest
        WHERE newest.state = s.state AND newest.space_id = space.id ORDER BY newest.id DESC LIMIT 1) t
 WHERE {_IS_BEHIND} AND (%(space)s::bigint IS NULL OR space.id = %(space)s) ORDER BY space.id LIMIT %(most)s
"""  # noqa: S608
_NEXT = f"""
SELECT t.id FROM unnest(%(states)s::text[]) s(state), LATERAL (
       SELECT t.id FROM tasks_task t
        WHERE (t.state, t.space_id, t.id) > (s.state, %(space)s, %(after)s)
          AND (t.state, t.space_id, t.id) <= (s.state, %(space)s, {_LAST}) AND {_IS_BEHIND}
        ORDER BY t.state, t.space_id, t.id LIMIT %(most)s) t
 ORDER BY t.id LIMIT %(most)s
"""  # noqa: S608
_ANY_BEFORE = """
SELECT EXISTS (
       SELECT FROM unnest(%(states)s::text[]) s(state), LATERAL (
              SELECT t.id FROM tasks_task t
               WHERE (t.state, t.space_id, t.id) > (s.state, %(space)s, 0)
                 AND (t.state, t.space_id, t.id) < (s.state, %(space)s, %(first)s)
               ORDER BY t.state, t.space_id, t.id LIMIT 1) t)
"""
_TASKS = """
SELECT id, state, grader_id, exact_key, stripped_key, answer_digest, messages::text, item::text, gold
  FROM tasks_task WHERE id = ANY(%s::bigint[]) ORDER BY id FOR UPDATE
"""
_HOLDERS = f"""
SELECT k.key, t.id, t.answer_digest, t.grader_id, t.behind FROM unnest(%(keys)s::uuid[]) k(key), LATERAL (
       SELECT t.id, t.answer_digest, t.grader_id, {_IS_BEHIND} AS behind FROM tasks_task t
        WHERE t.space_id = %(space)s AND t.exact_key = k.key AND t.state <> 'withdrawn' OFFSET 0) t
 ORDER BY t.id
"""  # noqa: S608
_STEP_ASIDE = """
UPDATE tasks_task t SET exact_key = given.key FROM unnest(%s::bigint[], %s::uuid[]) given(id, key) WHERE t.id = given.id
"""
_SET = """
UPDATE tasks_task t
   SET exact_key = given.exact_key, stripped_key = given.stripped_key, answer_digest = given.answer_digest,
       number_signature = given.number_signature, template = given.template, bands = given.bands, norm_version = %s
  FROM unnest(%s::bigint[], %s::uuid[], %s::uuid[], %s::uuid[], %s::bytea[], %s::uuid[], %s::bytea[])
       given(id, exact_key, stripped_key, answer_digest, number_signature, template, bands)
 WHERE t.id = given.id
"""
# Withdrawn ones too, by another index
_ASKED = """
SELECT DISTINCT ON (k.key) k.key, t.messages::text FROM unnest(%s::uuid[]) k(key), LATERAL (
       (SELECT t.id, t.messages FROM tasks_task t
         WHERE t.space_id = %s AND t.exact_key = k.key AND t.state <> 'withdrawn' OFFSET 0)
       UNION ALL
       (SELECT t.id, t.messages FROM tasks_task t
         WHERE t.space_id = %s AND t.exact_key = k.key AND t.state = 'withdrawn' OFFSET 0)) t
 ORDER BY k.key, t.id
"""
_SET_ITEMS = """
UPDATE tasks_heldoutitem i SET exact_key = given.key, folded = given.folded
  FROM unnest(%s::bigint[], %s::uuid[], %s::text[]) given(id, key, folded) WHERE i.id = given.id
"""


# What is behind


def behind(most: int, space_id: int | None = None) -> list[int]:
    """Spaces with tasks of an older version, so many at most."""
    with connection.cursor() as cursor:
        cursor.execute(_BEHIND, {**_version(), "space": space_id, "most": most})
        return [pk for (pk,) in cursor.fetchall()]


def is_behind(space_id: int) -> bool:
    return bool(behind(1, space_id))


def _version() -> dict[str, Any]:
    states = [state.value for state in TaskState]
    return {"states": states, "version": NORM_VERSION, "bytes": signature.STORED_BYTES}


# The walk


def rekey(space_id: int) -> int:
    """Bring a space up to date; returns how many tasks this call has done. One index look-up where nothing is to do."""
    return sum(chunks(space_id))


def rekey_for_suite(suite_id: int) -> None:
    for space_id in HeldOutSuite.objects.filter(pk=suite_id).values_list("space_id", flat=True):
        rekey(space_id)


def chunks(space_id: int) -> Iterator[int]:
    """The same, telling the tasks of every chunk when it is committed."""
    after: int | None = 0
    while after is not None and is_behind(space_id):
        after, done = _chunk(space_id, after)
        crash_point("rekeying.after_chunk")
        yield done


@transaction.atomic
def _chunk(space_id: int, after: int) -> tuple[int | None, int]:
    """The last task done, or None after the last one of all, and how many."""
    lock_space(space_id)
    pks = _next(space_id, after)
    if not pks:
        return None, 0  # somebody was faster
    found = pks[:CHUNK]
    items = _rekey_items(space_id) if _is_oldest(space_id, pks[0]) else 0
    counted = {"tasks": len(found), "items": items, **_rekey_tasks(space_id, found), "to": found[-1]}
    record("team.rekeyed", subject=Subject("team", str(space_id)), team=space_id, data=counted)
    last = len(pks) <= CHUNK
    if last:
        _finish(space_id)
    crash_point("rekeying.before_commit")
    return None if last else found[-1], len(found)


def _is_oldest(space_id: int, pk: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_ANY_BEFORE, {**_version(), "space": space_id, "first": pk})
        return not cursor.fetchone()[0]


def _next(space_id: int, after: int) -> list[int]:
    """One more than a chunk, where there are so many."""
    with connection.cursor() as cursor:
        cursor.execute(_NEXT, {**_version(), "space": space_id, "after": after, "most": CHUNK + 1})
        return [pk for (pk,) in cursor.fetchall()]


def _finish(space_id: int) -> None:
    neighbours.forget(Team.objects.get(pk=space_id))
    suites = HeldOutSuite.objects.filter(space=space_id)
    for pk in suites.values_list("pk", flat=True):
        wake("rescan_suite", pk)
    suites.update(scanned=0, scanned_at=None)


# Tasks


class _Stored(NamedTuple):
    pk: int
    state: str
    grader: str | None
    exact_key: str
    stripped_key: str | None
    answer: str
    keys: Keys

    @property
    def identity(self) -> tuple[str, str, str | None]:
        """What no two live tasks of a space share."""
        return self.keys.prompt.exact_key, self.keys.answer, self.grader

    @property
    def changed(self) -> bool:
        return (self.keys.prompt.exact_key, self.keys.answer) != (self.exact_key, self.answer)

    @property
    def asks_otherwise(self) -> bool:
        return (self.keys.prompt.exact_key, self.keys.bare) != (self.exact_key, self.stripped_key)


class _Holder(NamedTuple):
    """A live task that has one of the new keys now."""

    key: str
    pk: int
    answer: str
    grader: str | None
    behind: bool


def _rekey_tasks(space_id: int, pks: Sequence[int]) -> dict[str, int]:
    rows = _stored(space_id, pks)
    holders = _holders(space_id, {row.keys.prompt.exact_key for row in rows if row.changed})
    copies = _copies(rows, holders)
    own = {copy.row: _own_key(row) for row in rows for copy in copies if copy.row == row.pk}
    _step_aside(rows, holders, own)
    _set(rows, own)
    pairs = [copy.pair for copy in copies]
    _tell(pairs, {row.pk: row for row in rows}, {copy.pair: copy.row for copy in copies})
    changed = [row.pk for row in rows if row.asks_otherwise]
    wrapped = wrapping.follow(space_id, changed, pairs) if changed or pairs else 0
    return {"changed": len(changed), "copies": len(copies), "wrapped": wrapped}


def _stored(space_id: int, pks: Sequence[int]) -> list[_Stored]:
    known = approved(wrapping.texts_of(space_id))
    with connection.cursor() as cursor:
        cursor.execute(_TASKS, [list(pks)])
        return [
            _Stored(
                *(pk, state, grader, exact.hex, None if stripped is None else stripped.hex, answer.hex),
                keys_of(_messages(messages), _item(item), gold, known),
            )
            for pk, state, grader, exact, stripped, answer, messages, item, gold in cursor.fetchall()
        ]


def _holders(space_id: int, keys: Collection[str]) -> list[_Holder]:
    if not keys:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_HOLDERS, {**_version(), "keys": sorted(keys), "space": space_id})
        return [_Holder(key.hex, pk, answer.hex, *rest) for key, pk, answer, *rest in cursor.fetchall()]


class _Found(NamedTuple):
    row: int  # the task of the chunk that cannot have its key
    pair: Copy  # the later of the two, and the older


def _copies(rows: Sequence[_Stored], holders: Sequence[_Holder]) -> list[_Found]:
    """Tasks of the chunk, in their order, that are what another one is that keeps the key."""
    held = {(holder.key, holder.answer, holder.grader): holder.pk for holder in holders if not holder.behind}
    found = []
    for row in rows:
        if row.state == TaskState.WITHDRAWN:
            continue
        other = held.setdefault(row.identity, row.pk)
        if other != row.pk:
            found.append(_Found(row.pk, Copy(max(row.pk, other), min(row.pk, other))))
    return found


def _own_key(row: _Stored) -> str:
    """Of a task whose key another one has: no prompt has it, and the next time it is the same."""
    return xxh3_128_hexdigest(f"{row.keys.prompt.exact_key}:{row.pk}".encode())


def _step_aside(rows: Sequence[_Stored], holders: Sequence[_Holder], own: Mapping[int, str]) -> None:
    """Whoever is behind and sits on a key that another one needs gives way before: the keys of a space are unique after
    every row that is written. Its turn comes, in this chunk or a later one."""
    staying = {row.pk for row in rows if not row.changed and row.pk not in own}
    moving = {
        holder.pk: xxh3_128_hexdigest(f"{holder.key}:{holder.pk}".encode())
        for holder in holders
        if holder.behind and holder.pk not in staying
    }
    if moving:
        with connection.cursor() as cursor:
            cursor.execute(_STEP_ASIDE, [list(moving), list(moving.values())])


def _set(rows: Sequence[_Stored], own: Mapping[int, str]) -> None:
    numbers = [int(row.keys.prompt.number_signature, 16) for row in rows]
    bands = signature.packed(signature.signatures([row.keys.stripped for row in rows], numbers))
    columns: list[list[Any]] = [
        [row.pk for row in rows],
        [own.get(row.pk, row.keys.prompt.exact_key) for row in rows],
        [row.keys.bare for row in rows],
        [row.keys.answer for row in rows],
        [bytes.fromhex(row.keys.prompt.number_signature) for row in rows],
        [row.keys.prompt.template for row in rows],
        [own_bands.tobytes() for own_bands in bands],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_SET, [NORM_VERSION, *columns])


def _tell(pairs: Sequence[Copy], rows: Mapping[int, _Stored], of: Mapping[Copy, int]) -> None:
    """A pair that is told as nearly the same is told as the same from now on."""
    kind = TaskFinding.Kind.NEAR_DUPLICATE.value
    known = TaskFinding.objects.filter(kind=kind, task__pk__any_of=[pair.task for pair in pairs], other__isnull=False)
    rows_told = known.order_by("-pk").values_list("pk", "task_id", "other")
    told = {Copy(task, other or 0): pk for pk, task, other in rows_told}
    fresh = []
    for pair in pairs:
        shared = {"shared": whole_words(rows[of[pair]].keys.stripped, most=families.EVIDENCE_CHARACTERS)}
        if pair in told:
            TaskFinding.objects.filter(pk=told[pair]).update(rule=_RULE, similarity=1.0, evidence=shared)
        else:
            fresh.append((pair.task, kind, _RULE, pair.other, 1.0, _encode(shared).decode()))
    copy_rows("tasks_taskfinding", _FINDING_COLUMNS, fresh)


# Items of held-out suites


def _rekey_items(space_id: int) -> int:
    """With the first tasks of a space: an item finds its task by the key that both have."""
    changed = after = 0
    items = HeldOutItem.objects.filter(space=space_id).order_by("pk")
    while rows := list(items.filter(pk__gt=after).values_list("pk", "suite_id", "exact_key", "folded")[:CHUNK]):
        after = rows[-1][0]
        changed += _rekey_some(space_id, rows)
    return changed


def _rekey_some(space_id: int, rows: Sequence[tuple[int, int, str, str]]) -> int:
    asked = _asked(space_id, {key for _, _, key, _ in rows})
    wanted = {pk: asked.get(key) or (key, _folded_again(folded)) for pk, _, key, folded in rows}
    taken = _taken(space_id, {key for key, _ in wanted.values()})
    changed = {}
    for pk, suite, key, folded in rows:
        new, text = wanted[pk]
        if new != key and (suite, new) in taken:
            new = key  # the suite has this prompt already: its other item answers to the key
        taken.add((suite, new))
        if (new, text) != (key, folded):
            changed[pk] = (new, text)
    if changed:
        keys, texts = zip(*changed.values(), strict=True)
        with connection.cursor() as cursor:
            cursor.execute(_SET_ITEMS, [list(changed), list(keys), list(texts)])
    return len(changed)


def _asked(space_id: int, keys: Collection[str]) -> dict[str, tuple[str, str]]:
    """{stored key: (key, folded text) of the same prompt now}, where the space has a task that asks it."""
    with connection.cursor() as cursor:
        cursor.execute(_ASKED, [sorted(keys), space_id, space_id])
        found = {key.hex: fingerprint.fingerprint(_messages(messages)) for key, messages in cursor.fetchall()}
    return {key: (prompt.exact_key, prompt.folded) for key, prompt in found.items()}


def _folded_again(folded: str) -> str:
    """A message is one line (tasks.text.folded)."""
    return "\n\n".join(normalise(message).rstrip(TRAILING) for message in folded.split("\n\n"))


def _taken(space_id: int, keys: Collection[str]) -> set[tuple[int, str]]:
    return set(
        HeldOutItem.objects.filter(space=space_id, exact_key__in=list(keys)).values_list("suite_id", "exact_key")
    )
