"""A prepared chunk into a space: new rows become tasks, known ones gain provenance, clashing ones go to review, and
what is nearly there already says so.

Runs inside one transaction under the space's lock. Every look-up goes by index, row by row (OFFSET 0 is the fence): the
planner's statistics lag behind an import, and a join that it believes small has read the whole space once a row.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
from django.db import connection
from django.utils import timezone

from tasks.dedup import bands, deciding, families
from tasks.dedup.contamination import Overlap, Verdict
from tasks.dedup.deciding import Exact, Stored
from tasks.dedup.families import Family, Near
from tasks.formats.codes import issue
from tasks.graders import judges, registry
from tasks.models import Dataset, Grader, HeldOutItem, TaskFinding
from tasks.preparation import COLUMNS, KnownGrader, Prepared, approved
from tasks.services import heldout, neighbours, wrapping
from tasks.services.conflicts import CLASH, open_conflicts
from tasks.services.copying import copy_lines, copy_rows
from tasks.states import Split, TaskState
from tasks.types import Issue

_TASK_COLUMNS = ("id", "space_id", "state", "reason", "reason_code", "family", "split", "created_at", *COLUMNS)
_FINDING_COLUMNS = ("task_id", "kind", "rule", "other", "similarity", "evidence")
_encode = msgspec.json.Encoder().encode

_LIVE = """
SELECT k.key, t.id, t.answer_digest, t.grader_id, t.state, t.split
  FROM unnest(%s::uuid[]) k(key), LATERAL (
       SELECT t.id, t.answer_digest, t.grader_id, t.state, t.split FROM tasks_task t
        WHERE t.space_id = %s AND t.exact_key = k.key AND t.state <> 'withdrawn' OFFSET 0) t
 ORDER BY t.id
"""
_WITHDRAWN = """
SELECT k.key, t.split FROM unnest(%s::uuid[]) k(key), LATERAL (
       SELECT t.split FROM tasks_task t
        WHERE t.space_id = %s AND t.exact_key = k.key AND t.state = 'withdrawn' ORDER BY t.id LIMIT 1 OFFSET 0) t
"""
# The tasks that ask one of these questions inside a wrapper
_WRAPPED = """
SELECT k.key, t.id, t.answer_digest, t.exact_key, t.state, t.family, t.split
  FROM unnest(%s::uuid[]) k(key), LATERAL (
       SELECT * FROM tasks_task t WHERE t.space_id = %s AND t.stripped_key = k.key AND t.stripped_key IS NOT NULL
       OFFSET 0) t
"""
_BARE = """
SELECT k.key, t.id, t.answer_digest, t.exact_key, t.state, t.family, t.split
  FROM unnest(%s::uuid[]) k(key), LATERAL (
       SELECT * FROM tasks_task t
        WHERE t.space_id = %s AND t.exact_key = k.key AND t.state <> 'withdrawn' OFFSET 0) t
"""
_ANY_WITHDRAWN = "SELECT EXISTS (SELECT FROM tasks_task WHERE space_id = %s AND state = 'withdrawn')"
_ANY_WRAPPED = "SELECT EXISTS (SELECT FROM tasks_task WHERE space_id = %s AND stripped_key IS NOT NULL)"


@dataclass(slots=True)
class Merged:
    """Counts of one chunk; rows that were good but may not come in are issues."""

    states: Counter[str] = field(default_factory=Counter)  # of new tasks
    found: Counter[str] = field(default_factory=Counter)  # findings by kind
    duplicates: int = 0
    issues: list[Issue] = field(default_factory=list)
    added: neighbours.Added | None = None  # to the index of the space, once this is committed


class _Older(NamedTuple):
    """A stored task that asks a question in other words around it."""

    id: int
    answer: bytes
    exact_key: bytes
    state: str
    family: int | None
    split: str


@dataclass(frozen=True, slots=True)
class _Known:
    """What is stored of the chunk's prompts."""

    live: Mapping[bytes, list[Stored]]
    withdrawn: Mapping[bytes, str]  # splits of prompts that only withdrawn tasks have
    bare: Mapping[bytes, list[_Older]]  # by the key without wrappers


def store(prepared: Prepared, dataset: Dataset, upload_id: int, waived: frozenset[str] = frozenset()) -> Merged:
    """The caller holds the lock of the dataset's space."""
    merged = Merged()
    if not prepared.lines:
        return merged
    known = _look_up(prepared, dataset.space_id)
    refused = _refused(prepared, dataset, known, waived, merged)
    exact = deciding.exact(prepared.exact_keys, prepared.answers, prepared.graders, known.live, refused)
    keep_graders(prepared.known_graders.values())
    chunk = _Chunk(prepared, dataset, known, exact, _ids(len(exact.new)), merged)
    chunk.find_copies()
    chunk.copy(upload_id)
    merged.added = chunk.added()
    _count_findings(chunk)
    clashing = [chunk.ids[row] for row in exact.new if chunk.states[row] == TaskState.CONFLICT]
    open_conflicts(dataset.space_id, clashing)
    return merged


def keep_graders(graders: Iterable[KnownGrader]) -> None:
    """In the order of their digests: two imports that meet wait for each other instead of dead-locking."""
    Grader.objects.bulk_create(
        (
            Grader(digest=known.digest, type=known.type, config=msgspec.json.decode(known.config))
            for known in sorted(graders, key=lambda known: known.digest)
        ),
        ignore_conflicts=True,
    )


# Look-ups


def _look_up(prepared: Prepared, space: int) -> _Known:
    keys = _as_array(prepared.exact_keys)
    live: dict[bytes, list[Stored]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_LIVE, [keys, space])
        for key, pk, answer, grader, state, split in cursor.fetchall():
            live.setdefault(key.bytes, []).append(Stored(pk, answer.bytes, grader, state, split))
        withdrawn: dict[bytes, str] = {}
        if _any(cursor, _ANY_WITHDRAWN, space):
            cursor.execute(_WITHDRAWN, [keys, space])
            withdrawn = {key.bytes: split for key, split in cursor.fetchall()}
        return _Known(live, withdrawn, _bare(cursor, prepared, space))


def _bare(cursor: Any, prepared: Prepared, space: int) -> dict[bytes, list[_Older]]:
    """Stored tasks that ask the same without the wrappers of either side."""
    found: dict[bytes, list[_Older]] = {}
    stripped = [key for key in prepared.stripped_keys if key is not None]
    rows: list[tuple[Any, ...]] = []
    if stripped:
        cursor.execute(_BARE, [_as_array(stripped), space])
        rows += cursor.fetchall()
    if _any(cursor, _ANY_WRAPPED, space):
        cursor.execute(_WRAPPED, [_as_array([*prepared.exact_keys, *stripped]), space])
        rows += cursor.fetchall()
    for key, pk, answer, exact_key, state, family, split in rows:
        older = _Older(pk, answer.bytes, exact_key.bytes, state, family, split)
        found.setdefault(key.bytes, []).append(older)
    return found


def _any(cursor: Any, statement: str, space: int) -> bool:
    cursor.execute(statement, [space])
    return bool(cursor.fetchone()[0])


def _as_array(keys: Iterable[bytes]) -> str:
    """Sorted, so that neighbouring keys are read from the same pages of the index."""
    return "{" + ",".join(key.hex() for key in sorted(set(keys))) + "}"


def _ids(count: int) -> list[int]:
    """The sequence is looked up once: the planner would do it once a row."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_serial_sequence('tasks_task', 'id')::regclass::oid")
        [(sequence,)] = cursor.fetchall()
        cursor.execute("SELECT array_agg(nextval(%s::oid::regclass)) FROM generate_series(1, %s)", [sequence, count])
        return list(cursor.fetchone()[0] or ())


# What may not come in


def _refused(
    prepared: Prepared, dataset: Dataset, known: _Known, waived: frozenset[str], merged: Merged
) -> dict[int, Issue]:
    """{row: why it becomes nothing}: it repeats a suite, or nobody answers for its judge. Of a held-out dataset: its
    prompt is open already. One prompt has one split, and who was trained on it before could not be told later."""
    refused: dict[int, Issue] = {}
    if dataset.held_out:
        for row, key in enumerate(prepared.exact_keys):
            if any(task.split != Split.SEALED for task in known.live.get(key, ())):
                refused[row] = issue("not_held_out", line=prepared.lines[row], field="prompt")
    contaminated = {
        row: overlap
        for row, overlap in prepared.overlaps.items()
        if overlap.verdict is Verdict.CONTAMINATED
        and not dataset.held_out
        and not (waived and "contaminated" in waived and overlap.rule != "exact")
        and not any(task.split == Split.SEALED for task in known.live.get(prepared.exact_keys[row], ()))
    }
    names = _suite_names(contaminated.values())
    for row, overlap in contaminated.items():
        evidence = heldout.evidence(names.get(overlap.item, ""), overlap)
        found = issue("contaminated", line=prepared.lines[row], field="prompt", value=overlap.shared)
        refused[row] = replace(found, evidence={"rule": overlap.rule, **evidence})
    for digest, sentence in _unanswered(prepared, dataset.space_id).items():
        for row, grader in enumerate(prepared.graders):
            if grader == digest and row not in refused:
                refused[row] = issue("grader_unavailable", line=prepared.lines[row], field="grader", detail=sentence)
    merged.issues = [refused[row] for row in sorted(refused)]
    return refused


def _suite_names(overlaps: Iterable[Overlap]) -> dict[int, str]:
    items = {overlap.item for overlap in overlaps}
    return dict(HeldOutItem.objects.filter(pk__in=items).values_list("pk", "suite__name")) if items else {}


def _unanswered(prepared: Prepared, space: int) -> dict[str, str]:
    """{digest of a grader that asks a model: why nobody can be asked}."""
    asking = [known for known in prepared.known_graders.values() if known.judged]
    with judges.for_team(space):
        told = {known.digest: registry.unavailable(msgspec.json.decode(known.config)) for known in asking}
    return {digest: sentence for digest, sentence in told.items() if sentence}


# Copies


class _Chunk:
    """The new tasks of a chunk on their way: ids, families, splits, findings."""

    def __init__(
        self,
        prepared: Prepared,
        dataset: Dataset,
        known: _Known,
        exact: Exact,
        ids: Sequence[int],
        merged: Merged,
    ) -> None:
        self.prepared, self.dataset, self.known, self.exact, self.merged = prepared, dataset, known, exact, merged
        self.ids = dict(zip(exact.new, ids, strict=True))  # by row
        self.rows = dict(zip(ids, exact.new, strict=True))  # the other way round
        self.states = {row: self._state(row) for row in exact.new}
        self.families: dict[int, int] = {}  # by row
        self.inherited: dict[int, str] = {}  # split of the family, by row
        self.splits: dict[int, str] = {}
        self.findings: list[tuple[Any, ...]] = []
        self._stored: dict[int, neighbours.Compared] = {}  # candidates, by id
        self._after = 0  # the last task of the space before these
        self._wrapped: list[tuple[int, int]] = []  # (row, id of the task that asks the same)
        merged.states.update(self.states.values())

    def _state(self, row: int) -> TaskState:
        if self.prepared.graders[row] is None:
            return TaskState.NEEDS_GRADER
        return TaskState.CONFLICT if row in self.exact.clashing else TaskState.VALID

    def find_copies(self) -> None:
        """Families first: the split of a row follows the oldest of its family."""
        near = self._near_candidates()
        bare: dict[tuple[bytes, bytes], int] = {}  # (key without wrappers, answer) to the first row that brings it
        by_key: dict[bytes, str] = {}
        for row in self.exact.new:
            key = self.prepared.exact_keys[row]
            question = (self.prepared.stripped_keys[row] or key, self.prepared.answers[row])
            if row not in self.exact.contradicting and not self._is_wrapped(row, bare.get(question)):
                self._compare(row, near.get(row, ()))
            bare.setdefault(question, row)
            self.splits[row] = by_key.setdefault(key, self._split(row, key))
        self._tell_wrapped()

    def _split(self, row: int, key: bytes) -> str:
        """A prompt that its space has seen keeps its split; then a family's; else by the salted hash."""
        if stored := self.known.live.get(key):
            return stored[0].split
        if self.dataset.held_out:  # what was trained on a withdrawn task is left out of the suite, not sealed away
            return Split.SEALED
        if (withdrawn := self.known.withdrawn.get(key)) is not None:
            return withdrawn
        return self.inherited.get(row) or self.prepared.splits[row]

    def _is_wrapped(self, row: int, earlier: int | None) -> bool:
        """Whether the same question stands here already, in another wrapper or in none; the oldest counts."""
        key, answer = self.prepared.exact_keys[row], self.prepared.answers[row]
        question = self.prepared.stripped_keys[row] or key
        stored = [
            older
            for older in self.known.bare.get(question, ())
            if older.answer == answer and older.state not in (TaskState.WITHDRAWN, TaskState.REJECTED)
        ]
        if stored:
            oldest = min(stored)
            if oldest.exact_key == key:
                return False
            self._join(row, oldest.id, oldest.family or oldest.id, oldest.split)
            other = oldest.id
        elif earlier is not None and self.prepared.exact_keys[earlier] != key:
            other = self.ids[earlier]
            self._join(row, other, self.families.get(earlier, other), self.splits[earlier])
        else:
            return False
        self._wrapped.append((row, other))
        return True

    def _tell_wrapped(self) -> None:
        known = approved(wrapping.texts_of(self.dataset.space_id))
        names = self.prepared.wrapped
        stored = wrapping.taken_off({other for _, other in self._wrapped if other not in self.rows}, known)
        for row, other in self._wrapped:
            others = names.get(self.rows[other], ()) if other in self.rows else stored.get(other, ())
            evidence = wrapping.evidence(self.prepared.folded[row], known, names.get(row, ()), others)
            self._find(row, TaskFinding.Kind.NEAR_DUPLICATE, "wrapped", other, 1.0, evidence)

    def _join(self, row: int, task: int, family: int, split: str) -> None:
        """A family has one split: a held-out row, which is sealed, joins none that is open; it is only said to be
        near."""
        if not self.dataset.held_out or split == Split.SEALED:
            self.families[row], self.inherited[row] = family, split

    def _near_candidates(self) -> dict[int, list[tuple[int, bool]]]:
        """{row: [(id of a stored task or row of the chunk, whether it is a row)]}, best first."""
        kept = np.zeros(len(self.prepared.lines), dtype=np.bool_)
        kept[self.exact.new] = True
        index = neighbours.caught_up(self.dataset.space)
        self._after = index.watermark
        older = bands.older(index, self.prepared.near, kept)
        wanted = kept[older.rows]
        found: dict[int, list[tuple[int, bool]]] = {}
        columns = (older.rows[wanted].tolist(), older.others[wanted].tolist(), older.in_chunk[wanted].tolist())
        for row, other, in_chunk in zip(*columns, strict=True):
            found.setdefault(row, []).append((other, in_chunk))
        stored = {pk for pairs in found.values() for pk, in_chunk in pairs if not in_chunk}
        self._stored = neighbours.compared(stored, approved(wrapping.texts_of(self.dataset.space_id)))
        return found

    def _compare(self, row: int, candidates: Sequence[tuple[int, bool]]) -> None:
        if not candidates:
            return
        others = [
            self._near(other) if in_chunk else self._stored[other].near
            for other, in_chunk in candidates
            if in_chunk or other in self._stored
        ]
        found = families.decide(self._near(row), others)
        if found is None:
            return
        evidence = {"shared": found.shared}
        similarity = found.similarity / 100
        if isinstance(found, Family):
            split = self._stored[found.task].split if found.task in self._stored else self.splits[self.rows[found.task]]
            self._join(row, found.task, found.family, split)
            self._find(row, TaskFinding.Kind.NEAR_DUPLICATE, "near", found.task, similarity, evidence)
        else:
            self._find(row, TaskFinding.Kind.SUSPECT, "near", found.task, similarity, evidence)

    def _near(self, row: int) -> Near:
        return Near(
            self.ids[row],
            self.prepared.folded[row],
            f"{self.prepared.signatures[row]:016x}",
            self.prepared.answers[row].hex(),
            self.families.get(row),
        )

    def _find(
        self,
        row: int,
        kind: str,
        rule: str,
        other: int | None,
        similarity: float | None,
        evidence: Mapping[str, Any],
    ) -> None:
        self.findings.append((self.ids[row], kind, rule, other, similarity, _encode(evidence).decode()))
        self.merged.found[kind] += 1

    def added(self) -> neighbours.Added | None:
        ids = np.fromiter(self.ids.values(), dtype=np.int64, count=len(self.ids))
        return neighbours.Added(self._after, ids, self.prepared.near[self.exact.new]) if len(ids) else None

    def copy(self, upload_id: int) -> None:
        now = timezone.now().isoformat().encode()
        space = str(self.dataset.space_id).encode()
        copy_lines("tasks_task", _TASK_COLUMNS, (self._task(row, space, now) for row in self.exact.new))
        memberships, duplicates = self._memberships(upload_id)
        copy_lines(
            "tasks_datasettask", ("dataset_id", "upload_id", "role", "line", "task_id", "duplicate"), memberships
        )
        self.merged.duplicates = duplicates

    def _task(self, row: int, space: bytes, now: bytes) -> bytes:
        state = self.states[row]
        why = _CLASH if state is TaskState.CONFLICT else b"\t"
        family = self.families.get(row)
        return b"\t".join(
            (
                str(self.ids[row]).encode(),
                space,
                state.encode(),
                why,
                b"\\N" if family is None else str(family).encode(),
                self.splits[row].encode(),
                now,
                self.prepared.columns[row],
            )
        )

    def _memberships(self, upload_id: int) -> tuple[list[bytes], int]:
        same = b"%d\t%d\tsplit\t" % (self.dataset.pk, upload_id)
        rows, duplicates = [], 0
        for row, line in enumerate(self.prepared.lines):
            first = self.exact.firsts[row]
            task = self.exact.tasks[row] or (self.ids[first] if first >= 0 else 0)
            if task:  # others were refused
                duplicate = first != row
                duplicates += duplicate
                rows.append(same + b"%d\t%d\t%s" % (line, task, b"t" if duplicate else b"f"))
        return rows, duplicates


_CLASH = CLASH.encode() + b"\tconflict"


def _count_findings(chunk: _Chunk) -> None:
    """What screening and suites found about new tasks, beside their copies."""
    prepared = chunk.prepared
    for row, findings in prepared.findings.items():
        if row in chunk.ids:
            for found in findings:
                chunk._find(row, found.kind, found.rule, None, found.similarity, found.evidence)
    shared = {
        row: overlap for row, overlap in prepared.overlaps.items() if row in chunk.ids and _is_told(overlap, chunk, row)
    }
    names = _suite_names(shared.values())
    for row, overlap in shared.items():
        evidence = heldout.evidence(names.get(overlap.item, ""), overlap)
        chunk._find(row, TaskFinding.Kind.OVERLAP, overlap.rule, None, overlap.share, evidence)
    chunk.merged.found["sibling"] += sum(
        overlap.verdict is Verdict.SIBLING for row, overlap in prepared.overlaps.items() if row in chunk.ids
    )
    copy_rows("tasks_taskfinding", _FINDING_COLUMNS, chunk.findings)


def _is_told(overlap: Overlap, chunk: _Chunk, row: int) -> bool:
    """Siblings are counted only; what a sealed task shares with its own suite is no news."""
    return overlap.verdict is not Verdict.SIBLING and chunk.splits[row] != Split.SEALED
