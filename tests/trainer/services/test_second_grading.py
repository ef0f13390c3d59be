"""An independent grader at the gate: it sees what a policy learned to please its own grader with."""

from collections.abc import Callable
from typing import Any

import pytest

from tasks.errors import Invalid
from tasks.graders import judges, registry
from tasks.models import Dataset, Task, User
from tests.trainer.services.settling import settle
from trainer.contract import Rollout
from trainer.engine import rollouts as engine_rollouts
from trainer.models import GateReport, Line
from trainer.services import answers, looks, policies, recipes, runs, second_grading
from trainer.services.launching import path_of

# The fake engine answers 42 throughout and scores as it is told: one grader believes that, the other does not.
BELIEVES = {
    "type": "string_check",
    "name": "is it",
    "input": "{{ sample.output_text }}",
    "reference": "42",
    "operation": "eq",
}
DOUBTS = {**BELIEVES, "reference": "41"}
BROKEN = {**BELIEVES, "reference": "{{ item.no_such_field }}"}
POLICY: dict[str, Any] = {"answers_per_item": 2, "expected_effect": 0.9, "guards": [{"suite": "add", "margin": 0.3}]}

Turn = Callable[..., GateReport]


@pytest.fixture
def turn(line: Line, fill: Callable[..., Dataset], operator: User, knobs: Callable[..., None]) -> Turn:
    """A candidate that gains much by its own grader, under a policy, by a run with these settings."""

    def one(policy: dict[str, Any], **settings: Any) -> GateReport:
        knobs(champion=0.2, candidate=0.9)
        policies.change(line, {**POLICY, **policy}, actor=operator)
        fill(sealed=60, train=20)
        recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
        runs.start(line, actor=operator, recipe=recipe, **settings)
        settle(GateReport.objects.filter(line=line).exists)
        return GateReport.objects.get(line=line)

    return one


def gaps(report: GateReport) -> dict[str, tuple[str, float]]:
    return {gap["suite"]: (gap["finding"], round(gap["independent_gain"], 2)) for gap in report.decision["gaps"]}


def test_without_a_second_grader_there_is_no_gap(turn: Turn):
    report = turn({})

    assert (report.verdict, report.decision["gaps"]) == ("PROMOTE", [])


def test_a_gain_that_the_policys_second_grader_does_not_see_is_held(turn: Turn):
    report = turn({"second_graders": {"*": DOUBTS}})

    assert report.verdict == "HOLD"
    assert "it pleases its grader" in report.sentence
    assert gaps(report) == {"add": ("hold", 0.0), "reverse": ("hold", 0.0)}


def test_a_suite_may_have_a_second_grader_of_its_own(turn: Turn):
    assert set(gaps(turn({"second_graders": {"add": DOUBTS}}))) == {"add"}


def test_the_second_grader_of_the_run_is_asked_where_the_policy_names_none(turn: Turn):
    assert turn({}, second_grader=DOUBTS).verdict == "HOLD"


def test_the_policys_second_grader_outranks_that_of_the_run(turn: Turn):
    report = turn({"second_graders": {"reverse": BELIEVES}}, second_grader=DOUBTS)

    assert gaps(report)["reverse"][1] == gaps(report)["add"][1] == 0.0
    assert report.decision["gaps"][0]["suite"] == "add"


def test_where_the_runs_own_grader_was_trained_on_the_rows_graders_are_independent(turn: Turn):
    """By the run's grader every answer is right, the champion's too: nothing is gained there beyond the suite's own."""
    gap = turn({}, grader=BELIEVES).decision["gaps"][0]

    assert (gap["gain"], gap["finding"]) == (0.0, "pass")
    assert gap["independent_gain"] == pytest.approx(0.7, abs=0.12)


def test_a_second_grader_that_cannot_grade_leaves_it_open_and_says_so(turn: Turn):
    report = turn({"second_graders": {"*": BROKEN}})

    assert report.verdict == "INCONCLUSIVE"
    assert "could not grade 100 % of the answers: repair it" in report.sentence


def test_it_grades_on_behalf_of_the_lines_team(turn: Turn, monkeypatch: pytest.MonkeyPatch):
    """A model that the team serves is asked there, and never a judge of the same name elsewhere."""
    teams = []

    def grade_each(asked: Any) -> Any:
        teams.append(judges._team.get())
        return registry_grade_each(asked)

    registry_grade_each = registry.grade_each
    monkeypatch.setattr(second_grading.registry, "grade_each", grade_each)

    report = turn({"second_graders": {"add": DOUBTS}})

    assert set(teams) == {report.line.team_id}


def test_a_training_grader_that_is_down_leaves_it_open(turn: Turn):
    report = turn({}, grader=BROKEN)

    assert (report.verdict, gaps(report)["add"][0]) == ("INCONCLUSIVE", "inconclusive")


def test_where_a_grader_is_to_be_repaired_no_further_look_is_offered(turn: Turn):
    report = turn({"second_graders": {"*": BROKEN}, "looks": [1, 2], "spending": "early"})

    assert (report.verdict, looks.offer(report)) == ("INCONCLUSIVE", None)


def test_steps_that_cannot_be_read_hold_up_no_verdict(turn: Turn, monkeypatch: pytest.MonkeyPatch):
    def fails(policy: Any, run: Any) -> Any:
        raise OSError("the disk is gone")

    monkeypatch.setattr(second_grading, "_over_steps", fails)

    assert turn({"second_graders": {"*": BELIEVES}}).decision["gaps"]


def test_the_steps_of_the_run_are_graded_by_both(turn: Turn):
    """Training pays more and more for an answer that the second grader takes in the first step only."""
    evaluation = turn({"second_graders": {"*": BELIEVES}}).evaluation
    run = evaluation.candidate.run
    assert run is not None
    key = str(Task.objects.filter(split="train", domain="add").first().pk)  # type: ignore[union-attr]
    for step in (1, 2, 3, 4):
        said = Rollout(step, key, "add", "?", "42" if step == 1 else "0", reward=step / 4, advantage=0.1, reason="")
        engine_rollouts.write(path_of(run.directory) / "rollouts", step, [said])

    steps = second_grading.regrade(evaluation, answers.read(evaluation)).steps

    assert [(one.step, one.reward, one.independent) for one in steps] == [
        (1, 0.25, 1.0), (2, 0.5, 0.0), (3, 0.75, 0.0), (4, 1.0, 0.0),
    ]  # fmt: skip


def test_a_second_grader_that_is_none_is_refused_with_the_policy(line: Line, operator: User):
    with pytest.raises(Invalid, match="no grader of type"):
        policies.change(line, {"second_graders": {"*": {"type": "guess"}}}, actor=operator)
