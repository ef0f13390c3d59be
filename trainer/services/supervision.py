"""One pass of the wheel: engines first, then the steps that follow from what has ended."""

import logging
from contextlib import suppress

from tasks.errors import FlywheelError
from trainer.contract import EngineFault
from trainer.models import BaseBuild, Evaluation, ModelVersion
from trainer.services import (
    artifacts,
    bases,
    engine_work,
    evaluations,
    file_runs,
    firings,
    gates,
    imported_suites,
    looks,
)
from trainer.services.bases import BaseBuildKind
from trainer.services.difficulty import DifficultyKind
from trainer.services.evaluations import EvaluationKind
from trainer.services.training import TrainingKind
from trainer.states import EvaluationState

logger = logging.getLogger(__name__)
_TAKE_IN_LOCK, _GATE_LOCK = 0x464C5954, 0x47415445
KINDS: list[engine_work.Kind] = [BaseBuildKind(), EvaluationKind(), DifficultyKind(), TrainingKind()]


def supervise() -> None:
    """Idempotent and safe to lose: every step looks for rows that lack what should follow."""
    file_runs.validate_waiting()
    engine_work.supervise(KINDS)
    artifacts.reap()
    firings.go_on()
    imported_suites.register_new()
    evaluate_new_versions()
    for evaluation in gates.undecided():
        decide(evaluation)
    go_on_looking()


def decide(evaluation: Evaluation) -> None:
    """One worker at a time: a second grader may take minutes, and is asked once."""
    with engine_work.alone(_GATE_LOCK, evaluation.pk) as mine:
        if not mine:
            return
        try:
            gates.decide(evaluation)
        except Exception:
            logger.exception("the gate failed on evaluation %s; the next pass tries again", evaluation.pk)


def evaluate_new_versions() -> None:
    """Evaluate what training has made, where the line does that by itself; what cannot be evaluated says why, once."""
    for version in ModelVersion.objects.to_be_evaluated().select_related("line__team", "run"):
        try:
            evaluations.start(version, actor=None)
        except FlywheelError as refused:
            ModelVersion.objects.filter(pk=version.pk).update(not_evaluated=refused.sentence[:500])


def go_on_looking() -> None:
    """The next look at what cannot be told yet, where it belongs to the plan. One that is refused stays as it is."""
    for report in looks.due():
        with suppress(FlywheelError):
            looks.go_on(report, actor=None)


def take_in_base(build_id: int) -> ModelVersion | None:
    """Fetch or copy a base that needs no engine. One worker at a time; a refusal is recorded on the build."""
    with engine_work.alone(_TAKE_IN_LOCK, build_id) as mine:
        build = BaseBuild.objects.select_related("line").get(pk=build_id)
        if not mine or build.state != EvaluationState.QUEUED:
            return None
        try:
            return bases.take_in(build)
        except FlywheelError as refused:
            fault = EngineFault(boundary="model", code=refused.code, sentence=refused.sentence)
            engine_work.fail(BaseBuildKind(), build, fault)
            return None


def pending_bases() -> list[int]:
    return list(
        BaseBuild.objects.filter(state=EvaluationState.QUEUED)
        .exclude(source=BaseBuild.Source.LOCAL)
        .values_list("pk", flat=True)
    )
