"""What an evaluation takes, from what earlier ones showed of the champion and of the machine."""

from collections.abc import Callable
from typing import Any

import pytest

from tasks.models import Dataset, User
from tests.trainer.services.settling import settle
from trainer.evaluation.policy import GatePolicy
from trainer.models import GateReport, Line, Usage
from trainer.services import planning, recipes, runs, suites
from trainer.states import Verdict

POLICY = GatePolicy(answers_per_item=2)


@pytest.fixture
def report(line: Line, fill: Callable[..., Dataset], operator: User, knobs: Callable[..., None]) -> GateReport:
    """A champion that answers three tenths was beaten by one that answers nine."""
    knobs(champion=0.3, candidate=0.9)
    fill(sealed=120, train=20)
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
    runs.start(line, actor=operator, recipe=recipe)
    settle(GateReport.objects.filter(line=line).exists)
    return GateReport.objects.get(line=line)


def test_before_the_first_evaluation_nothing_is_known_of_the_champion(line: Line):
    assert planning.champion_on(line, POLICY) == {}
    assert planning.seconds_for(line, 1000) is None


def test_a_new_champion_is_known_from_the_side_on_which_it_won(line: Line, report: GateReport):
    known = planning.champion_on(line, POLICY)

    assert report.verdict == Verdict.PROMOTE
    assert known["add"].mean == pytest.approx(0.9, abs=0.06)
    assert known["add"].within == pytest.approx(0.09, abs=0.05)  # p(1 − p)


def test_after_a_roll_back_the_champion_is_known_from_the_other_side(line: Line, report: GateReport):
    line.aliases.filter(name="champion").update(version=report.evaluation.champion)

    assert planning.champion_on(line, POLICY)["add"].mean == pytest.approx(0.3, abs=0.06)


def test_an_invalid_comparison_says_nothing_of_anybody(line: Line, report: GateReport):
    GateReport.objects.filter(pk=report.pk).update(verdict=Verdict.INVALID)

    assert planning.champion_on(line, POLICY) == {}


def test_another_reading_of_the_answers_is_not_known(line: Line, report: GateReport):
    assert planning.champion_on(line, GatePolicy(compares="outcome")) == {}


@pytest.mark.parametrize("missing", [("clusters", 49), ("compares", None)])
def test_a_row_that_says_too_little_is_left_out(line: Line, report: GateReport, missing: tuple[str, Any]):
    decision = report.decision
    for row in decision["rows"]:
        row[missing[0]] = missing[1]
    GateReport.objects.filter(pk=report.pk).update(decision=decision)

    assert planning.champion_on(line, POLICY) == {}


def test_a_quiet_champion_needs_fewer_items(line: Line, report: GateReport):
    available = {"add": 20_000, "reverse": 20_000}

    known = planning.planned(line, POLICY, available).plan.suites
    line.reports.all().update(verdict=Verdict.INVALID)
    unknown = planning.planned(line, POLICY, available).plan.suites

    assert [suite.needed for suite in known if suite.suite == "add"] < [
        suite.needed for suite in unknown if suite.suite == "add"
    ]


def test_the_time_is_that_of_the_answers_of_before(line: Line, report: GateReport):
    evaluation = report.evaluation
    asked = sum(suite.item_count for suite in evaluation.suites.all()) * evaluation.sampling["answers_per_item"] * 2
    Usage.objects.filter(kind="evaluation", work=evaluation.pk).update(seconds=asked / 100)

    assert planning.seconds_for(line, 5_000) == pytest.approx(50)


def test_a_plan_counts_the_answers_of_every_side(line: Line, report: GateReport):
    """The base is the anchor still, and another version the champion: three sides answer."""
    planned = planning.planned(line, POLICY, suites.available(line))

    assert planned.answers == 3 * planned.plan.answers
