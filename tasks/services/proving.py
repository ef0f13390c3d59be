"""The proof of an upload: every valid task's gold must pass and its decoys must not; then its policy lets tasks in.

Three stages, all resumable and fenced. Grading writes one Proof a task, piece by piece; where there are many, child
processes grade the next pieces while we write one. Counting makes the upload's matrix, which decides what graders are
refused. Settling moves the tasks by their proofs (tasks.services.verdicts).

What cannot be decided now is left as it is: the rows of a judge until somebody agrees to its cost, and the rows of a
grader that fails too often to decide anything (the error budget).
"""

from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from time import monotonic
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.utils import timezone

from tasks import evidence, proof, stretch
from tasks.crash import crash_point
from tasks.crew import Crew
from tasks.evidence import Kept
from tasks.graders import judges, registry
from tasks.models import DatasetTask, Grader, Proof, ProofRun, Task, Team, Upload
from tasks.services import judged, leases, matrix, proofs, verdicts
from tasks.services.copying import lock_space
from tasks.services.grouping import Budget, Group, Groups
from tasks.services.importing import add_counts
from tasks.services.proofs import RETRIED
from tasks.services.verdicts import Verdicts
from tasks.states import ProofState, TaskState
from tasks.stretch import Part, Row

CHUNK_LINES = 2000
PROCESSES = 2
ALONE = 2000  # rows graded before child processes are worth their start
MOVED_AT_ONCE = 2000  # lines
FIRST_PIECE = 8  # rows graded before the first look at the clock
PIECE_SECONDS = 4.0  # that a piece should not take longer than: progress is shown, and kept, piece by piece
_DECIDED_BY_PROOF = (TaskState.VALID, TaskState.CONFLICT)
QUARANTINED = (
    "Proving this upload stopped its worker three times at the same place: report it, then set its grader again."
)


@dataclass(slots=True)
class _Pace:
    """How many rows are graded between two looks at the clock."""

    rows: int = FIRST_PIECE

    def keep(self, answer: tuple[float, list[Kept]]) -> list[Kept]:
        """(seconds, proofs) of a piece: the next takes about PIECE_SECONDS."""
        seconds, found = answer
        if found:
            enough = int(len(found) * min(4.0, PIECE_SECONDS / max(seconds, 0.01)))
            self.rows = max(FIRST_PIECE, min(CHUNK_LINES, enough))
        return found


class _Stretch:
    """Consecutive lines of an upload: what rows take their decoys from."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows, self.rings = rows, stretch.rings(rows)
        self._configs: dict[str, bytes] | None = None

    @property
    def configs(self) -> stretch.Configs:
        if self._configs is None:
            graders = Grader.objects.in_bulk({row.grader_id for row in self.rows if row.grader_id})
            self._configs = {digest: msgspec.json.encode(grader.config) for digest, grader in graders.items()}
        return self._configs


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows of a stretch that are graded at once."""

    within: _Stretch
    wanted: list[Row]
    is_last: bool  # of its stretch

    @property
    def tasks(self) -> list[int]:
        return [row.task_id for row in self.wanted]

    @property
    def call(self) -> tuple[list[Part], stretch.Configs]:
        if not self.wanted:
            return [], {}
        parts = stretch.parts(self.within.rings, self.wanted)
        return parts, {digest: self.within.configs[digest] for digest in stretch.graders_of(parts)}


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
            work.look()
            work.grade()
            work.count()
            work.settle()
            crash_point("prove.before_finish")
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
        self.pace, self.slow_pace = _Pace(), _Pace()  # of graders that are functions; of those that work elsewhere
        self.judges: set[str] = set()  # digests of graders that ask a model
        self.sample: set[int] | None = None  # lines that they may prove; None: nobody has agreed yet
        self.tried: dict[str, str | None] = {}  # digest of a grader → what its trial showed
        self.budget = Budget()
        self.groups: Groups
        self.matrix: dict[Group, proof.Tally] = {}
        self.overtaken = False  # a task has got a grader with whose other rows it was not counted

    def _hold(self) -> ProofRun:
        held: ProofRun = leases.hold(ProofRun, self.pk, self.attempt, ProofState.PROVING)
        return held

    def _keep(self, **changes: Any) -> None:
        leases.keep(ProofRun, self.pk, self.attempt, ProofState.PROVING, **changes)

    def look(self) -> None:
        """What there is now: a change of grader makes everything read before it stale."""
        self.groups, self.overtaken = Groups(self.upload), False
        self._look_at_judges()

    def _look_at_judges(self) -> None:
        """Estimate what judges cost, unless that is agreed on. Where the policy lets unproved tasks in, nobody is
        asked and nothing is spent."""
        self.judges = judged.graders(self.upload)
        with transaction.atomic():
            held = self._hold()
        if held.agreed_rows is not None:
            self.sample = set(held.estimate.get("lines", ()))
            return
        found = None
        if self.judges and verdicts.policy(self.space) != Team.Approval.ALL:
            with leases.kept_alive(ProofRun, self.pk, self.attempt, ProofState.PROVING):
                found = judged.estimate(self.upload, self.judges)
        with transaction.atomic():
            self._keep(estimate={} if found is None else msgspec.to_builtins(found))
        self.sample = set() if found is None else None

    def grade(self) -> None:
        """Write a Proof for every valid or conflicting task of the upload that has none."""
        with transaction.atomic():
            self._keep(counts={**self._hold().counts, "tasks": 0})
        with closing(self._graded()) as graded:
            while True:
                with self._kept_alive():
                    one = next(graded, None)
                if one is None:
                    return
                piece, found = one
                self._write(piece.wanted, found)
                if piece.is_last:
                    self._grade_elsewhere(piece.within)
                    self._count_proved(piece.within)
                    crash_point("prove.after_chunk")

    def _graded(self) -> Generator[tuple[_Piece, list[Kept]], None, None]:
        """Pieces in their order with their proofs: graded here while there are few, then ahead of us."""
        under_way: set[int] = set()  # tasks that a child grades, or whose proofs are not written yet
        pieces = self._pieces(under_way)
        rows = 0
        for piece in pieces:
            yield piece, self.pace.keep(stretch.prove(*piece.call))
            rows += len(piece.wanted)
            if rows >= ALONE:
                break
        if (following := next(pieces, None)) is None:
            return
        asked: deque[_Piece] = deque()

        def calls() -> Iterator[tuple[list[Part], stretch.Configs]]:
            for piece in chain((following,), pieces):
                asked.append(piece)
                under_way.update(piece.tasks)
                yield piece.call

        with Crew(PROCESSES) as crew:
            for answer in crew.map("tasks.stretch:prove", calls()):
                piece = asked.popleft()
                yield piece, self.pace.keep(answer)
                under_way.difference_update(piece.tasks)

    def _pieces(self, under_way: Set[int]) -> Iterator[_Piece]:
        """Every stretch of the upload has at least one, if an empty one, by which the lease is renewed. A row that an
        earlier stretch holds too may be under way there."""
        line = 0
        while rows := proofs.stretch(self.upload.pk, line, CHUNK_LINES):
            line = rows[-1].line
            now = _Stretch(rows)
            left = [row for row in self._wanted(now, elsewhere=False) if row.task_id not in under_way]
            while True:
                wanted, left = left[: self.pace.rows], left[self.pace.rows :]
                yield _Piece(now, wanted, is_last=not left)
                if not left:
                    break

    def _wanted(self, now: _Stretch, *, elsewhere: bool) -> list[Row]:
        stopped = self.budget.stopped
        return [
            row
            for kind, ring in now.rings.items()
            if stretch.works_elsewhere(kind) is elsewhere
            for row in ring
            if not row.proved and row.state in _DECIDED_BY_PROOF and not (stopped and self._group(row) in stopped)
        ]

    def _kept_alive(self) -> Any:
        return leases.kept_alive(ProofRun, self.pk, self.attempt, ProofState.PROVING)

    def _grade_elsewhere(self, now: _Stretch) -> None:
        """With the graders whose pools and sockets are in this process. A judge may be spared."""
        wanted = {row.task_id: row for row in self._wanted(now, elsewhere=True)}
        if not wanted:
            return
        given = stretch.parts(now.rings, list(wanted.values()))
        claims = {pk: claim for part in given for pk, claim in stretch.claims_of(part, now.configs).items()}
        spared = {pk for pk, claim in claims.items() if self._is_spared(wanted[pk], claim)}
        if unsampled := [pk for pk in spared if self.sample is not None and wanted[pk].grader_id in self.judges]:
            told = [evidence.kept(pk, proof.not_sampled(claims[pk].gold or "")) for pk in unsampled]
            self._write(list(wanted.values()), told)
        left = [pk for pk in claims if pk not in spared]
        while left:
            piece, left = left[: self.slow_pace.rows], left[self.slow_pace.rows :]
            self._grade_piece([wanted[pk] for pk in piece], {pk: claims[pk] for pk in piece})
            left = [pk for pk in left if self._group(wanted[pk]) not in self.budget.stopped]

    def _group(self, row: Row) -> Group:
        return self.groups.of(row.kind, row.grader_id)

    def _is_spared(self, row: Row, claim: proof.Claim) -> bool:
        """Whether its judge is not asked: nobody has agreed to it, or the sample is without this row. A judge that has
        come since we looked waits for the next look."""
        if claim.gold is None or not registry.asks_a_model(claim.config):
            return False
        return row.grader_id not in self.judges or row.line not in (self.sample or ())

    def _grade_piece(self, wanted: Sequence[Row], claims: dict[int, proof.Claim]) -> None:
        begun = monotonic()
        with self._kept_alive(), judges.for_team(self.space.pk):
            found = stretch.prove_claims(claims, self.tried)
        told = [evidence.kept(pk, one) for pk, one in found.items()]
        self._write(wanted, self.slow_pace.keep((monotonic() - begun, told)))

    def _write(self, wanted: Sequence[Row], found: Sequence[Kept]) -> None:
        """Keep proofs. Those behind the one that has stopped their grader are left."""
        rows = {row.task_id: row for row in wanted}
        stopped: dict[Group, Kept] = {}
        left = []
        for one in found:
            group = self._group(rows[one.task_id])
            if group not in self.budget.stopped and group not in stopped:
                left.append(one)
                if self.budget.count(group, one):
                    stopped[group] = one
        self._store(rows, left)
        for group, last in stopped.items():
            self.budget.stop(group, self.groups.name(group), last)
            self._leave_undecided(group)

    @transaction.atomic
    def _store(self, rows: Mapping[int, Row], found: Sequence[Kept]) -> None:
        if not found:
            self._keep()
            return
        held = self._hold()
        new = proofs.store(rows, found)
        ungradable: dict[str, Counter[str]] = {}
        for one in found:
            if one.faults and one.task_id in new:
                ungradable.setdefault(str(rows[one.task_id].kind), Counter()).update(one.faults)
        faults = {kind: dict(flags) for kind, flags in ungradable.items()}
        crash_point("prove.before_commit")
        self._keep(counts=add_counts(held.counts, {"tasks": len(new), "ungradable": faults}))

    @transaction.atomic
    def _count_proved(self, now: _Stretch) -> None:
        """What an earlier attempt has proved is counted as we pass it."""
        if proved := sum(row.proved and not row.duplicate for row in now.rows):
            self._keep(counts=add_counts(self._hold().counts, {"tasks": proved}))

    @transaction.atomic
    def _leave_undecided(self, group: Group) -> None:
        """The grader failed too often: its failures decide nothing, so that a repair can still prove these rows."""
        held = self._hold()
        rows = DatasetTask.objects.filter(self.groups.rows(group), upload=self.upload)
        tasks = Task.objects.filter(pk__in=rows.values("task"), state__in=_DECIDED_BY_PROOF)
        kept = Proof.objects.filter(task__in=tasks.values("pk"), grader=F("task__grader"), code__in=RETRIED)
        gone, _ = kept.delete()
        self._keep(counts=add_counts(held.counts, {"tasks": -gone}))

    def count(self) -> None:
        """The matrix of the whole upload, by what is kept of every row."""

        def keep(counts: dict[str, proof.Tally]) -> None:
            self._keep(counts={**self._hold().counts, "matrix": counts, "refused": {}})
            crash_point("prove.while_counting")

        self.matrix = matrix.count(self.upload.pk, self.groups, keep)

    def settle(self) -> None:
        """Move tasks by their proofs, and in by the space's policy; a refused grader's tasks are all rejected."""
        refused = verdicts.refused(self.matrix, self.groups)
        told = verdicts.by_kind(refused)
        with transaction.atomic():
            refusals = [*chain.from_iterable(told.values()), *verdicts.some(list(self.budget.stopped.values()))]
            before = {name: count for name, count in self._hold().counts.items() if name not in verdicts.TOTALS}
            self._keep(refusals=refusals, counts={**before, "refused": told})
        found = Verdicts(self.space, self.groups, self.matrix, refused, held_out=self.upload.dataset.held_out)
        line: int | None = 0
        while line is not None:
            line = self._settle(line, found)
            crash_point("prove.after_move")
        self.overtaken = found.overtaken

    @transaction.atomic
    def _settle(self, after: int, found: Verdicts) -> int | None:
        """Returns the last line of the stretch, or None where there was none: then all are counted."""
        lock_space(self.space.pk)  # an import may be moving the same tasks, a change of grader replacing their graders
        held = self._hold()
        rows = proofs.found(self.upload.pk, after, MOVED_AT_ONCE)
        found.move(rows)
        told = {name: count for name, count in found.totals.items() if name != "tasks" or not rows}
        self._keep(counts={**held.counts, **told})
        return rows[-1].line if rows else None

    @transaction.atomic
    def finish(self) -> bool:
        """Done, unless rows have got their grader, or another one, in the meantime: whoever gives it them while a proof
        is under way (waiting.prove_again) leaves them to us."""
        held = self._hold()
        asking = bool(self.judges) and self.sample is None
        kept = Proof.objects.filter(task=OuterRef("task"), grader=OuterRef("task__grader"))
        open_ones = DatasetTask.objects.filter(upload=self.upload, task__grader__isnull=False)
        for group in self.budget.stopped:
            open_ones = open_ones.exclude(self.groups.rows(group))
        if asking:
            open_ones = open_ones.exclude(task__grader__in=list(self.judges))
        in_conflict = open_ones.filter(task__state=TaskState.CONFLICT).annotate(proved=_first(kept))
        valid = open_ones.filter(task__state=TaskState.VALID)
        if self.overtaken or valid.exists() or in_conflict.filter(proved=None).exists():
            return False
        new = ProofState.REFUSED if held.refusals else ProofState.WAITING if asking else ProofState.DONE
        return ProofRun.objects.advance(
            self.pk, ProofState.PROVING, new, attempt=self.attempt, finished_at=timezone.now(), data=held.counts
        )


def _first(rows: QuerySet[Any], column: str = "pk") -> Subquery:
    """By index for each row. Exists() is planned as a hash over the whole table, read anew with every chunk."""
    return Subquery(rows.values(column)[:1])
