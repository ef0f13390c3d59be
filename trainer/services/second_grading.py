"""The same answers by an independent grader: does what training gained show to a grader that nobody trained against?

The second grader is the policy's for the suite, else the one that the candidate's run was given. Where the run's own
grader replaced the rows', that one is what was trained on, and the rows' graders are independent of it.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tasks.errors import Invalid, NotFound
from tasks.graders import registry
from tasks.models import Task
from tasks.types import Outcome
from trainer.contract import EvalItem, Score
from trainer.evaluation.policy import GatePolicy, policy_from
from trainer.evaluation.scorer_gap import GapAtStep, at_steps
from trainer.evaluation.scoring import CANDIDATE, CHAMPION, SuiteScores, suites_from
from trainer.models import Evaluation, TrainingRun
from trainer.services import rollouts, rows
from trainer.services.answers import Answers

logger = logging.getLogger(__name__)
MOST_ITEMS = 500  # of a suite, the first of its order
MOST_ASKED = 100  # where another model grades
STEPS, ANSWERS_A_STEP = 12, 48  # of the run, evenly over it

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Regraded:
    """By suite: the answers as what was trained on scores them, and as an independent grader does."""

    trained: dict[str, SuiteScores] = field(default_factory=dict)
    independent: dict[str, SuiteScores] = field(default_factory=dict)
    steps: list[GapAtStep] = field(default_factory=list)


def regrade(evaluation: Evaluation, gathered: Answers) -> Regraded:
    """Nothing where there is no second grader. Takes as long as grading does: outside of every transaction."""
    policy, run = policy_from(evaluation.policy), evaluation.candidate.run
    found = Regraded()
    replaced: Config | None = run.grader if run else None
    for suite in sorted({item.suite for item in gathered.items}):
        second = second_grader(policy, run, suite)
        if second is None and replaced is None:
            continue
        few = _few(gathered.items, suite, [grader for grader in (second, replaced) if grader])
        keys = {item.key for item in few}
        said = [one for one in gathered.scores if one.suite == suite and one.key in keys and one.side in SIDES]
        found.trained[suite] = _scores(few, said, gathered.answers_per_item, replaced)
        found.independent[suite] = _scores(few, said, gathered.answers_per_item, second)
    if run is not None and found.independent:
        try:
            found.steps.extend(_over_steps(policy, run))
        except Exception:  # a figure of the report: no verdict waits for it
            logger.exception("the answers of run %s could not be graded again", run.pk)
    return found


SIDES = (CHAMPION, CANDIDATE)


def second_grader(policy: GatePolicy, run: TrainingRun | None, suite: str) -> Config | None:
    named = policy.second_graders.get(suite, policy.second_graders.get("*"))
    return named if named is not None else run.second_grader if run else None


def _few(items: Sequence[EvalItem], suite: str, graders: Sequence[Config]) -> list[EvalItem]:
    most = MOST_ASKED if any(map(_asks_a_model, graders)) else MOST_ITEMS
    return [item for item in items if item.suite == suite][:most]


def _asks_a_model(grader: Config) -> bool:
    """One that this release refuses asks nobody; its grades are errors."""
    try:
        return registry.asks_a_model(grader)
    except Invalid:
        return False


def _scores(items: Sequence[EvalItem], said: Sequence[Score], answers: int, grader: Config | None) -> SuiteScores:
    """`grader` None: as they were scored."""
    again = list(_graded(items, said, grader)) if grader is not None else said
    return suites_from(again, items=items, answers_per_item=answers)[0]


def _graded(items: Sequence[EvalItem], said: Sequence[Score], grader: Config) -> Iterator[Score]:
    item_of = {item.key: item.item for item in items}
    grades = registry.grade_each([(grader, one.completion, item_of[one.key]) for one in said])
    for one, grade in zip(said, grades, strict=True):
        yield msgspec.structs.replace(one, outcome=grade.outcome.value, score=grade.score)


def _over_steps(policy: GatePolicy, run: TrainingRun) -> list[GapAtStep]:
    """Of the answers that the run was paid for, as far as they are kept."""
    try:
        known = rollouts.look(run, rollouts.Wanted(limit=0)).known
    except NotFound:
        return []
    chosen = sorted({known[round(at * (len(known) - 1) / (STEPS - 1))] for at in range(STEPS)}) if known else []
    found = []
    for step in chosen:
        shown = rollouts.look(run, rollouts.Wanted(step=step, limit=ANSWERS_A_STEP, order="step")).rows
        found += list(_paid(policy, run, [line for line in shown if line["reward"] is not None]))
    return at_steps(found)


def _paid(
    policy: GatePolicy, run: TrainingRun, lines: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[int, float, float]]:
    """(step, what training paid, what the second grader gives)"""
    tasks = Task.objects.in_bulk([int(line["key"]) for line in lines if str(line["key"]).isdigit()])
    usable = [line for line in lines if str(line["key"]).isdigit() and int(line["key"]) in tasks]
    asked, compared = [], []
    for line in usable:
        item = rows.prompt_item(tasks[int(line["key"])])
        second = second_grader(policy, run, item.domain)
        if second is not None or run.grader is not None:  # else its own grader has paid it: nobody is independent
            compared.append(line)
            asked.append((second if second is not None else item.grader, line["completion"], item.item))
    for line, grade in zip(compared, registry.grade_each(asked), strict=True):
        if grade.outcome is not Outcome.UNGRADABLE:
            yield line["step"], line["reward"], grade.score
