"""What the proofs of an upload decide: graders that are refused, how its tasks move, and which of them its space's
policy lets in."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from django.db.models import OuterRef, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from tasks import proof
from tasks.models import Proof, Task, Team
from tasks.services.grouping import Group, Groups
from tasks.services.proofs import Found
from tasks.states import TaskState

REFUSALS_TOLD = 20  # the rest is counted
TOTALS = (TaskState.PROVED, TaskState.UNPROVED, TaskState.REJECTED, TaskState.APPROVED)

_SETTLED = (
    (proof.ProofOutcome.PROVED, TaskState.VALID, TaskState.PROVED),
    (proof.ProofOutcome.UNPROVED, TaskState.VALID, TaskState.UNPROVED),
    (proof.ProofOutcome.REJECTED, TaskState.VALID, TaskState.REJECTED),
    (proof.ProofOutcome.REJECTED, TaskState.CONFLICT, TaskState.REJECTED),
)
_LET_IN = {
    Team.Approval.PERSON: (),
    Team.Approval.PROVED: (TaskState.PROVED,),
    Team.Approval.ALL: (TaskState.PROVED, TaskState.UNPROVED),
}
_OPEN = (TaskState.NEEDS_GRADER, TaskState.VALID, TaskState.CONFLICT)


def refused(matrix: Mapping[Group, proof.Tally], groups: Groups) -> dict[Group, str]:
    """Each group whose grader is refused, with the sentence why."""
    found = {group: told for group, tally in matrix.items() if (told := proof.refusal(tally))}
    return {group: f"{groups.name(group)}: {found[group].sentence}" for group in sorted(found)}


def by_kind(sentences: Mapping[Group, str]) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for group, sentence in sentences.items():
        told.setdefault(group.kind, []).append(sentence)
    return {kind: some(all_of_them) for kind, all_of_them in told.items()}


def some(sentences: list[str]) -> list[str]:
    more = len(sentences) - REFUSALS_TOLD
    return [*sentences[:REFUSALS_TOLD], f"So it is with {more:,} more graders."] if more > 0 else sentences


def policy(space: Team) -> Team.Approval:
    """Of the space as it is now. The pool lets nothing unproved in without a person, whatever is set."""
    set_to = Team.Approval(Team.objects.values_list("approval", flat=True).get(pk=space.pk))
    return Team.Approval.PROVED if space.is_system and set_to == Team.Approval.ALL else set_to


class Verdicts:
    """Moves the tasks of an upload, a stretch of its rows at a time, and counts them all.

    What a person has refused, or has taken a decision on back, stays with people; what could not be graded waits for
    the grader, whatever the policy.
    """

    def __init__(
        self,
        space: Team,
        groups: Groups,
        matrix: Mapping[Group, proof.Tally],
        refused: Mapping[Group, str],
        *,
        held_out: bool = False,
    ) -> None:
        self.space, self.groups, self.matrix, self.refused = space, groups, matrix, refused
        self.held_out = held_out
        self.totals: Counter[str] = Counter()  # of the upload: counted anew by every proof, whenever a row was moved
        self.overtaken = False  # a task has got a grader with whose other rows it was not counted

    def move(self, rows: Sequence[Found]) -> None:
        """Within a transaction that holds the lock of the space: one event a move of these rows."""
        of_refused: dict[Group, list[Found]] = {}
        left: list[Found] = []
        for row in rows:
            if row.outcome is None:
                continue
            group = self.groups.of(row.kind, row.grader_id)
            if group not in self.matrix:
                self.overtaken = True
            elif group in self.refused:
                of_refused.setdefault(group, []).append(row)
            else:
                left.append(row)
        moved = self._reject(of_refused) | self._settle(left, self._policy())
        self._count(chain.from_iterable(of_refused.values()), moved, TaskState.REJECTED)
        self._count(left, moved, None)

    def _reject(self, of_refused: Mapping[Group, Sequence[Found]]) -> dict[int, TaskState]:
        moved: dict[int, TaskState] = {}
        for group, own in of_refused.items():
            why: dict[str, Any] = {"reason": self.refused[group][:300], "reason_code": "grader_refused"}
            for old in (TaskState.VALID, TaskState.CONFLICT):
                moved |= self._move([row for row in own if row.state == old], (old, TaskState.REJECTED), **why)
        return moved

    def _policy(self) -> Team.Approval:
        """The operator who brought a held-out suite answers for its rows: some published ones have no gold at all."""
        return Team.Approval.ALL if self.held_out else policy(self.space)

    def _settle(self, rows: Sequence[Found], set_to: Team.Approval) -> dict[int, TaskState]:
        moved: dict[int, TaskState] = {}
        there: dict[tuple[str | None, str], list[Found]] = {}
        for row in rows:
            there.setdefault((row.outcome, row.state), []).append(row)
        for outcome, old, new in _SETTLED:
            own = there.get((outcome, old), [])
            why = _NO_REASON if new is TaskState.PROVED else _WHY
            moved |= self._move([row for row in own if not _is_let_in(row, new, set_to)], (old, new), **why)
            moved |= self._let_in([row for row in own if _is_let_in(row, new, set_to)], (old, new), set_to, **why)
        for old in _LET_IN[set_to]:
            own = [row for row in rows if row.state == old and _is_let_in(row, old, set_to)]
            moved |= self._let_in(own, (old,), set_to)
        return moved

    def _let_in(
        self, rows: Sequence[Found], path: tuple[TaskState, ...], set_to: Team.Approval, **changes: Any
    ) -> dict[int, TaskState]:
        """One UPDATE for rows that come in as they are proved: their moves are two events all the same."""
        told = {"data": {"policy": set_to}, "approved_at": timezone.now()}
        return self._move(rows, (*path, TaskState.APPROVED), **told, **changes)

    def _move(self, rows: Sequence[Found], path: tuple[TaskState, ...], **changes: Any) -> dict[int, TaskState]:
        pks = {row.task_id for row in rows}
        moved = Task.objects.advance_along(pks, path, team=self.space.pk, **changes) if pks else []
        return dict.fromkeys(moved, path[-1])

    def _count(self, rows: Iterable[Found], moved: Mapping[int, TaskState], outcome: TaskState | None) -> None:
        """What rows add to the totals; `outcome` where it is not that of their proofs."""
        ends = Counter((row.outcome, moved.get(row.task_id, row.state)) for row in rows if not row.duplicate)
        for (proved, state), count in ends.items():
            self.totals["tasks"] += count
            if state in _OPEN:
                continue
            self.totals[str(outcome or proved)] += count
            if state == TaskState.APPROVED:
                self.totals[TaskState.APPROVED.value] += count


def _is_let_in(row: Found, state: TaskState, set_to: Team.Approval) -> bool:
    """Whether the policy lets the row in once it is in this state. A person's refusal stands, and so does a doubt
    of ours."""
    return state in _LET_IN[set_to] and not row.with_people and row.code != proof.UNAVAILABLE


def _from_proof(column: str) -> Any:
    own = Proof.objects.filter(task=OuterRef("pk"), grader=OuterRef("grader")).values(column)[:1]
    return Coalesce(Subquery(own), Value(""))


_WHY = {"reason": _from_proof("reason"), "reason_code": _from_proof("code")}
_NO_REASON = {"reason": "", "reason_code": ""}
