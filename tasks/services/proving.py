"""The proof of an upload: every valid task's gold must pass and its decoys must not; then its policy lets tasks in.

Two stages, both resumable and fenced. Grading writes one Proof a task, in chunks of lines. Settling moves the tasks by
their proofs, after the whole upload's matrix has decided which graders are refused.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from django.db import connection, transaction
from django.db.models import OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from tasks import proof
from tasks.crash import crash_point
from tasks.graders import registry
from tasks.models import DatasetTask, Grader, Proof, ProofRun, Review, Task, Team, Upload
from tasks.services import leases
from tasks.services.copying import copy_rows, lock_space
from tasks.services.importing import add_counts
from tasks.states import ProofState, TaskState
from tasks.text import prompt_text
from tasks.types import Message

CHUNK_LINES = 1000
MOVED_AT_ONCE = 2000  # lines
QUARANTINED = (
    "Proving this upload stopped its worker three times at the same place: report it, then set its grader again."
)
_PROOF_COLUMNS = ("task_id", "grader_id", "outcome", "code", "reason", "gold", "decoys", "at")

_CANDIDATE_COLUMNS = (
    "line",
    "task_id",
    "task__state",
    "task__grader_id",
    "task__messages",
    "task__item",
    "task__gold",
    "proved",
)


class Candidate(NamedTuple):
    """One row of an upload with what its proof reads."""

    line: int
    task_id: int
    state: str
    grader_id: Any  # digest, or None while it waits for a grader
    messages: list[dict[str, str]]
    item: dict[str, Any]
    gold: str | None
    proved: int | None  # its proof, where there is one


class Proved(NamedTuple):
    """One row of an upload with what its proof said."""

    line: int
    task_id: int
    state: str
    kind: str | None  # of grader
    outcome: str | None
    decided: int | None  # a review, where a person has had it in hand


_SETTLED = (
    (proof.ProofOutcome.PROVED, TaskState.VALID, TaskState.PROVED),
    (proof.ProofOutcome.UNPROVED, TaskState.VALID, TaskState.UNPROVED),
    (proof.ProofOutcome.REJECTED, TaskState.VALID, TaskState.REJECTED),
    (proof.ProofOutcome.REJECTED, TaskState.CONFLICT, TaskState.REJECTED),
)
_AFTER = {(outcome.value, old.value): new.value for outcome, old, new in _SETTLED}
_LET_IN = {
    Team.Approval.PERSON: (),
    Team.Approval.PROVED: (TaskState.PROVED,),
    Team.Approval.ALL: (TaskState.PROVED, TaskState.UNPROVED),
}


def prove_upload(upload_id: int) -> None:
    """Prove an upload, if nobody else does. Repeated or late calls change nothing."""
    run = ProofRun.objects.select_related("upload__dataset__space").filter(upload_id=upload_id).first()
    if run is None:
        return
    attempt = leases.claim(ProofRun, run.pk, ProofState.PENDING, ProofState.PROVING)
    if attempt is None:
        _quarantine(run)
        return
    work = _Work(run, attempt)
    try:
        while True:
            work.grade()
            work.settle()
            if work.finish():
                return
    except leases.FencedOff:
        return


def _quarantine(run: ProofRun) -> None:
    poisoned = leases.poisoned(ProofRun, ProofState.PENDING, ProofState.PROVING)
    now = timezone.now()
    poisoned.advance(run.pk, ProofState.PROVING, ProofState.REFUSED, refusals=[QUARANTINED], finished_at=now)


class _Work:
    """One attempt at one proof."""

    def __init__(self, run: ProofRun, attempt: int) -> None:
        self.pk, self.attempt = run.pk, attempt
        self.upload: Upload = run.upload
        self.space: Team = run.upload.dataset.space

    def _hold(self) -> ProofRun:
        held: ProofRun = leases.hold(ProofRun, self.pk, self.attempt, ProofState.PROVING)
        return held

    def _keep(self, **changes: Any) -> None:
        leases.keep(ProofRun, self.pk, self.attempt, ProofState.PROVING, **changes)

    def grade(self) -> None:
        """Write a Proof for every valid or conflicting task of the upload that has none."""
        line = 0
        while stretch := self._stretch(line):
            line = stretch[-1].line
            self._grade(stretch)
            crash_point("prove.after_chunk")

    def _stretch(self, after: int) -> list[Candidate]:
        kept = Proof.objects.filter(task=OuterRef("task"), grader=OuterRef("task__grader"))
        rows = DatasetTask.objects.filter(upload=self.upload, line__gt=after).annotate(proved=_first(kept))
        return [Candidate(*row) for row in rows.order_by("line").values_list(*_CANDIDATE_COLUMNS)[:CHUNK_LINES]]

    def _grade(self, stretch: Sequence[Candidate]) -> None:
        wanted = {
            row.task_id: row
            for row in stretch
            if row.state in (TaskState.VALID, TaskState.CONFLICT) and row.grader_id and not row.proved
        }
        if not wanted:
            with transaction.atomic():
                self._keep()
            return
        graders = Grader.objects.in_bulk({row.grader_id for row in stretch if row.grader_id})
        proofs = prove_candidates({row.task_id: row for row in stretch}.values(), graders, wanted)
        self._write(wanted, proofs, graders)

    @transaction.atomic
    def _write(
        self, wanted: dict[int, Candidate], proofs: dict[int, proof.Proof], graders: Mapping[str, Grader]
    ) -> None:
        held = self._hold()
        new = _store(wanted, proofs)
        tallies: dict[str, list[proof.Proof]] = {}
        for pk in new:
            tallies.setdefault(graders[wanted[pk].grader_id].type, []).append(proofs[pk])
        matrix = {kind: proof.tally(found) for kind, found in tallies.items()}
        crash_point("prove.before_commit")
        self._keep(counts=add_counts(held.counts, {"tasks": len(new), "matrix": matrix}))

    def settle(self) -> None:
        """Move tasks by their proofs, and in by the space's policy; a refused grader's tasks are all rejected."""
        matrix = ProofRun.objects.values_list("counts", flat=True).get(pk=self.pk).get("matrix", {})
        refused = {kind: found for kind, tally in matrix.items() if (found := proof.refusal(tally))}
        sentences = {kind: f"{kind}: {found.sentence}" for kind, found in sorted(refused.items())}
        if sentences:
            with transaction.atomic():
                self._keep(refusals=list(sentences.values()))
        line = 0
        while stretch := self._proved(line):
            line = stretch[-1].line
            self._settle(stretch, sentences)
            crash_point("prove.after_move")

    def _proved(self, after: int) -> list[Proved]:
        own = Proof.objects.filter(task=OuterRef("task"), grader=OuterRef("task__grader"))
        rows = DatasetTask.objects.filter(upload=self.upload, line__gt=after).annotate(
            outcome=_first(own, "outcome"),
            decided=_first(Review.objects.filter(task=OuterRef("task"))),
        )
        columns = ("line", "task_id", "task__state", "task__grader__type", "outcome", "decided")
        return [Proved(*row) for row in rows.order_by("line").values_list(*columns)[:MOVED_AT_ONCE]]

    @transaction.atomic
    def _settle(self, stretch: Sequence[Proved], refused: Mapping[str, str]) -> None:
        """One event a move of a stretch. A decision that a person has undone stays with people."""
        lock_space(self.space.pk)  # an import may be moving the same tasks into conflict
        held = self._hold()
        counts: Counter[str] = Counter()
        for kind, sentence in refused.items():
            own = [row for row in stretch if row.kind == kind]
            why = {"reason": sentence[:300], "reason_code": "grader_refused"}
            for old in (TaskState.VALID, TaskState.CONFLICT):
                counts[TaskState.REJECTED] += len(self._move(own, old, TaskState.REJECTED, **why))
        left = [row for row in stretch if row.kind not in refused]
        for outcome, old, new in _SETTLED:
            own = [row for row in left if row.outcome == outcome]
            counts[new] += len(self._move(own, old, new, **(_WHY if new is not TaskState.PROVED else _NO_REASON)))
        undecided = [
            row._replace(state=_AFTER.get((row.outcome or "", row.state), row.state)) for row in left if not row.decided
        ]
        approval = Team.Approval(Team.objects.values_list("approval", flat=True).get(pk=self.space.pk))
        for old in _LET_IN[approval]:
            changes = {"data": {"policy": approval}, "approved_at": timezone.now()}
            counts[TaskState.APPROVED] += len(self._move(undecided, old, TaskState.APPROVED, **changes))
        self._keep(counts=add_counts(held.counts, {name: count for name, count in counts.items() if count}))

    def _move(self, rows: Sequence[Proved], old: TaskState, new: TaskState, **changes: Any) -> list[int]:
        pks = {row.task_id for row in rows if row.state == old}
        return Task.objects.advance_many(pks, old, new, team=self.space.pk, **changes) if pks else []

    @transaction.atomic
    def finish(self) -> bool:
        """Done, unless rows have got their grader in the meantime (waiting.check_grader leaves them to us)."""
        held = self._hold()
        if DatasetTask.objects.filter(upload=self.upload, task__state=TaskState.VALID).exists():
            return False
        new = ProofState.REFUSED if held.refusals else ProofState.DONE
        return ProofRun.objects.advance(
            self.pk, ProofState.PROVING, new, attempt=self.attempt, finished_at=timezone.now(), data=held.counts
        )


def _first(rows: QuerySet[Any], column: str = "pk") -> Subquery:
    """By index for each row. Exists() is planned as a hash over the whole table, read anew with every chunk."""
    return Subquery(rows.values(column)[:1])


def _from_proof(column: str) -> Any:
    own = Proof.objects.filter(task=OuterRef("pk"), grader=OuterRef("grader")).values(column)[:1]
    return Coalesce(Subquery(own), Value(""))


_WHY = {"reason": _from_proof("reason"), "reason_code": _from_proof("code")}
_NO_REASON = {"reason": "", "reason_code": ""}


def prove_candidates(
    stretch: Iterable[Candidate], graders: Mapping[str, Grader], wanted: Container[int]
) -> dict[int, proof.Proof]:
    """Prove tasks, each beside the golds of the tasks behind it that have the same kind of grader. Writes nothing."""
    rings: dict[str, list[Candidate]] = {}
    for row in stretch:
        if row.grader_id is not None:
            rings.setdefault(graders[row.grader_id].type, []).append(row)
    return {pk: found for ring in rings.values() for pk, found in _prove_ring(ring, graders, wanted)}


def _prove_ring(
    ring: Sequence[Candidate], graders: Mapping[str, Grader], wanted: Container[int]
) -> Iterator[tuple[int, proof.Proof]]:
    configs = {digest: registry.parse(grader.config) for digest, grader in graders.items()}
    golds = [row.gold if row.gold is not None else registry.gold(configs[row.grader_id], row.item) for row in ring]
    for position, row in enumerate(ring):
        if row.task_id in wanted:
            steps = range(1, min(len(ring), proof.MAX_CANDIDATES + 1))
            others = (golds[(position + step) % len(ring)] for step in steps)
            neighbours = [gold for gold in others if gold is not None]
            prompt = prompt_text([Message(**message) for message in row.messages])
            yield row.task_id, proof.prove(configs[row.grader_id], row.item, golds[position], prompt, neighbours)


def _store(tasks: Mapping[int, Candidate], proofs: dict[int, proof.Proof]) -> list[int]:
    """Keep proofs; returns the ids of those that nobody had kept before."""
    now = timezone.now()
    rows = (
        (pk, tasks[pk].grader_id, found.outcome.value, found.code, found.reason[:300], *_evidence(found), now)
        for pk, found in sorted(proofs.items())
    )
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE found (LIKE tasks_proof) ON COMMIT DROP; ALTER TABLE found DROP COLUMN id")
        copy_rows("found", _PROOF_COLUMNS, rows)
        names = ", ".join(_PROOF_COLUMNS)
        cursor.execute(
            f"INSERT INTO tasks_proof ({names}) SELECT {names} FROM found ON CONFLICT DO NOTHING RETURNING task_id"  # noqa: S608
        )
        new = [pk for (pk,) in cursor.fetchall()]
        cursor.execute("DROP TABLE found")
    return new


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _evidence(found: proof.Proof) -> tuple[str | None, str]:
    """The gold's grade, and the decoys: those that were refused by kind only, because they are nearly all of them."""
    whole = proof.as_json(found)
    grade = whole["gold_grade"]
    gold = None if grade is None else _text({"completion": whole["gold"], **grade})
    decoys = [
        {"kind": decoy["kind"], "outcome": decoy["outcome"]}
        if decoy["outcome"] == proof.DecoyOutcome.REFUSED
        else {
            "kind": decoy["kind"],
            "outcome": decoy["outcome"],
            "excerpt": decoy["completion"],
            "reason": (decoy["grade"] or {}).get("reason", ""),
        }
        for decoy in whole["decoys"]
    ]
    return gold, _text(decoys)
