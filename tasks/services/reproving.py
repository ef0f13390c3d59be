"""What people do about a proof: prove again what could not be graded, and agree to what its judges cost."""

from typing import Any

import msgspec
from django.db import transaction
from django.db.models import OuterRef, Q, Subquery

from tasks.errors import Conflict
from tasks.models import DatasetTask, Proof, ProofRun, Task, Upload, User
from tasks.models.events import Subject, record
from tasks.services import judged
from tasks.services.access import require_role
from tasks.services.copying import lock_space
from tasks.services.proofs import RETRIED
from tasks.services.waiting import clashing, to_conflict
from tasks.services.wake import wake
from tasks.states import ProofState, Role, TaskState


@transaction.atomic
def again(upload: Upload, *, actor: User | None) -> int:
    """Prove again what a repair may have changed: rows whose grades could not be made. Returns how many tasks.

    Where judges are to be asked once more, their cost is to be agreed on once more: what was agreed on may be spent.
    """
    require_role(actor, upload.team, Role.CONTRIBUTOR)
    space = upload.dataset.space_id
    lock_space(space)
    run = ProofRun.objects.select_for_update().filter(upload=upload).first()
    if run is None or run.state in (ProofState.PENDING, ProofState.PROVING):
        raise Conflict("proof_under_way", "This upload is not proved yet: wait until it is.")
    undecided = _with_proofs(upload).filter(found__in=RETRIED)
    back: list[int] = []
    changes: dict[str, Any] = {"data": {"reason": "proved_again"}, "reason": "", "reason_code": ""}
    for old in (TaskState.UNPROVED, TaskState.REJECTED):
        pks = list(undecided.filter(state=old, reason_code__in=RETRIED).values_list("pk", flat=True))
        back += Task.objects.advance_many(pks, old, TaskState.VALID, team=space, actor=actor, **changes)
    open_ones = _with_proofs(upload).filter(state__in=(TaskState.VALID, TaskState.CONFLICT), grader__isnull=False)
    left = Q(found__in=RETRIED) | Q(found__isnull=True)  # none is kept where the proof of their grader was stopped
    tasks = {*back, *open_ones.filter(left).values_list("pk", flat=True)}
    Proof.objects.filter(task__in=tasks, code__in=RETRIED).delete()
    to_conflict(space, clashing(back))
    if Task.objects.filter(pk__in=tasks, grader__in=judged.graders(upload)).exists():
        judged.forget_agreement(run, actor=actor, reason="proved_again")
    anew: dict[str, Any] = {"refusals": [], "tries": 0, "finished_at": None, "counts": {**run.counts, "ungradable": {}}}
    ProofRun.objects.advance(run.pk, ProofState(run.state), ProofState.PENDING, actor=actor, **anew)
    wake("prove_upload", upload.pk)
    return len(tasks)


def _with_proofs(upload: Upload) -> Any:
    """The upload's tasks, with the code of their proof under their grader of now as `found`."""
    own = Proof.objects.filter(task=OuterRef("pk"), grader=OuterRef("grader")).values("code")[:1]
    tasks = Task.objects.filter(pk__in=DatasetTask.objects.filter(upload=upload).values("task"))
    return tasks.annotate(found=Subquery(own)).order_by("pk")


@transaction.atomic
def confirm_cost(upload: Upload, *, actor: User | None, rows: int | None = None) -> None:
    """Agree to what the judges of an upload cost. `rows`: judge more or fewer than the estimate's (MAX_SAMPLE at most);
    0 for none."""
    require_role(actor, upload.team, Role.CONTRIBUTOR)
    run = ProofRun.objects.select_for_update().filter(upload=upload).first()
    if run is None or not run.estimate or run.agreed_rows is not None or run.state == ProofState.PROVING:
        raise Conflict("nothing_to_confirm", "No judge of this upload waits for your agreement.")
    estimate = judged.resized(msgspec.convert(run.estimate, judged.Estimate), rows)
    agreed = {"rows": estimate.sample_rows, "calls": estimate.calls, "tokens": estimate.tokens}
    changes = {"agreed_rows": estimate.sample_rows, "estimate": msgspec.to_builtins(estimate), "finished_at": None}
    ProofRun.objects.filter(pk=run.pk).update(**changes)
    subject = Subject("proofrun", str(run.pk))
    record("proofrun.cost_agreed", subject=subject, team=run.owner_team_id, actor=actor, data=agreed)
    if run.state != ProofState.PENDING:
        ProofRun.objects.advance(run.pk, ProofState(run.state), ProofState.PENDING, actor=actor, tries=0)
    wake("prove_upload", upload.pk)
