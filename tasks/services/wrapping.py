"""Wrappers of a space: which instructions around a question count for nothing when its prompts are compared.

An upload proposes, a reviewer of the space decides. A decision binds every import at once and is carried through what
is stored by a job, in chunks under the space's lock that keep how far they came; each chunk takes off whatever is
approved at that moment, so that one pass serves several decisions and a later one begins again. Only the second key
changes, and with it who is found to ask the same: prompts and splits stay as they are. Bands stay too: they tell what
is nearly the same, which a line around it seldom decides.

Items of held-out suites lose the space's wrappers too (heldout). After an approval the suites that hold such a line are
compared with what is stored once more; a refusal takes no verdict on contamination back.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from django.db import connection, transaction
from django.db.models import Min, Q, QuerySet

from tasks.crash import crash_point
from tasks.dedup import families, wrappers
from tasks.errors import Conflict, Invalid
from tasks.models import HeldOutItem, HeldOutSuite, Membership, Task, TaskFinding, Team, User, Wrapper
from tasks.models.events import Subject, record
from tasks.preparation import approved, bare_key
from tasks.services.access import require_role
from tasks.services.copying import copy_rows, lock_space
from tasks.services.wake import wake
from tasks.services.walking import tasks_after
from tasks.states import Role, TaskState, WrapperState
from tasks.text import folded, whole_words
from tasks.types import Message

CHUNK = 2000  # tasks keyed in one transaction
DONE = -1  # Wrapper.rekeyed, once every stored task is keyed by the decision
MOST_CHARACTERS = 250  # of a wrapper's text
_FINDING_COLUMNS = ("task_id", "kind", "rule", "other", "similarity", "evidence")
_RULE = "wrapped"
_encode = msgspec.json.Encoder().encode

# Who asks one of these questions: in a wrapper, or as they stand
_ASKING = """
SELECT k.key, t.id, t.answer_digest, t.exact_key, t.state FROM unnest(%s::uuid[]) k(key), LATERAL (
       (SELECT id, answer_digest, exact_key, state FROM tasks_task
         WHERE space_id = %s AND exact_key = k.key AND stripped_key IS NULL AND state <> 'withdrawn' OFFSET 0)
       UNION ALL
       (SELECT id, answer_digest, exact_key, state FROM tasks_task
         WHERE space_id = %s AND stripped_key = k.key AND stripped_key IS NOT NULL AND state <> 'withdrawn' OFFSET 0)) t
 ORDER BY t.id
"""
_SET_KEYS = """
UPDATE tasks_task t SET stripped_key = given.key
  FROM unnest(%s::bigint[], %s::uuid[]) given(id, key) WHERE t.id = given.id
"""
_SET_FAMILIES = """
UPDATE tasks_task t SET family = given.family
  FROM unnest(%s::bigint[], %s::bigint[]) given(id, family) WHERE t.id = given.id
"""


def texts_of(space_id: int) -> tuple[str, ...]:
    """The space's approved wrappers, each as "start …" or "end …"; the built-in ones are approved everywhere."""
    own = Wrapper.objects.filter(space=space_id, state=WrapperState.APPROVED)
    return tuple(own.order_by("pk").values_list("text", flat=True))


def visible_to(user: User, team: Team | None = None) -> QuerySet[Wrapper]:
    """Of the spaces where the user reviews."""
    rows = Membership.objects.filter(user=user, role__in=[Role.REVIEWER, Role.ADMINISTRATOR])
    spaces = rows if team is None else rows.filter(team=team)
    return Wrapper.objects.filter(space__in=spaces.values("team")).order_by("-pk")


# Decisions


@transaction.atomic
def approve(wrapper: Wrapper, *, reviewer: User | None) -> Wrapper:
    """From now on it is taken off before prompts of the space are compared; stored tasks follow in a job."""
    return _decide(wrapper, WrapperState.APPROVED, reviewer)


@transaction.atomic
def refuse(wrapper: Wrapper, *, reviewer: User | None) -> Wrapper:
    """It belongs to the question. One that was approved is put back: what was found by it alone is found no more."""
    return _decide(wrapper, WrapperState.REFUSED, reviewer)


@transaction.atomic
def add(space: Team, place: str, text: str, *, reviewer: User | None) -> Wrapper:
    """Approve a wrapper that no upload has proposed, as a person writes it."""
    require_role(reviewer, space, Role.REVIEWER)
    kept = _checked(place, text)
    wrapper, _ = Wrapper.objects.get_or_create(space=space, text=kept)
    return _decide(wrapper, WrapperState.APPROVED, reviewer)


def _decide(wrapper: Wrapper, state: WrapperState, reviewer: User | None) -> Wrapper:
    require_role(reviewer, wrapper.space, Role.REVIEWER)
    lock_space(wrapper.space_id)  # no chunk of an import is halfway between two sets of wrappers
    old = WrapperState(Wrapper.objects.values_list("state", flat=True).get(pk=wrapper.pk))
    if old is state:
        raise Conflict("decided", f"This wrapper is {state} already.")
    keys_change = WrapperState.APPROVED in (old, state)
    changes: dict[str, Any] = {"decided_by": reviewer, "rekeyed": 0 if keys_change else DONE}
    Wrapper.objects.advance(wrapper.pk, old, state, actor=reviewer, data={"text": wrapper.text}, **changes)
    if keys_change:
        wake("rekey_space", wrapper.space_id)
    if state is WrapperState.APPROVED:
        _compare_suites_again(wrapper)
    wrapper.refresh_from_db()
    return wrapper


def _compare_suites_again(wrapper: Wrapper) -> None:
    line = wrapper.text.split(" ", 1)[1]
    held = HeldOutItem.objects.filter(space=wrapper.space, folded__contains=line).values("suite")
    for suite in HeldOutSuite.objects.filter(pk__in=held):
        HeldOutSuite.objects.filter(pk=suite.pk).update(scanned=0, scanned_at=None)
        wake("rescan_suite", suite.pk)


def _checked(place: str, text: str) -> str:
    """As it is stored: "start …" or "end …", folded."""
    if place not in ("start", "end"):
        raise Invalid("place_unknown", "Say where it stands: start or end.", "place")
    made = wrappers.wrapper(text, **{place: text})
    found = made.start or made.end
    if not any(sign.isalnum() for sign in found) or not 2 <= len(found) <= MOST_CHARACTERS:
        raise Invalid("wrapper_bad", f"Give the line in 2 to {MOST_CHARACTERS} characters, with a word in it.", "text")
    if any((one.start, one.end) == (made.start, made.end) for one in wrappers.BUILT_IN):
        raise Conflict("wrapper_built_in", "This one is taken off everywhere already.", "text")
    return f"{place} {found}"


# Stored tasks


def due() -> QuerySet[Wrapper]:
    """Decisions that stored tasks do not follow yet."""
    return Wrapper.objects.filter(rekeyed__gte=0).exclude(state=WrapperState.PROPOSED)


def rekey(space_id: int) -> None:
    """Carry decisions through what is stored, from where the last call was killed. Repeated calls do nothing."""
    while _rekey_chunk(space_id):
        crash_point("wrapping.after_chunk")


@transaction.atomic
def _rekey_chunk(space_id: int) -> bool:
    """True while there may be more."""
    lock_space(space_id)
    waiting = due().filter(space=space_id)
    after = waiting.aggregate(least=Min("rekeyed"))["least"]
    if after is None:
        return False
    pks = list(islice(tasks_after(space_id, after, CHUNK), CHUNK))
    if pks:
        _rekey(space_id, pks)
    if len(pks) < CHUNK:
        waiting.update(rekeyed=DONE)
        return False
    waiting.filter(rekeyed__lt=pks[-1]).update(rekeyed=pks[-1])
    return True


class _Question(NamedTuple):
    """What a task asks, without its wrappers, and what it says is right. Hex."""

    key: str
    answer: str


class _Asking(NamedTuple):
    task: int
    exact_key: str
    live: bool  # a copy may be credited to it: it is not rejected


class Copy(NamedTuple):
    task: int
    other: int  # the oldest that asks the same


def _rekey(space_id: int, pks: Sequence[int]) -> None:
    known = approved(texts_of(space_id))
    changed = dict(_changes(pks, known))
    if not changed:
        return
    list(Task.objects.select_for_update().filter(pk__any_of=[*changed]).order_by("pk").values_list("pk"))
    with connection.cursor() as cursor:
        cursor.execute(_SET_KEYS, [list(changed), list(changed.values())])
    gone = _forget(changed)
    copies = _copies(space_id, {*changed, *(copy.task for copy in gone)})
    _tell(copies, known)
    _regroup(copies, gone)
    counted = {"keys": len(changed), "found": len(copies), "gone": len(gone), "to": pks[-1]}
    record("team.rekeyed", subject=Subject("team", str(space_id)), team=space_id, data=counted)


def follow(space_id: int, changed: Collection[int], told: Sequence[Copy]) -> int:
    """After the keys of tasks have changed for another reason (rekeying): say which ask what others ask inside a
    wrapper, and join families, those of the copies that are told already too. Returns how many were said."""
    copies = _copies(space_id, changed)
    _tell(copies, approved(texts_of(space_id)))
    _regroup([*told, *copies], [])
    return len(copies)


def _changes(pks: Sequence[int], known: wrappers.Wrappers) -> Iterator[tuple[int, str | None]]:
    """(task, its key without wrappers) where that is another one than is stored."""
    rows = Task.objects.filter(pk__any_of=list(pks)).order_by("pk").values_list("pk", "messages", "stripped_key")
    for pk, messages, stored in rows:
        text = _text(messages)
        stripped, _ = wrappers.strip(text, known)
        key = None if stripped == text else bare_key(stripped)
        if key != stored:
            yield pk, key


def _text(messages: Iterable[dict[str, str]]) -> str:
    return folded(Message(**message) for message in messages)


def _questions(pks: Collection[int]) -> dict[int, _Question]:
    rows = Task.objects.filter(pk__any_of=list(pks)).values_list("pk", "exact_key", "stripped_key", "answer_digest")
    return {pk: _Question(stripped or exact, answer) for pk, exact, stripped, answer in rows}


def _forget(changed: Collection[int]) -> list[Copy]:
    """What was found by the old keys of these tasks; what still holds is found again."""
    pks = list(changed)
    rows = TaskFinding.objects.filter(Q(task__pk__any_of=pks) | Q(other__any_of=pks), rule=_RULE)
    found = {pk: Copy(task, other or 0) for pk, task, other in rows.values_list("pk", "task_id", "other")}
    TaskFinding.objects.filter(pk__any_of=list(found)).delete()
    return list(found.values())


def _copies(space_id: int, pks: Collection[int]) -> list[Copy]:
    """Who asks what one of these tasks asks, and is not told yet. Of one prompt only the graders differ."""
    groups = _asking(space_id, set(_questions(pks).values()))
    pairs = [pair for group in groups.values() for pair in _pairs(group)]
    rows = TaskFinding.objects.filter(
        task__pk__any_of=[pair.task for pair in pairs], kind=TaskFinding.Kind.NEAR_DUPLICATE
    )
    told = list(rows.values_list("task_id", "other", "rule"))
    wrapped = {task for task, _, rule in told if rule == _RULE}
    near = {(task, other) for task, other, _ in told}
    return [pair for pair in pairs if pair.task not in wrapped and pair not in near]


def _pairs(group: Sequence[_Asking]) -> Iterator[Copy]:
    oldest = next((asking for asking in group if asking.live), None)
    for later in group:
        if oldest is not None and later.task > oldest.task and later.exact_key != oldest.exact_key:
            yield Copy(later.task, oldest.task)


def _asking(space_id: int, questions: Collection[_Question]) -> dict[_Question, list[_Asking]]:
    """By question, the oldest first."""
    keys = "{" + ",".join(sorted({question.key for question in questions})) + "}"
    groups: dict[_Question, list[_Asking]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_ASKING, [keys, space_id, space_id])
        for key, pk, answer, exact_key, state in cursor.fetchall():
            question = _Question(key.hex, answer.hex)
            if question in questions:
                groups.setdefault(question, []).append(_Asking(pk, exact_key.hex, state != TaskState.REJECTED))
    return groups


def _tell(copies: Sequence[Copy], known: wrappers.Wrappers) -> None:
    kind = TaskFinding.Kind.NEAR_DUPLICATE.value
    rows = Task.objects.filter(pk__any_of=list({pk for copy in copies for pk in copy})).values_list("pk", "messages")
    bare = {pk: wrappers.strip(_text(messages), known) for pk, messages in rows}
    told = [(copy, evidence(bare[copy.task][0], known, bare[copy.task][1], bare[copy.other][1])) for copy in copies]
    copy_rows(
        "tasks_taskfinding",
        _FINDING_COLUMNS,
        ((copy.task, kind, _RULE, copy.other, 1.0, _encode(found).decode()) for copy, found in told),
    )


def evidence(bare: str, known: wrappers.Wrappers, names: Sequence[str], others: Sequence[str]) -> dict[str, Any]:
    """What two tasks ask alike, and what stands around it in the later one and in the older one."""
    found = {"wrapper": known.texts(names), "other_wrapper": known.texts(others)}
    shared = whole_words(bare, most=families.EVIDENCE_CHARACTERS)
    return {"shared": shared, **{side: texts for side, texts in found.items() if texts}}


def taken_off(pks: Collection[int], known: wrappers.Wrappers) -> dict[int, tuple[str, ...]]:
    """{stored task: names of its wrappers, from the outside in}, of those that have any."""
    rows = Task.objects.filter(pk__any_of=list(pks), stripped_key__isnull=False) if pks else Task.objects.none()
    return {pk: wrappers.strip(_text(messages), known)[1] for pk, messages in rows.values_list("pk", "messages")}


def _regroup(found: Sequence[Copy], gone: Sequence[Copy]) -> None:
    """Families follow from links. A task joins the family of the task that its first link leads to; whoever has lost
    its only link is its own again; one that came into its family without a link goes where the oldest of it goes."""
    touched = {pk for pair in (*found, *gone) for pk in pair}
    heads = _heads(touched)
    rows = Task.objects.filter(Q(pk__any_of=[*heads, *touched]) | Q(family__any_of=list(heads)))
    stored = dict(rows.select_for_update().order_by("pk").values_list("pk", "family"))
    links = _first_links(stored)
    unlinked = {pair.task for pair in gone}
    now: dict[int, int | None] = {}
    for pk, family in stored.items():
        to = links.get(pk) or (None if pk in unlinked else family)
        now[pk] = None if to is None else now.get(to) or to
    moved = {pk: family for pk, family in now.items() if family != stored[pk]}
    if moved:
        with connection.cursor() as cursor:
            cursor.execute(_SET_FAMILIES, [list(moved), list(moved.values())])


def _heads(pks: Collection[int]) -> set[int]:
    rows = Task.objects.filter(pk__any_of=list(pks)).values_list("pk", "family")
    return {family or pk for pk, family in rows}


def _first_links(pks: Collection[int]) -> dict[int, int]:
    """{task: the older one that its first finding leads to}."""
    kind = TaskFinding.Kind.NEAR_DUPLICATE
    rows = TaskFinding.objects.filter(task__pk__any_of=list(pks), kind=kind, other__isnull=False).order_by("-pk")
    return {task: other for task, other in rows.values_list("task_id", "other") if other is not None}
