"""Who sees and does what on the model side's pages. The services decide; pages only leave out what would be refused."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from tasks.states import Role
from trainer.models import BaseBuild, DifficultyCheck, Evaluation, Line, TrainingRun
from trainer.states import EvaluationState, LinePurpose, RunState

PATIENCE = timedelta(seconds=30)


def may_operate(user: Any, line: Line) -> bool:
    roles = user.roles_in(line.team)
    extra = {Role.CONTRIBUTOR} if line.purpose == LinePurpose.EXPERT else set()
    return bool(roles & {Role.OPERATOR, Role.ADMINISTRATOR, *extra})


def no_supervisor(user: Any) -> str:
    """A sentence where engine work waits though nothing runs, or runs though nobody looks after it."""
    now = timezone.now()
    lines = Line.objects.for_user(user)
    kinds = (
        (TrainingRun, RunState),
        (Evaluation, EvaluationState),
        (DifficultyCheck, EvaluationState),
        (BaseBuild, EvaluationState),
    )
    waiting = None
    for model, states in kinds:
        rows = model._default_manager.filter(line__in=lines)
        lost = rows.filter(state=states("running"), lease_until__lt=now - PATIENCE).first()
        if lost is not None:
            return f"Nobody has looked after {_named(lost)} since {lost.lease_until:%H:%M:%S} UTC: {_REMEDY}"
        if rows.filter(state=states("running")).exists():
            return ""
        waiting = waiting or rows.filter(state=states("queued"), created_at__lt=now - PATIENCE).first()
    return f"{_named(waiting).capitalize()} waits and nothing runs: {_REMEDY}" if waiting else ""


def _named(work: Any) -> str:
    kind = {"trainingrun": "run", "basebuild": "base build", "difficultycheck": "difficulty check"}.get(
        work._meta.model_name, work._meta.model_name
    )
    return f"{kind} {work.pk}"


_REMEDY = "no worker seems to be running. An operator starts one with `make up`."
