"""The proof of an upload: every valid task's gold must pass and its decoys must not; then its policy lets tasks in.

Two stages, both resumable and fenced. Grading writes one Proof a task, in chunks of lines. Settling moves the tasks by
their proofs, after the whole upload's matrix has decided which graders are refused.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from tasks import proof
from tasks.crash import crash_point
from tasks.graders import registry
from tasks.models import DatasetTask, Proof, ProofRun, Review, Task, Team, Upload
from tasks.services import leases
from tasks.services.copying import copy_rows
from tasks.services.importing import add_counts
from tasks.states import ProofState, TaskState
from tasks.text import prompt_text
from tasks.types import Message

CHUNK_LINES = 1000
MOVED_AT_ONCE = 5000
QUARANTINED = (
    "Proving this upload stopped its worker three times at the same place: report it, then set its grader again."
)
_PROOF_COLUMNS = ("task_id", "grader_id", "outcome", "code", "reason", "gold", "decoys", "at")


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
            work.approve()
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

    def _stretch(self, after: int) -> Sequence[DatasetTask]:
        return list(
            DatasetTask.objects.filter(upload=self.upload, line__gt=after)
            .select_related("task__grader")
            .defer("task__metadata")
            .annotate(proved=Exists(Proof.objects.filter(task=OuterRef("task"), grader=OuterRef("task__grader"))))
            .order_by("line")[:CHUNK_LINES]
        )

    def _grade(self, stretch: Sequence[DatasetTask]) -> None:
        wanted = {
            row.task_id: row.task
            for row in stretch
            if row.task.state in (TaskState.VALID, TaskState.CONFLICT) and row.task.grader and not row.proved  # type: ignore[attr-defined]
        }
        if not wanted:
            with transaction.atomic():
                self._keep()
            return
        proofs = prove_tasks(list(wanted.values()), {row.task_id: row.task for row in stretch}.values())
        self._write(wanted, proofs)

    @transaction.atomic
    def _write(self, tasks: dict[int, Task], proofs: dict[int, proof.Proof]) -> None:
        held = self._hold()
        new = _store(tasks, proofs)
        tallies: dict[str, list[proof.Proof]] = {}
        for pk in new:
            tallies.setdefault(tasks[pk].grader.type, []).append(proofs[pk])  # type: ignore[union-attr]
        matrix = {kind: proof.tally(found) for kind, found in tallies.items()}
        crash_point("prove.before_commit")
        self._keep(counts=add_counts(held.counts, {"tasks": len(new), "matrix": matrix}))

    def settle(self) -> None:
        """Move tasks by their proofs; a refused grader's tasks are rejected whatever their own proof says."""
        matrix = ProofRun.objects.values_list("counts", flat=True).get(pk=self.pk).get("matrix", {})
        refused = {kind: found for kind, tally in matrix.items() if (found := proof.refusal(tally))}
        for kind, found in refused.items():
            sentence = f"{kind}: {found.sentence}"
            changes = {"reason": sentence[:300], "reason_code": "grader_refused"}
            for old in (TaskState.VALID, TaskState.CONFLICT):
                self._move(old, TaskState.REJECTED, {"grader__type": kind}, **changes)
        if refused:
            with transaction.atomic():
                self._keep(refusals=[f"{kind}: {found.sentence}" for kind, found in sorted(refused.items())])
        self._move(TaskState.VALID, TaskState.PROVED, _by(proof.ProofOutcome.PROVED), reason="", reason_code="")
        own = {"reason": _from_proof("reason"), "reason_code": _from_proof("code")}
        self._move(TaskState.VALID, TaskState.UNPROVED, _by(proof.ProofOutcome.UNPROVED), **own)
        for old in (TaskState.VALID, TaskState.CONFLICT):
            self._move(old, TaskState.REJECTED, _by(proof.ProofOutcome.REJECTED), **own)

    def approve(self) -> None:
        """What the space's policy lets in without a person; a decision that was undone stays with people."""
        approval = Team.objects.values_list("approval", flat=True).get(pk=self.space.pk)
        states = {
            Team.Approval.PERSON: (),
            Team.Approval.PROVED: (TaskState.PROVED,),
            Team.Approval.ALL: (TaskState.PROVED, TaskState.UNPROVED),
        }[Team.Approval(approval)]
        undecided = {"undecided": True}
        for old in states:
            now = timezone.now()
            self._move(old, TaskState.APPROVED, undecided, data={"policy": approval}, approved_at=now)

    def _move(self, old: TaskState, new: TaskState, which: dict[str, Any], **changes: Any) -> None:
        """Move this upload's tasks in `old` that `which` selects, a chunk and an event at a time."""
        while pks := self._chosen(old, which):
            with transaction.atomic():
                held = self._hold()
                moved = Task.objects.advance_many(pks, old, new, team=self.space.pk, **changes)
                self._keep(counts=add_counts(held.counts, {new.value: len(moved)}))
            crash_point("prove.after_move")

    def _chosen(self, old: TaskState, which: dict[str, Any]) -> list[int]:
        tasks = Task.objects.filter(
            Exists(DatasetTask.objects.filter(upload=self.upload, task=OuterRef("pk"))), space=self.space, state=old
        ).annotate(
            undecided=~Exists(Review.objects.filter(task=OuterRef("pk"))),
            proof_outcome=_from_proof("outcome"),
        )
        return list(tasks.filter(**which).order_by("pk").values_list("pk", flat=True)[:MOVED_AT_ONCE])

    @transaction.atomic
    def finish(self) -> bool:
        """Done, unless rows have got their grader in the meantime (waiting.check_grader leaves them to us)."""
        held = self._hold()
        if self._chosen(TaskState.VALID, {}):
            return False
        new = ProofState.REFUSED if held.refusals else ProofState.DONE
        return ProofRun.objects.advance(
            self.pk, ProofState.PROVING, new, attempt=self.attempt, finished_at=timezone.now(), data=held.counts
        )


def _by(outcome: proof.ProofOutcome) -> dict[str, str]:
    return {"proof_outcome": outcome.value}


def _from_proof(column: str) -> Any:
    own = Proof.objects.filter(task=OuterRef("pk"), grader=OuterRef("grader")).values(column)[:1]
    return Coalesce(Subquery(own), Value(""))


def prove_tasks(wanted: Sequence[Task], around: Any) -> dict[int, proof.Proof]:
    """Prove tasks, each beside the golds of the tasks behind it that have the same kind of grader. Writes nothing."""
    rings: dict[str, list[Task]] = {}
    for task in around:
        if task.grader is not None:
            rings.setdefault(task.grader.type, []).append(task)
    asked = {task.pk for task in wanted}
    return {pk: found for ring in rings.values() for pk, found in _prove_ring(ring, asked)}


def _prove_ring(ring: Sequence[Task], asked: set[int]) -> Any:
    golds = [_gold_of(task) for task in ring]
    for position, task in enumerate(ring):
        if task.pk in asked:
            others = (
                golds[(position + step) % len(ring)] for step in range(1, min(len(ring), proof.MAX_CANDIDATES + 1))
            )
            neighbours = [gold for gold in others if gold is not None]
            prompt = prompt_text([Message(**message) for message in task.messages])
            yield task.pk, proof.prove(task.grader.config, task.item, golds[position], prompt, neighbours)  # type: ignore[union-attr]


def _gold_of(task: Task) -> str | None:
    return task.gold if task.gold is not None else registry.gold(task.grader.config, task.item)  # type: ignore[union-attr]


def _store(tasks: dict[int, Task], proofs: dict[int, proof.Proof]) -> list[int]:
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
