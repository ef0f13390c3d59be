"""The validations of a run on files, as runs of its eval: every answer with what the grader said of it.

The eval comes with the run, its runs with each measurement: nothing is graded a second time.
"""

import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from django.db import transaction
from django.utils import timezone

from tasks.models import Task
from tasks.models.events import Subject, record
from tasks.types import Grade, Outcome
from trainer.contract import ValidationAnswer, validation_file
from trainer.evaluation import eval_items
from trainer.evaluation.eval_items import Answer, Result
from trainer.models import Eval, EvalItem, EvalRun, TrainingRun
from trainer.services import evals, naming
from trainer.states import EvaluationState

logger = logging.getLogger(__name__)
AT_ONCE = 500


def begin(run: TrainingRun, *, actor: Any) -> Eval:
    """The eval of the run: its grader over the rows of its validation file."""
    assert run.grader is not None
    made = evals.create(
        run.line.team,
        actor=actor,
        item_schema={"type": "object"},
        criteria=[run.grader],
        name=f"Validation of run {run.pk}",
        include_sample_schema=True,
        tried=True,
    )
    TrainingRun.objects.filter(pk=run.pk).update(eval=made)
    run.eval = made
    return made


def catch_up(run: TrainingRun, directory: Path) -> None:
    """A run of the eval for each measurement that has none yet. A fault in one holds up neither the others nor the
    training run: the next pass tries again."""
    if run.eval is None:
        return
    measured = run.metrics.filter(data__validation_reward__isnull=False).values_list("step", flat=True)
    for step in sorted(set(measured) - set(run.eval_runs.values_list("step", flat=True))):
        path = validation_file(directory, step)
        if path.exists() and path.stat().st_size:  # an engine before this one wrote none
            try:
                _keep(run, run.eval, step, path)
            except Exception:
                logger.exception("the validation of run %s at step %s was not kept", run.pk, step)


def forget(run: TrainingRun, from_step: int) -> None:
    """What follows a step that is trained again goes with its metrics."""
    EvalRun.objects.filter(training_run=run, step__gte=from_step).delete()


def _answers(path: Path) -> Iterator[list[ValidationAnswer]]:
    """A few at a time: all answers of a large file may be more than the memory."""
    with path.open("rb") as lines:
        while some := list(islice(lines, AT_ONCE)):
            yield [msgspec.json.decode(line, type=ValidationAnswer) for line in some]


@transaction.atomic
def _keep(run: TrainingRun, of: Eval, step: int, path: Path) -> None:
    now, key = timezone.now(), of.criteria[0]["key"]
    made = EvalRun.objects.create(
        eval=of,
        name=f"Step {step}",
        model=f"{naming.of_run(run)}:ckpt-step-{step}"[:200],
        checkpoint=run.checkpoints.filter(step=step).first(),
        source={"type": "completions"},
        file=None if run.validation_file is None else getattr(run.validation_file, "file", None),
        loaded=True,
        training_run=run,
        step=step,
        state=EvaluationState.SUCCEEDED,
        started_at=now,
        finished_at=now,
    )
    tally = eval_items.tally_from({}, {})
    total = 0
    for answers in _answers(path):
        tasks = Task.objects.in_bulk({int(answer.key) for answer in answers})
        places = enumerate(answers, start=total)
        items = [_item(made, place, answer, tasks.get(int(answer.key)), key) for place, answer in places]
        for item, answer, result in items:
            tally.add(item.status, [result], answer, made.model)
        EvalItem.objects.bulk_create([item for item, _, _ in items])
        total += len(answers)
    EvalRun.objects.filter(pk=made.pk).update(
        total=total,
        passed=tally.statuses[eval_items.PASS],
        failed=tally.statuses[eval_items.FAIL],
        errored=tally.statuses[eval_items.ERROR],
        by_criterion=tally.by_criterion,
        usage=tally.usage,
    )
    data = {"training_run": run.pk, "step": step, "count": total}
    record("evalrun.measured", subject=Subject("evalrun", str(made.pk)), team=of.team_id, data=data)


def _item(
    of: EvalRun, position: int, told: ValidationAnswer, task: Task | None, key: str
) -> tuple[EvalItem, Answer, Result]:
    messages = [dict(message) for message in task.messages] if task else []
    answer = Answer(
        text=told.completion,
        messages=messages,
        finish_reason="length" if told.truncated else "stop",
        completion_tokens=told.tokens,
    )
    grade = Grade(
        Outcome(told.outcome), told.score, told.read, told.reason, told.sub_scores, tuple(told.errors), 0.0, told.usage
    )
    result = eval_items.result_of(key, grade)
    item = EvalItem(
        run=of,
        position=position,
        item=task.item if task else {},
        answer=eval_items.storable(msgspec.to_builtins(answer)),
        results=eval_items.storable(msgspec.to_builtins([result])),
        status=eval_items.status_of([result]),
    )
    return item, answer, result
