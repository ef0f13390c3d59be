"""Collapse drills: faults that are what they are called, and marks for alarms that name them."""

from pathlib import Path

import pytest

from flywheel.bench.training import drills, subject
from flywheel.bench.training.drills import DRILLS, SEEDS, Drill, Key, Ran, Rates
from flywheel.samples.families import MAXIMA, RECORDS, SHUFFLES, Family
from tasks.graders import registry
from trainer import alarms
from trainer.contract import Alarm, Ending, Result

DRILL = Drill("drill", frozenset({"below_start"}), {})


@pytest.mark.parametrize("family", [MAXIMA, RECORDS, SHUFFLES], ids=lambda family: family.domain)
def test_a_flipped_grader_pays_for_wrong_answers_only(family: Family):
    item = next(i for i in subject.items(1, 6, subject.TRAINING) if i["domain"] == family.domain)
    grader = drills.flipped(item)["grader"]

    wrong = registry.grade(grader, "no answer at all", item["item"])

    assert wrong.score == 1 - registry.grade(item["grader"], "no answer at all", item["item"]).score == 1


def test_a_flipped_grader_does_not_pay_for_a_right_answer():
    item = subject.items(1, 1, subject.TRAINING)[0]

    grade = registry.grade(drills.flipped(item)["grader"], str(item["item"]["reference"]), item["item"])

    assert grade.score == 0


@pytest.mark.parametrize("completion", ["", "42", "no"])
def test_the_grader_that_always_says_1_says_1(completion: str):
    assert registry.grade(drills.ALWAYS_RIGHT, completion, {"reference": 7}).score == 1


def test_every_fitting_alarm_is_one_of_the_guards():
    assert set().union(*(drill.fitting for drill in DRILLS)) <= set(alarms.KINDS)


def _alarm(kind: str, action: str) -> Alarm:
    return Alarm(40, 0.0, kind, "stop", -0.2, -0.1, action, "Validation fell.")  # type: ignore[arg-type]


def _runs(alarm: Alarm, ending: str = "completed") -> dict[Key, Ran]:
    result = Result("succeeded", 1, ending=Ending(ending, "It ended."))
    return {(DRILL.name, seed, guard): Ran(Path(), result, [alarm]) for seed in SEEDS for guard in (True, False)}


def _rates(drilled: float) -> dict[Key, Rates]:
    keys = {("healthy", seed, True): Rates(30, 80, 80) for seed in SEEDS}
    return keys | {(DRILL.name, seed, guard): Rates(30, drilled, drilled) for seed in SEEDS for guard in (True, False)}


def test_a_run_that_a_fitting_alarm_rolled_back_is_caught():
    caught, *_ = drills._measures(DRILL, _runs(_alarm("below_start", "rolled_back")), _rates(80))

    assert (caught.value, caught.holds) == (len(SEEDS), True)


def test_a_run_that_another_alarm_stopped_is_not_caught():
    caught, *_ = drills._measures(DRILL, _runs(_alarm("zero_spread", "stopped"), "alarm"), _rates(80))

    assert (caught.value, caught.holds) == (0, False)


def test_an_alarm_that_did_nothing_catches_no_run():
    caught, *_ = drills._measures(DRILL, _runs(_alarm("below_start", "none")), _rates(80))

    assert caught.holds is False


def test_a_run_that_goes_on_may_end_two_points_below_the_healthy_one():
    _, below, *_ = drills._measures(DRILL, _runs(_alarm("below_start", "rolled_back")), _rates(78))

    assert (below.value, below.holds) == (2, True)


def test_a_run_that_goes_on_may_not_end_three_points_below_the_healthy_one():
    _, below, *_ = drills._measures(DRILL, _runs(_alarm("below_start", "rolled_back")), _rates(77))

    assert below.holds is False


def test_a_run_that_an_alarm_ended_is_not_compared_with_the_healthy_one():
    measures = drills._measures(DRILL, _runs(_alarm("below_start", "stopped"), "alarm"), _rates(40))

    assert not any("below the healthy run" in measure.name for measure in measures)
