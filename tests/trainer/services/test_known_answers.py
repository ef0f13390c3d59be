"""Answers that were given before are not given again, wherever that changes nothing."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tasks.models import Dataset, Task, User
from tests.trainer.services.settling import settle
from trainer import contract
from trainer.contract import EvaluateSpec, Score
from trainer.models import AnsweredSuite, Evaluation, GateReport, Line
from trainer.services import answers, evaluations, known_answers, policies, recipes, runs
from trainer.services.launching import path_of

POLICY = {"answers_per_item": 2, "expected_effect": 0.9, "guards": [{"suite": "add", "margin": 0.3}]}
SUITES = ["add", "reverse"]

Knobs = Callable[..., None]
Decided = Callable[[], GateReport]


@pytest.fixture
def decided(line: Line, fill: Callable[..., Dataset], operator: User, knobs: Knobs) -> Decided:
    """Trains and evaluates one more candidate, which is no better and stays a candidate."""
    knobs(champion=0.4, candidate=0.4)
    Line.objects.filter(pk=line.pk).update(auto_promote=False)  # of equals one in forty is better by chance
    policies.change(line, POLICY, actor=operator)
    fill(sealed=60, train=20)
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})

    def another() -> GateReport:
        before = GateReport.objects.filter(line=line).count()
        runs.start(line, actor=operator, recipe=recipe)
        settle(lambda: GateReport.objects.filter(line=line).count() > before)
        return GateReport.objects.filter(line=line).latest("pk")

    return another


def told(report: GateReport) -> EvaluateSpec:
    spec = contract.decode_spec((path_of(report.evaluation.directory) / "spec.json").read_bytes())
    assert isinstance(spec, EvaluateSpec)
    return spec


def said(report: GateReport, side: str) -> list[Score]:
    return [score for score in answers.read(report.evaluation).scores if score.side == side]


def rates(report: GateReport) -> dict[str, tuple[int, float]]:
    return {row["suite"]: (row["n"], row["champion"]["mean"]) for row in report.decision["rows"]}


def test_the_first_evaluation_asks_both_sides_everything(decided: Decided):
    assert told(decided()).known == {}


def test_the_next_candidate_meets_the_champions_answers_of_before(decided: Decided):
    first, second = decided(), decided()

    asked = list(answers.lines(path_of(second.evaluation.directory) / "scores.jsonl", Score))
    assert told(second).known == {"champion": SUITES}
    assert {score.side for score in asked} == {"candidate"}
    assert said(second, "champion") == said(first, "champion")


def test_a_report_on_known_answers_is_as_valid_as_any(decided: Decided):
    first, second = decided(), decided()

    n = [
        {row["suite"]: (row["n"], row["champion"]["mean"]) for row in report.decision["rows"]}
        for report in (first, second)
    ]
    assert second.verdict != "INVALID"
    assert n[0] == n[1]


def test_it_is_kept_where_each_answer_came_from(decided: Decided):
    first, second = decided(), decided()

    taken = AnsweredSuite.objects.filter(evaluation=second.evaluation).values_list("side", "suite", "taken_from")
    assert set(taken) == {
        *(("champion", suite, first.evaluation_id) for suite in SUITES),
        *(("candidate", suite, None) for suite in SUITES),
    }


def test_what_a_candidate_answered_is_known_once_it_is_champion(decided: Decided, line: Line):
    first = decided()
    line.aliases.filter(name="champion").update(version=first.evaluation.candidate)

    second = decided()

    assert [score.completion for score in said(second, "champion")] == [
        score.completion for score in said(first, "candidate")
    ]
    assert told(second).known["champion"] == SUITES


def test_the_same_candidate_again_is_asked_the_same_and_answers_the_same(decided: Decided, operator: User):
    """By default guards too: what the first evaluation showed of the champion must not make an easier second one."""
    first = decided()

    again = evaluations.start(first.evaluation.candidate, actor=operator)
    settle(lambda: GateReport.objects.filter(evaluation=again).exists())

    report = GateReport.objects.get(evaluation=again)
    assert (again.plan, again.policy, again.sampling) == (
        first.evaluation.plan, first.evaluation.policy, first.evaluation.sampling,
    )  # fmt: skip
    assert told(report).known == {"champion": SUITES, "candidate": SUITES}
    assert (report.verdict, report.sentence) == (first.verdict, first.sentence)


@pytest.mark.parametrize("guards", [[], [{"suite": "add"}]])
def test_the_same_candidate_under_another_policy_is_another_question(
    decided: Decided, line: Line, operator: User, guards: list[dict[str, str]]
):
    first = decided()
    policies.change(line, {**POLICY, "guards": guards, "delta_min": 0.01}, actor=operator)

    again = evaluations.start(first.evaluation.candidate, actor=operator)

    assert again.policy_digest != first.evaluation.policy_digest


def test_a_withdrawn_item_makes_it_another_question(decided: Decided, operator: User):
    first = decided()
    item = first.evaluation.suites.get(name="add").items.first()
    Task.objects.filter(pk=item.task_id).update(state="withdrawn")

    again = evaluations.start(first.evaluation.candidate, actor=operator)

    assert set(again.suites.all()) != set(first.evaluation.suites.all())


def test_an_invalid_comparison_is_no_source(decided: Decided):
    first = decided()
    GateReport.objects.filter(pk=first.pk).update(verdict="INVALID")

    assert told(decided()).known == {}


def test_answers_that_are_pruned_while_they_are_copied_are_given_again(
    decided: Decided, monkeypatch: pytest.MonkeyPatch
):
    decided()
    found = known_answers._whole

    def then_gone(evaluation: Evaluation) -> Any:
        counts = dict(found(evaluation))
        (path_of(evaluation.directory) / "scores.jsonl").unlink()
        return counts

    monkeypatch.setattr(known_answers, "_whole", then_gone)

    report = decided()

    assert told(report).known == {}
    assert len(said(report, "champion")) == len(said(report, "candidate"))


def test_more_answers_an_item_are_other_answers(decided: Decided, line: Line, operator: User):
    decided()
    policies.change(line, {**POLICY, "answers_per_item": 4}, actor=operator)

    assert told(decided()).known == {}


def test_another_release_of_the_graders_grades_anew(decided: Decided, monkeypatch: pytest.MonkeyPatch):
    decided()
    monkeypatch.setattr(known_answers, "release", lambda: "another")

    assert told(decided()).known == {}


def test_a_suite_with_an_answer_that_could_not_be_graded_is_answered_again(decided: Decided):
    first = decided()
    path = path_of(first.evaluation.directory) / "scores.jsonl"
    lines = path.read_bytes().splitlines()
    at = next(at for at, line in enumerate(lines) if b'"suite":"add"' in line and b'"side":"champion"' in line)
    score = msgspec.structs.replace(msgspec.json.decode(lines[at], type=Score), outcome="ungradable")
    path.write_bytes(b"\n".join([*lines[:at], msgspec.json.encode(score), *lines[at + 1 :]]) + b"\n")

    assert told(decided()).known == {"champion": ["reverse"]}


def test_answers_whose_files_are_gone_are_given_again(decided: Decided):
    first = decided()
    (path_of(first.evaluation.directory) / "scores.jsonl").unlink()

    assert told(decided()).known == {}


def test_a_suite_that_another_model_grades_is_graded_anew(decided: Decided, monkeypatch: pytest.MonkeyPatch):
    decided()
    monkeypatch.setattr(evaluations, "asks_a_model", lambda grader: True)

    assert told(decided()).known == {}


def test_a_later_attempt_goes_on_with_what_the_first_was_given(decided: Decided, knobs: Knobs):
    decided()
    knobs(champion=0.4, candidate=0.4, crash_at=2)

    report = decided()

    assert report.evaluation.attempt == 2
    assert told(report).known == {"champion": SUITES}
    assert len(said(report, "champion")) == len(said(report, "candidate"))


def test_another_teams_answers_are_never_taken(decided: Decided, line: Line, operator: User):
    first = decided()
    Evaluation.objects.filter(pk=first.evaluation_id).update(line=_elsewhere(line))

    assert told(decided()).known == {}


def _elsewhere(line: Line) -> Line:
    from tasks.services import accounts

    team = accounts.create_team("Elsewhere", actor=User.objects.get(username="olga"))
    return Line.objects.create(team=team, slug="elsewhere", name="Elsewhere", purpose=line.purpose)
