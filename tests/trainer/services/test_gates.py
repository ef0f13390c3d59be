"""From a finished evaluation to a verdict and a moved alias, with a fake engine."""

import json
from collections.abc import Callable

import pytest

from tasks.errors import Conflict
from tasks.models import Dataset, User
from tests.trainer.services.settling import settle
from trainer.contract import Score
from trainer.models import AliasMove, Evaluation, GateReport, Line, ModelVersion
from trainer.services import evaluations, gates, policies, promotion, recipes, runs, supervision
from trainer.services.launching import path_of
from trainer.states import AliasName

Knobs = Callable[..., None]
Turn = Callable[..., GateReport]


@pytest.fixture
def turn(line: Line, fill: Callable[..., Dataset], operator: User, knobs: Knobs) -> Turn:
    """One turn of the wheel: mix, train, evaluate, decide."""

    def one(**settings: object) -> GateReport:
        knobs(**settings)
        if not line.recipes.exists():
            fill(sealed=60)
            recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
        run = runs.start(line, actor=operator, recipe=line.recipes.get())
        settle(lambda: GateReport.objects.filter(evaluation__candidate__run=run).exists())
        return GateReport.objects.get(evaluation__candidate__run=run)

    return one


def champion(line: Line) -> ModelVersion:
    return line.alias(AliasName.CHAMPION)


def test_a_better_candidate_becomes_champion(turn: Turn, line: Line):
    report = turn(champion=0.3, candidate=0.7)

    assert report.verdict == "PROMOTE"
    assert champion(line) == report.evaluation.candidate
    assert AliasMove.objects.filter(line=line, name="champion").first().report == report


def test_a_report_keeps_what_the_answers_cost_and_where_it_gained(turn: Turn):
    decision = turn(champion=0.3, candidate=0.7).decision

    assert [cost["name"] for cost in decision["costs"]] == ["tokens an answer", "length of the longest twentieth"]
    assert {"dataset", "grader", "difficulty for the champion"} <= {one["label"] for one in decision["slices"]}


def test_a_candidate_that_is_no_better_is_never_promoted(turn: Turn, line: Line, operator: User):
    policies.change(line, {"alpha": 0.0005}, actor=operator)  # of equals one in forty would be better by chance

    report = turn(champion=0.4, candidate=0.4)

    assert report.verdict in {"HOLD", "INCONCLUSIVE"}
    assert champion(line).number == 0


def test_a_candidate_that_fell_in_one_domain_is_held_and_the_report_names_it(turn: Turn, line: Line):
    report = turn(champion=0.5, candidate={"*": 0.9, "reverse": 0.1})

    assert report.verdict == "HOLD"
    assert any(reason["suite"] == "reverse" for reason in report.decision["reasons"])
    assert champion(line).number == 0


def test_a_policy_that_changed_during_the_evaluation_makes_it_invalid(
    line: Line, fill: Callable[..., Dataset], operator: User, knobs: Knobs
):
    knobs(champion=0.3, candidate=0.7)
    fill(sealed=60)
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
    runs.start(line, actor=operator, recipe=recipe)
    settle(lambda: Evaluation.objects.filter(line=line).exists())

    policies.change(line, {"answers_per_item": 8}, actor=operator)
    settle(lambda: GateReport.objects.filter(line=line).exists())

    report = GateReport.objects.get(line=line)
    assert report.verdict == "INVALID"
    assert report.decision["reasons"][0]["code"] == "policy_changed"
    assert champion(line).number == 0


def test_a_policy_that_changed_after_the_verdict_leaves_nothing_to_sign(turn: Turn, line: Line, operator: User):
    Line.objects.filter(pk=line.pk).update(auto_promote=False)
    candidate = turn(champion=0.3, candidate=0.7).evaluation.candidate
    policies.change(Line.objects.get(pk=line.pk), {"delta_min": 0.3}, actor=operator)

    with pytest.raises(Conflict, match="policy has changed since the verdict"):
        promotion.promote(candidate, actor=operator, reason="Looks right.")


def test_deciding_twice_gives_the_first_report(turn: Turn):
    report = turn(champion=0.3, candidate=0.7)

    assert gates.decide(report.evaluation) == report
    assert AliasMove.objects.filter(report=report).count() == 1


def test_a_line_that_asks_for_a_sign_off_waits_for_a_person(turn: Turn, line: Line, operator: User):
    Line.objects.filter(pk=line.pk).update(auto_promote=False)

    report = turn(champion=0.3, candidate=0.7)
    assert champion(line).number == 0
    promotion.promote(report.evaluation.candidate, actor=operator, reason="Looks right.")

    assert champion(line) == report.evaluation.candidate


def test_rolling_back_goes_one_champion_back_each_time(turn: Turn, line: Line, operator: User):
    turn(champion=0.2, candidate=0.5)
    turn(champion=0.5, candidate=0.8)
    assert champion(line).number == 2

    promotion.roll_back(line, actor=operator, reason="Complaints.")
    assert champion(line).number == 1
    promotion.roll_back(line, actor=operator, reason="More complaints.")
    assert champion(line).number == 0
    with pytest.raises(Conflict, match="nothing to go back to"):
        promotion.roll_back(line, actor=operator, reason="Even more.")


def test_a_held_candidate_cannot_be_promoted_by_hand(turn: Turn, operator: User):
    report = turn(champion=0.6, candidate=0.2)

    with pytest.raises(Conflict, match="The gate said HOLD"):
        promotion.promote(report.evaluation.candidate, actor=operator, reason="I like it.")


def test_a_report_against_a_former_champion_is_stale(turn: Turn, line: Line, operator: User):
    Line.objects.filter(pk=line.pk).update(auto_promote=False)
    first = turn(champion=0.2, candidate=0.6).evaluation.candidate
    second = turn(champion=0.2, candidate=0.7).evaluation.candidate
    promotion.promote(second, actor=operator, reason="The newest.")

    with pytest.raises(Conflict, match="evaluate"):
        promotion.promote(first, actor=operator, reason="Too late.")


def test_the_flips_show_regressions_first_with_both_answers(turn: Turn):
    report = turn(champion=0.5, candidate=0.6)

    kinds = [flip["kind"] for flip in report.flips]
    assert kinds == sorted(kinds, reverse=True)
    assert {"completion", "reason", "score"} == set(report.flips[0]["champion"])


def test_an_evaluation_killed_half_way_gives_one_report(turn: Turn, line: Line):
    report = turn(champion=0.3, candidate=0.7, crash_at=2)

    assert report.evaluation.attempt == 2
    assert GateReport.objects.filter(line=line).count() == 1
    scores = path_of(report.evaluation.directory) / "scores.jsonl"
    assert report.decision["rows"][0]["n"] * report.decision["rows"][0]["answers_per_item"] * 2 <= len(
        scores.read_text().splitlines()
    )


def test_sealed_items_are_never_in_the_training_file(turn: Turn, line: Line):
    report = turn(champion=0.3, candidate=0.7)

    trained = (path_of(report.evaluation.candidate.run.directory) / "train.jsonl").read_text()
    sealed = (path_of(report.evaluation.directory) / "items.jsonl").read_text().splitlines()
    assert not [item for item in sealed if json.loads(item)["messages"][0]["content"] in trained]


def test_the_newest_version_is_evaluated_once(turn: Turn, line: Line):
    report = turn(champion=0.3, candidate=0.3)

    supervision.supervise()
    supervision.supervise()

    assert Evaluation.objects.filter(candidate=report.evaluation.candidate).count() == 1


def test_a_champion_that_moved_meanwhile_makes_the_comparison_invalid_and_it_can_be_repeated(
    line: Line, fill: Callable[..., Dataset], operator: User, knobs: Knobs
):
    knobs(champion=0.3, candidate=0.7)
    fill(sealed=60)
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
    run = runs.start(line, actor=operator, recipe=recipe)
    settle(lambda: Evaluation.objects.filter(line=line).exists())
    other = ModelVersion.objects.create(line=line, number=7, digest="7" * 64, origin="elsewhere")
    promotion.move(line, AliasName.CHAMPION, other, actor=operator, reason="Meanwhile.")

    settle(lambda: GateReport.objects.filter(line=line).exists())

    report = GateReport.objects.get(line=line)
    assert (report.verdict, report.decision["reasons"][0]["code"]) == ("INVALID", "champion_moved")
    run.refresh_from_db()
    assert evaluations.start(run.version, actor=operator).champion == other


def test_an_expert_that_was_trained_on_sealed_rows_cannot_pass_the_gate(
    line: Line, fill: Callable[..., Dataset], contributor: User, knobs: Knobs
):
    knobs(champion=0.3, candidate=0.7)
    small = fill("small", visibility="private", train=30, sealed=30, validation=0, domains=("add",))

    run = runs.train_expert(small, actor=contributor, overrides={"steps": 4})
    settle(lambda: GateReport.objects.filter(evaluation__candidate__run=run).exists())

    report = GateReport.objects.get(evaluation__candidate__run=run)
    assert report.verdict == "INVALID"
    assert "contamination" in {reason["code"] for reason in report.decision["reasons"]}


def test_a_nul_in_an_answer_does_not_hold_up_its_report():
    said = Score("add", "1", "", "champion", 0, "incorrect", 0.0, 1, False, "4\x00", "Read 4\x00.")

    assert gates._shown(said) == {"completion": "4\ufffd", "reason": "Read 4\ufffd.", "score": 0.0}
