"""Decisions of people: approve, reject, in bulk, and undo. Only reviewers of the task's space decide."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from tasks.crash import crash_point
from tasks.errors import Conflict, Invalid
from tasks.models import Membership, Proof, Review, Task, User
from tasks.services import suspecting
from tasks.services.access import require_role
from tasks.services.conflicts import CLASH
from tasks.states import REVIEWABLE, Role, TaskState

CHUNK = 1000
_STATE_OF = {Review.Decision.APPROVED: TaskState.APPROVED, Review.Decision.REJECTED: TaskState.REJECTED}


@dataclass(frozen=True, slots=True)
class BulkResult:
    count: int
    batch: uuid.UUID | None  # None after a dry run


@transaction.atomic
def approve(task: Task, *, reviewer: User, note: str = "") -> Review:
    """Let a task in. The other side of a conflict stays in the queue for a decision of its own."""
    return _decide(task, Review.Decision.APPROVED, reviewer=reviewer, reason_code="", note=note)


@transaction.atomic
def reject(task: Task, *, reviewer: User, reason_code: str, note: str = "") -> Review:
    """Keep a task out; or take an approved one out whose reference is suspected to be wrong."""
    return _decide(task, Review.Decision.REJECTED, reviewer=reviewer, reason_code=reason_code, note=note)


def _decide(task: Task, decision: Review.Decision, *, reviewer: User, reason_code: str, note: str) -> Review:
    require_role(reviewer, task.space, Role.REVIEWER)
    _check(decision, reason_code, note)
    before = TaskState(Task.objects.values_list("state", flat=True).get(pk=task.pk))
    if decision is Review.Decision.REJECTED and before is TaskState.APPROVED and suspecting.is_suspected(task):
        before = suspecting.take_back(task, reviewer=reviewer)
    if before not in REVIEWABLE or not Task.objects.advance(
        task.pk,
        before,
        _STATE_OF[decision],
        actor=reviewer,
        data={"reason_code": reason_code, "note": note},
        **_changes(decision, reason_code, note),
    ):
        raise Conflict(
            "not_in_review", f"This task is {before}: only proved, unproved and conflicting ones are reviewed."
        )
    return Review.objects.create(
        task=task,
        space=task.space,
        reviewer=reviewer,
        decision=decision,
        reason_code=reason_code,
        note=note,
        before=before,
    )


def _check(decision: Review.Decision, reason_code: str, note: str) -> None:
    codes = Review.ReasonCode.values
    if decision is Review.Decision.REJECTED and reason_code not in codes:
        raise Invalid("unknown_reason", f"Give a reason code: one of {', '.join(codes)}.", "reason_code")
    if decision is Review.Decision.APPROVED and reason_code:
        raise Invalid("reason_not_wanted", "An approval has no reason code: use the note.", "reason_code")
    if len(note) > 500:
        raise Invalid("note_too_long", "A note has at most 500 characters.", "note")


def _changes(decision: Review.Decision, reason_code: str, note: str) -> dict[str, Any]:
    """What a decision writes beside the state."""
    if decision is Review.Decision.APPROVED:
        return {"approved_at": timezone.now()}
    label = Review.ReasonCode(reason_code).label
    sentence = f"A reviewer rejected it: {label}. {note}".strip()
    return {"reason": sentence[:300], "reason_code": reason_code}


@transaction.atomic
def undo(review: Review, *, actor: User | None) -> None:
    """Take a decision back: the task returns to where it was."""
    require_role(actor, review.space, Role.REVIEWER)
    if _undo([review], Review.Decision(review.decision), TaskState(review.before), review.space_id, actor) == 0:
        raise Conflict("cannot_undo", "This decision was undone already, or the task has moved on since.")
    review.refresh_from_db()


def bulk(
    queryset_or_filter: QuerySet[Task] | Mapping[str, Any],
    decision: Review.Decision | str,
    *,
    reviewer: User,
    reason_code: str = "",
    note: str = "",
    dry_run: bool = False,
) -> BulkResult:
    """Decide on every task of a selection that waits for this reviewer: a chunk and an event at a time.

    With dry_run only the count is told. Tasks that somebody else decides meanwhile are left out.
    """
    decision = _decision(decision)
    _check(decision, reason_code, note)
    selected = waiting_for(reviewer, queryset_or_filter)
    if dry_run:
        return BulkResult(selected.count(), None)
    batch, count = uuid.uuid4(), 0
    for space_id in selected.order_by().values_list("space_id", flat=True).distinct():
        for before in sorted(REVIEWABLE):
            pks = selected.filter(space_id=space_id, state=before).order_by("pk").values_list("pk", flat=True)
            for chunk in _chunks(list(pks)):
                count += _decide_chunk(chunk, before, decision, reviewer, space_id, reason_code, note, batch)
    return BulkResult(count, batch)


def _decision(decision: Review.Decision | str) -> Review.Decision:
    try:
        return Review.Decision(decision)
    except ValueError:
        allowed = ", ".join(Review.Decision.values)
        raise Invalid("unknown_decision", f"A decision is one of {allowed}.", "decision") from None


def waiting_for(reviewer: User, queryset_or_filter: QuerySet[Task] | Mapping[str, Any]) -> QuerySet[Task]:
    """Of a selection, what this person may decide on now."""
    if isinstance(queryset_or_filter, Mapping):
        queryset_or_filter = Task.objects.for_user(reviewer).filter(**queryset_or_filter)
    where = Membership.objects.filter(user=reviewer, role__in=[Role.REVIEWER, Role.ADMINISTRATOR])
    rows: Any = queryset_or_filter
    chosen = Task.objects.filter(pk__in=rows.order_by().values("pk"))
    return chosen.filter(state__in=REVIEWABLE, space__in=where.values("team"))


def _chunks(pks: Sequence[int]) -> Iterable[Sequence[int]]:
    return (pks[start : start + CHUNK] for start in range(0, len(pks), CHUNK))


@transaction.atomic
def _decide_chunk(
    pks: Sequence[int],
    before: TaskState,
    decision: Review.Decision,
    reviewer: User,
    space_id: int,
    reason_code: str,
    note: str,
    batch: uuid.UUID,
) -> int:
    moved = Task.objects.advance_many(
        pks,
        before,
        _STATE_OF[decision],
        team=space_id,
        actor=reviewer,
        data={"reason_code": reason_code, "note": note, "batch": str(batch)},
        **_changes(decision, reason_code, note),
    )
    Review.objects.bulk_create(
        Review(
            task_id=pk,
            space_id=space_id,
            reviewer=reviewer,
            decision=decision,
            reason_code=reason_code,
            note=note,
            before=before,
            batch=batch,
        )
        for pk in moved
    )
    crash_point("review.before_commit")
    return len(moved)


def undo_batch(batch: uuid.UUID, *, actor: User | None) -> int:
    """Take the decisions of one bulk action back; returns how many. Tasks that have moved on since are left."""
    return _undo_all(Review.objects.filter(batch=batch, undone_at__isnull=True), actor)


def undo_last(queryset: QuerySet[Task], *, actor: User, dry_run: bool = False) -> int:
    """Take back the last decision on each task of a selection, where the actor reviews; returns how many."""
    latest = Review.objects.filter(task=OuterRef("pk"), undone_at__isnull=True).order_by("-pk").values("pk")[:1]
    where = Membership.objects.filter(user=actor, role__in=[Role.REVIEWER, Role.ADMINISTRATOR])
    decided = Task.objects.filter(
        pk__in=queryset.order_by().values("pk"), space__in=where.values("team"), state__in=_STATE_OF.values()
    )
    standing = Review.objects.filter(pk__in=decided.annotate(latest=Subquery(latest)).values("latest"))
    return standing.count() if dry_run else _undo_all(standing, actor)


def _undo_all(reviews: QuerySet[Review], actor: User | None) -> int:
    groups: dict[tuple[Any, str, str], list[Review]] = {}
    for review in reviews.select_related("space").order_by("pk"):
        groups.setdefault((review.space, review.decision, review.before), []).append(review)
    for space, _, _ in groups:
        require_role(actor, space, Role.REVIEWER)
    undone = 0
    for (space, decision, before), group in groups.items():
        for start in range(0, len(group), CHUNK):
            chunk = group[start : start + CHUNK]
            undone += _undo(chunk, Review.Decision(decision), TaskState(before), space.pk, actor)
    return undone


@transaction.atomic
def _undo(
    reviews: Sequence[Review], decision: Review.Decision, before: TaskState, space_id: int, actor: User | None
) -> int:
    """Undo reviews of one kind that are not undone yet and are the last word on their tasks."""
    standing = list(
        Review.objects.select_for_update().filter(pk__in=[review.pk for review in reviews], undone_at__isnull=True)
    )
    later = Review.objects.filter(task__in=[review.task_id for review in standing], undone_at__isnull=True).values_list(
        "task_id", "pk"
    )
    last = dict(sorted(later, key=lambda pair: pair[1]))
    wanted = {review.task_id: review for review in standing if last[review.task_id] == review.pk}
    moved = Task.objects.advance_many(
        list(wanted),
        _STATE_OF[decision],
        before,
        team=space_id,
        actor=actor,
        kind="review.undone",
        data={"reviews": sorted(review.pk for review in wanted.values())[:1000]},
        approved_at=None,
        **_reasons(before),
    )
    Review.objects.filter(pk__in=[wanted[pk].pk for pk in moved]).update(undone_at=timezone.now())
    return len(moved)


def _reasons(before: TaskState) -> dict[str, Any]:
    """Why a task was where it returns to."""
    if before is TaskState.CONFLICT:
        return {"reason": CLASH, "reason_code": "conflict"}
    if before is TaskState.PROVED:
        return {"reason": "", "reason_code": ""}
    own = Proof.objects.filter(task=OuterRef("pk"), grader=OuterRef("grader"))
    return {
        "reason": Coalesce(Subquery(own.values("reason")[:1]), Value("")),
        "reason_code": Coalesce(Subquery(own.values("code")[:1]), Value("")),
    }
