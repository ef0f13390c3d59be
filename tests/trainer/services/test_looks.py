"""Looking at a candidate again: more answers, one alpha for all of them."""

from collections.abc import Callable

import pytest

from tasks.errors import Conflict, Forbidden
from tasks.models import Dataset, Event, User
from tests.trainer.services.settling import settle
from trainer.contract import EvalItem
from trainer.evaluation.policy import policy_from
from trainer.models import Evaluation, GateReport, Line
from trainer.services import answers, looks, policies, recipes, runs, supervision
from trainer.services.launching import path_of

GUARDS = [{"suite": "add", "margin": 0.2}, {"suite": "reverse", "margin": 0.2}]
TWICE = {"looks": [1, 2], "spending": "early", "answers_per_item": 2, "expected_effect": 0.9, "guards": GUARDS}
TWICE |= {"alpha": 0.0005}  # so that equal sides differ by chance in one case of a thousand
UNCLEAR = {"champion": 0.4, "candidate": 0.4}

Knobs = Callable[..., None]
Report = Callable[..., GateReport]


@pytest.fixture
def report(line: Line, fill: Callable[..., Dataset], operator: User, knobs: Knobs) -> Report:
    """The first report on a candidate that a policy of several looks is evaluated under."""

    def make(policy: dict[str, object], *, sealed: int = 460, **rates: float) -> GateReport:
        knobs(**(rates or UNCLEAR))
        policies.change(line, policy, actor=operator)
        fill(sealed=sealed, train=20)
        recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
        runs.start(line, actor=operator, recipe=recipe)
        settle(GateReport.objects.filter(line=line).exists)
        return GateReport.objects.get(line=line)

    return make


def second(line: Line) -> GateReport:
    settle(lambda: GateReport.objects.filter(line=line, evaluation__look=2).exists())
    return GateReport.objects.get(line=line, evaluation__look=2)


def test_a_second_look_adds_items_to_those_of_the_first(report: Report, line: Line, operator: User):
    first = report(TWICE)
    before = {row["suite"]: row["n"] for row in first.decision["rows"]}

    looks.go_on(first, actor=operator)

    after = {row["suite"]: row["n"] for row in second(line).decision["rows"]}
    assert first.verdict == "INCONCLUSIVE"
    assert after["add"] == 460 > before["add"]


def test_the_engine_is_asked_for_the_new_items_only(report: Report, line: Line, operator: User):
    first = report(TWICE)
    known = {item.key for item in answers.read(first.evaluation).items}

    looks.go_on(first, actor=operator)

    asked = list(answers.lines(path_of(second(line).evaluation.directory) / "items.jsonl", EvalItem))
    assert asked
    assert not known & {item.key for item in asked}


def test_each_look_has_the_level_that_the_policy_spends_at_it(report: Report, line: Line, operator: User):
    first = report(TWICE)
    policy = policy_from(TWICE)

    looks.go_on(first, actor=operator)

    levels = [policy.look(1).alpha, policy.look(2).alpha]
    assert [one.decision["look"]["alpha"] for one in (first, second(line))] == pytest.approx(levels)
    assert [one.decision["alpha"] for one in (first, second(line))] == pytest.approx(levels)
    assert second(line).decision["look"]["spent"] == pytest.approx(policy.alpha)


def test_where_all_items_are_used_each_is_answered_more_often(report: Report, line: Line, operator: User):
    first = report(TWICE, sealed=60)
    seen = {row["suite"]: (row["n"], row["answers_per_item"]) for row in first.decision["rows"]}

    looks.go_on(first, actor=operator)

    again = {row["suite"]: (row["n"], row["answers_per_item"]) for row in second(line).decision["rows"]}
    assert again == {suite: (n, 2 * k) for suite, (n, k) in seen.items()}


def test_after_the_last_look_there_is_nothing_to_go_on_with(report: Report, line: Line, operator: User):
    first = report(TWICE, sealed=60)
    looks.go_on(first, actor=operator)

    with pytest.raises(Conflict, match="no further look"):
        looks.go_on(second(line), actor=operator)


def test_a_policy_that_looks_once_offers_nothing(report: Report):
    assert looks.offer(report({**TWICE, "looks": [1]}, sealed=60)) is None


def test_a_verdict_that_is_decided_offers_nothing(report: Report):
    assert looks.offer(report(TWICE, sealed=60, champion=0.1, candidate=0.9)) is None


def test_going_on_twice_is_one_evaluation(report: Report, operator: User):
    first = report(TWICE, sealed=60)

    assert looks.go_on(first, actor=operator) == looks.go_on(first, actor=operator)


def test_a_policy_that_changed_between_two_looks_stops_them(report: Report, line: Line, operator: User):
    first = report(TWICE, sealed=60)
    policies.change(line, {**TWICE, "delta_min": 0.01}, actor=operator)

    with pytest.raises(Conflict, match="policy has changed"):
        looks.go_on(first, actor=operator)


def test_a_champion_that_moved_between_two_looks_stops_them(report: Report, line: Line, operator: User):
    first = report(TWICE, sealed=60)
    line.aliases.filter(name="champion").update(version=first.evaluation.candidate)

    with pytest.raises(Conflict, match="champion has changed"):
        looks.go_on(first, actor=operator)


def test_a_stranger_cannot_go_on(report: Report, stranger: User):
    with pytest.raises(Forbidden):
        looks.go_on(report(TWICE, sealed=60), actor=stranger)


def test_a_look_beyond_the_plan_waits_for_a_person(report: Report, line: Line):
    report(TWICE, sealed=60)

    supervision.supervise()

    assert Evaluation.objects.filter(line=line).count() == 1


def test_a_look_within_the_plan_follows_of_itself(report: Report, line: Line):
    first = report({**TWICE, "looks": [0.5, 1], "spending": "late"})

    assert first.verdict == "INCONCLUSIVE"
    rows = {row["suite"]: row["n"] for row in second(line).decision["rows"]}
    planned = {suite["suite"]: suite["n"] for suite in first.evaluation.plan["suites"]}
    assert rows == planned
    assert Event.objects.filter(kind="evaluation.queued", data__look=2, actor=None).exists()


def test_what_is_plain_early_needs_no_second_look(report: Report, line: Line):
    first = report({**TWICE, "looks": [0.5, 1], "alpha": 0.025}, champion=0.1, candidate=0.9)
    supervision.supervise()

    assert (first.verdict, first.decision["look"]["number"]) == ("PROMOTE", 1)
    assert Evaluation.objects.filter(line=line).count() == 1


def test_a_look_that_can_never_follow_is_not_tried_at_every_pass(report: Report, line: Line):
    first = report({**TWICE, "looks": [0.5, 1]}, sealed=60)
    Evaluation.objects.filter(extends=first.evaluation).delete()
    assert list(looks.due()) == [first]

    line.aliases.filter(name="champion").update(version=first.evaluation.candidate)

    assert not looks.due().exists()
