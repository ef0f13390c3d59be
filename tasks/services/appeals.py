"""Another look: a contributor says why a rejection is wrong, a reviewer of the space answers.

A task that is granted another look returns to where its proof had it and waits for a decision like any other. A row
that was refused at import comes in as an upload of its own, with the check that refused it lifted; every other check
stands, and a prompt that is held out exactly never comes in: about that nobody can ask.
"""

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from tasks.errors import Conflict, Forbidden, Invalid, NotFound
from tasks.formats.reasons import APPEAL, LINE
from tasks.formats.rejected import spliced
from tasks.models import (
    Appeal,
    DatasetTask,
    Membership,
    Proof,
    Review,
    RowIssue,
    Task,
    TaskFinding,
    Team,
    Upload,
    User,
)
from tasks.models.events import Subject, record
from tasks.proof import ProofOutcome
from tasks.services import rejections, reviews, uploads
from tasks.services.access import require_role
from tasks.services.waiting import prove_again
from tasks.states import AppealState, Role, TaskState

MOST_CHARACTERS = 1000
# Checks whose verdict a person may lift. Of what cannot be read or graded, nobody can.
WAIVABLE = frozenset(
    {
        *("contaminated", "secret_found", "personal_data"),
        *("language_not_wanted", "prompt_too_short", "prompt_too_long"),
    }
)
# A task that has made way for another one is not wronged.
_MADE_WAY = frozenset({"replaced", "corrected", "grader_changed"})


def visible_to(user: User, team: Team | None = None) -> QuerySet[Appeal]:
    """Of rows that the user may see, and of spaces where the user reviews."""
    mine = Q(task__in=Task.objects.for_user(user, team)) | Q(upload__in=Upload.objects.for_user(user, team))
    return Appeal.objects.filter(mine | Q(space__in=_spaces(user, team))).distinct().order_by("-pk")


def queue(user: User, team: Team | None = None) -> QuerySet[Appeal]:
    """Open appeals that this person may answer."""
    return Appeal.objects.filter(state=AppealState.OPEN, space__in=_spaces(user, team)).order_by("-pk")


def _spaces(user: User, team: Team | None) -> Any:
    rows = Membership.objects.filter(user=user, role__in=[Role.REVIEWER, Role.ADMINISTRATOR])
    return (rows if team is None else rows.filter(team=team)).values("team")


def may_appeal(task: Task) -> bool:
    return task.state == TaskState.REJECTED and task.reason_code not in _MADE_WAY and _held_out(task) is None


def askable(upload: Upload) -> QuerySet[RowIssue]:
    """Refusals of its rows that a person may lift."""
    issues = RowIssue.objects.filter(upload=upload, code__in=WAIVABLE)
    return issues.exclude(code="contaminated", evidence__rule="exact")


def _held_out(task: Task) -> str | None:
    """The suite that asks exactly this."""
    found = TaskFinding.objects.filter(task=task, kind=TaskFinding.Kind.OVERLAP, rule="exact").first()
    return None if found is None else str(found.evidence.get("suite", ""))


def _refuse_held_out(suite: str | None) -> None:
    if suite is not None:
        told = f"The held-out suite “{suite}” asks exactly this: it stays out, whoever looks at it."
        raise Conflict("held_out_exactly", told)


@transaction.atomic
def ask_for_task(task: Task, *, note: str, actor: User) -> Appeal:
    """Ask for another look at a task that proof or a person has rejected."""
    contributing = [Role.CONTRIBUTOR, Role.ADMINISTRATOR]
    teams = Team.objects.filter(memberships__user=actor, memberships__role__in=contributing)
    if not DatasetTask.objects.filter(task=task, dataset__team__in=teams.values("pk")).exists():
        raise Forbidden("not_yours", "Only its contributor's team may ask for another look at a task.")
    task.refresh_from_db(fields=["state", "reason_code"])
    _refuse_held_out(_held_out(task))
    if not may_appeal(task):
        raise Conflict("not_rejected", f"This task is {task.state}: another look is for tasks that were rejected.")
    return _ask(Appeal(space_id=task.space_id, task=task, code=task.reason_code, note=_checked(note), asked_by=actor))


@transaction.atomic
def ask_for_row(upload: Upload, line: int, *, note: str, actor: User) -> Appeal:
    """Ask for another look at a row that a check has refused at import."""
    require_role(actor, upload.team, Role.CONTRIBUTOR)
    issues = list(RowIssue.objects.filter(upload=upload, line=line).order_by("id"))
    codes = [issue.code for issue in issues]
    if not codes or not line:
        raise NotFound("not_found", f"Line {line} of this upload was not refused: check the number.", "line")
    if DatasetTask.objects.filter(upload=upload, line=line).exists():
        raise Conflict("not_refused", "This row is in: ask about its task instead.", "line")
    if not set(codes) <= WAIVABLE:
        raise Conflict(
            "cannot_be_waived",
            "This row cannot be taken as it stands, whoever looks at it: correct it and upload it again.",
            "line",
        )
    _refuse_held_out(next((_suite(issue) for issue in issues if _suite(issue) is not None), None))
    space = upload.dataset.space_id
    appeal = Appeal(space_id=space, upload=upload, line=line, code=codes[0], note=_checked(note), asked_by=actor)
    return _ask(appeal)


def _suite(issue: RowIssue) -> str | None:
    """The suite of which the row is an item as it stands."""
    evidence = issue.evidence or {}
    return str(evidence.get("suite", "")) if evidence.get("rule") == "exact" else None


def _checked(note: str, param: str = "note") -> str:
    note = note.strip()
    if not note or len(note) > MOST_CHARACTERS:
        raise Invalid(f"{param}_missing", f"Say why in 1 to {MOST_CHARACTERS:,} characters.", param)
    return note


def _ask(appeal: Appeal) -> Appeal:
    try:
        with transaction.atomic():
            appeal.save(force_insert=True)
    except IntegrityError:
        raise Conflict("asked_before", "Somebody has asked this already: wait for the answer.") from None
    subject = Subject("appeal", str(appeal.pk))
    data = {"task": appeal.task_id, "upload": appeal.upload_id, "line": appeal.line, "code": appeal.code}
    record("appeal.asked", subject=subject, team=appeal.space_id, actor=appeal.asked_by, data=data)
    return appeal


@transaction.atomic
def grant(appeal: Appeal, *, reviewer: User, answer: str = "") -> Appeal:
    """The task goes back to review; the refused row comes in with its check lifted."""
    _answer(appeal, AppealState.GRANTED, reviewer, answer.strip()[:MOST_CHARACTERS])
    if appeal.task is not None:
        _reopen(appeal.task, reviewer)
    elif appeal.upload is not None:
        _let_in(appeal, appeal.upload)
    return appeal


@transaction.atomic
def refuse(appeal: Appeal, *, reviewer: User, answer: str) -> Appeal:
    """It stays rejected; its contributor reads the answer."""
    _answer(appeal, AppealState.REFUSED, reviewer, _checked(answer, "answer"))
    return appeal


def _answer(appeal: Appeal, state: AppealState, reviewer: User, answer: str) -> None:
    require_role(reviewer, appeal.space, Role.REVIEWER)
    now = timezone.now()
    changes: dict[str, Any] = {"answer": answer, "answered_by": reviewer, "answered_at": now}
    if not Appeal.objects.advance(appeal.pk, AppealState.OPEN, state, actor=reviewer, **changes):
        raise Conflict("answered", "Somebody has answered this already.")
    appeal.refresh_from_db()


def _reopen(task: Task, reviewer: User) -> None:
    task.refresh_from_db()
    if task.state != TaskState.REJECTED:
        raise Conflict("not_rejected", f"This task is {task.state} by now: there is nothing to reopen.")
    _refuse_held_out(_held_out(task))  # its suite may have come after the question
    rejection = Review.objects.filter(task=task, undone_at=None).first()
    if rejection is not None and rejection.decision == Review.Decision.REJECTED:
        reviews.undo(rejection, actor=reviewer)
        return
    outcome, reason, code = _as_proved(task)
    new: dict[str, Any] = {"reason": reason, "reason_code": code}
    if not Task.objects.advance(task.pk, TaskState.REJECTED, outcome, actor=reviewer, data={"appeal": True}, **new):
        raise Conflict("not_rejected", "This task has moved on: there is nothing to reopen.")
    if outcome is TaskState.VALID:
        prove_again([task.pk])


def _as_proved(task: Task) -> tuple[TaskState, str, str]:
    """(state, reason, code). What proof has rejected is left to a person, as what it could not prove."""
    proof = Proof.objects.filter(task=task, grader=task.grader_id).first()
    if proof is None:
        return TaskState.VALID, "", ""
    if proof.outcome == ProofOutcome.PROVED:
        return TaskState.PROVED, "", ""
    return TaskState.UNPROVED, proof.reason, proof.code


def _let_in(appeal: Appeal, upload: Upload) -> None:
    raw = rejections.row_at(upload, appeal.line)
    if raw is None:
        raise Conflict("row_gone", "This row cannot be read any more: ask its contributor to upload it again.")
    body = spliced({LINE: appeal.line, APPEAL: appeal.pk}, raw) + b"\n"
    options = uploads.Options(mapping=upload.mapping, corrects=upload.pk)
    name = f"appeal-{appeal.pk}-line-{appeal.line}.jsonl"
    made, _ = uploads.receive(upload.dataset, [body], filename=name, actor=None, options=options)
    Upload.objects.filter(pk=made.pk).update(waived=[appeal.code])


def of_upload(upload: Upload) -> QuerySet[Appeal]:
    return Appeal.objects.filter(upload=upload).select_related("answered_by").order_by("line", "pk")


def of_task(task: Task) -> QuerySet[Appeal]:
    return Appeal.objects.filter(task=task).select_related("asked_by", "answered_by").order_by("-pk")


def let_in_by(appeal: Appeal) -> Upload | None:
    """The upload by which a granted row came in."""
    if appeal.upload_id is None or appeal.state != AppealState.GRANTED:
        return None
    name = f"appeal-{appeal.pk}-line-{appeal.line}.jsonl"
    return Upload.objects.filter(corrects=appeal.upload_id, filename=name).first()
