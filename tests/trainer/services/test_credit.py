"""Credit from a comparison: whose rows trained, whose were asked, and what may be said of each."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import ttest_rel

from tasks.models import Dataset, Team, User
from tasks.models.events import Event
from tasks.services import accounts, datasets, withdrawals
from tests.trainer.services.crediting import Fill, Turns, also_brought_by, held_out, train_rows
from tests.trainer.services.settling import settle
from trainer.models import CreditEntry, GateReport, Line, TrainingRun
from trainer.services import credit, lines, promotion, recipes, runs
from trainer.services.launching import path_of


@pytest.fixture
def turn(line: Line) -> Turns:
    return Turns(line)


@pytest.fixture
def second(db: None) -> Team:
    return accounts.create_team("Ben's", actor=User.objects.create_user("ben"))


def of(report: GateReport, dataset: Dataset) -> CreditEntry:
    return CreditEntry.objects.get(report=report, dataset=dataset)


def of_team(report: GateReport, team: Team) -> CreditEntry:
    return CreditEntry.objects.get(report=report, team=team, dataset=None)


def remembered(report: GateReport) -> list[tuple]:
    rows = CreditEntry.objects.filter(report=report).order_by("team", "dataset")
    return list(rows.values_list("team", "dataset", "rows", "effect", "sums", "claim", "adjusted_p", "fewest"))


def test_the_gate_remembers_each_datasets_own_rows_before_and_after(
    line: Line, fill: Fill, operator: User, knobs: Callable[..., None]
):
    knobs(champion=0.3, candidate=0.7)
    dataset = fill(sealed=60)
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
    run = runs.start(line, actor=operator, recipe=recipe)
    settle(lambda: GateReport.objects.filter(evaluation__candidate__run=run).exists())
    report = GateReport.objects.get(evaluation__candidate__run=run)

    entry = of(report, dataset)

    written = (path_of(report.evaluation.directory) / "scores.jsonl").read_text().splitlines()
    by_side: dict[str, dict[str, list[float]]] = {"champion": {}, "candidate": {}}
    for answer in map(json.loads, written):
        if answer["side"] in by_side:
            by_side[answer["side"]].setdefault(answer["key"], []).append(answer["score"])
    keys = sorted(by_side["champion"])
    old, new = (np.array([np.mean(by_side[side][key]) for key in keys]) for side in ("champion", "candidate"))
    interval = ttest_rel(new, old).confidence_interval(0.95)
    effect = entry.effect
    assert (effect["before"], effect["after"]) == pytest.approx((old.mean(), new.mean()))
    assert (effect["low"], effect["high"]) == pytest.approx((interval.low, interval.high))
    assert (entry.rows, effect["items"], entry.claim) == (run.mixture.size, len(keys), "better")


def test_recounting_from_the_engines_files_gives_the_same_again(
    line: Line, fill: Fill, operator: User, knobs: Callable[..., None]
):
    knobs(champion=0.3, candidate=0.7)
    fill(sealed=60)
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
    runs.start(line, actor=operator, recipe=recipe)
    settle(lambda: GateReport.objects.filter(line=line).exists())
    report = GateReport.objects.get(line=line)
    before = remembered(report)

    done = [credit.recount(report), credit.recount(report)]

    assert done == [True, True]
    assert remembered(report) == before != []


def test_where_the_answers_have_gone_what_is_remembered_stays(turn: Turns, fill: Fill):
    dataset = fill()
    report = turn(held_out(dataset), trained=train_rows(dataset))

    assert credit.recount(report) is False
    assert of(report, dataset).claim == "better"


def test_each_dataset_is_told_of_its_own_items(turn: Turns, fill: Fill):
    rose, stayed = fill("rose"), fill("stayed")
    items = held_out(rose) + held_out(stayed)
    chances = dict.fromkeys(held_out(rose), 0.9) | dict.fromkeys(held_out(stayed), 0.3)

    report = turn(items, before=0.3, after=chances, trained=train_rows(rose)[:40])

    assert (of(report, rose).claim, of(report, stayed).claim) == ("better", "no difference shown")
    assert (of(report, rose).rows, of(report, stayed).rows) == (40, 0)
    assert of(report, rose).effect["items"] == 60


def test_a_task_that_two_teams_brought_counts_for_both(turn: Turns, fill: Fill, team: Team, second: Team):
    mine, theirs = fill("mine"), fill("theirs", owner=second)
    items = held_out(mine) + held_out(theirs)
    shared, trained = held_out(mine)[:10], train_rows(mine)[:7]
    also_brought_by(theirs, shared + trained)

    report = turn(items, trained=train_rows(mine))

    assert of_team(report, team).effect["items"] == 60
    assert of_team(report, second).effect["items"] == 60 + len(shared)
    assert (of_team(report, team).rows, of_team(report, second).rows) == (120, 7)


def test_a_task_in_two_datasets_of_a_team_counts_once_for_the_team(turn: Turns, fill: Fill, team: Team):
    one, two = fill("one"), fill("two", train=5, sealed=5)
    also_brought_by(two, held_out(one))

    report = turn(held_out(one), trained=train_rows(one))

    assert of_team(report, team).effect["items"] == len(held_out(one)) == 60
    assert of(report, two).effect["items"] == 60


def test_fewer_items_than_the_policy_asks_for_are_shown_without_a_claim(turn: Turns, fill: Fill):
    small = fill("small", sealed=6)

    report = turn(held_out(small), before=0.0, after=1.0, trained=train_rows(small))

    entry = of(report, small)
    assert (entry.claim, entry.effect["items"], entry.effect["difference"]) == ("too few rows to tell", 12, 1.0)
    assert credit.sentence(entry, whose="its").endswith("8 more held-out tasks are needed.")


def test_rows_withdrawn_later_stay_counted(turn: Turns, fill: Fill, contributor: User):
    dataset = fill()
    report = turn(held_out(dataset), trained=train_rows(dataset))
    before = remembered(report)

    withdrawals.withdraw(dataset, actor=contributor, reason="Ours again.")

    assert remembered(report) == before
    assert of(report, dataset).rows == 120


def test_of_an_invalid_comparison_nothing_is_said(turn: Turns, fill: Fill):
    dataset = fill()

    report = turn(held_out(dataset), trained=train_rows(dataset), verdict="INVALID")

    assert not CreditEntry.objects.filter(report=report).exists()


def test_a_control_run_earns_no_credit(turn: Turns, fill: Fill):
    dataset = fill()

    report = turn(held_out(dataset), trained=train_rows(dataset), verdict="HOLD", spec={"random_rewards": True})

    assert not CreditEntry.objects.filter(report=report).exists()


def test_private_rows_are_not_counted_on_the_shared_line(turn: Turns, fill: Fill):
    gift, secret = fill("gift"), fill("secret", visibility="private")
    also_brought_by(secret, held_out(gift))

    report = turn(held_out(gift), trained=train_rows(gift))

    assert not CreditEntry.objects.filter(report=report, dataset=secret).exists()


def test_an_expert_tells_its_own_team_alone(fill: Fill, team: Team, contributor: User, second: Team, line: Line):
    house = fill("house", visibility="private", train=60)
    expert = lines.create_expert(team, "House", line.alias("champion"), actor=contributor)
    run = TrainingRun.objects.create(
        line=expert,
        start=expert.alias("champion"),
        dataset_version=datasets.freeze(house, actor=None),
        spec={},
        state="succeeded",
    )

    report = Turns(expert)(held_out(house), run=run)

    assert of(report, house).rows == 120
    assert CreditEntry.objects.for_user(contributor).filter(dataset=house).exists()
    assert not CreditEntry.objects.for_user(User.objects.get(username="ben")).exists()


def test_measuring_leaves_one_event(turn: Turns, fill: Fill):
    dataset = fill()

    report = turn(held_out(dataset), trained=train_rows(dataset))

    event = Event.objects.get(kind="credit.measured", subject_id=str(report.pk))
    assert event.data == {"datasets": 1, "entries": 2}


# Which promotions lead to the champion


def names(line: Line) -> list[str]:
    return [move.new.name for move in credit.promotions(line)]


def test_promotions_are_those_on_the_way_to_the_champion(turn: Turns, fill: Fill, line: Line):
    items = held_out(fill())
    turn(items)
    turn(items, verdict="HOLD")
    turn(items)

    assert names(line) == ["shared/v1", "shared/v3"]


def test_what_was_rolled_back_is_not_on_the_way(turn: Turns, fill: Fill, line: Line, operator: User):
    items = held_out(fill())
    turn(items)
    turn(items)

    promotion.roll_back(line, actor=operator, reason="Complaints.")

    assert names(line) == ["shared/v1"]


def test_a_champion_that_somebody_put_there_by_hand_was_not_measured(
    turn: Turns, fill: Fill, line: Line, operator: User
):
    items = held_out(fill())
    turn(items)
    held = turn(items, verdict="HOLD").evaluation.candidate
    promotion.move(line, "champion", held, actor=operator, reason="I like it.")
    turn(items)

    assert names(line) == ["shared/v1", "shared/v3"]


def test_a_version_that_became_champion_again_counts_with_its_newest_report(
    turn: Turns, fill: Fill, line: Line, operator: User
):
    items = held_out(fill())
    turn(items)
    promotion.roll_back(line, actor=operator, reason="Complaints.")
    turn(items)

    assert names(line) == ["shared/v2"]


# What a contributor is told


def test_a_contributor_is_told_of_the_newest_champion_that_their_rows_trained(
    turn: Turns, fill: Fill, line: Line, team: Team
):
    dataset = fill()
    turn(held_out(dataset), trained=train_rows(dataset)[:12])
    turn(held_out(dataset), trained=[])

    ((entry, told),) = credit.told(line, [team.pk])

    assert entry.team == team
    assert told.startswith("12 of your tasks were in shared/v1; on your 60 held-out tasks the score went from ")


def test_a_candidate_that_was_not_promoted_is_not_boasted_of(turn: Turns, fill: Fill, line: Line, team: Team):
    dataset = fill()
    turn(held_out(dataset), trained=train_rows(dataset), verdict="HOLD")

    assert credit.told(line, [team.pk]) == []
