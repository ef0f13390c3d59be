"""What engines spend is counted by team and month, and a spent month refuses a start."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.utils import timezone

from tasks.errors import Conflict, Forbidden, Invalid
from tasks.models import Dataset, Event, Team, User
from tests.trainer.services.settling import settle
from trainer.contract import Heartbeat
from trainer.launchers.protocol import Status
from trainer.models import Line, TrainingRun, Usage
from trainer.services import difficulty, runs, usage
from trainer.states import RUN_ENDED

Fill = Callable[..., Dataset]


def spend(team: Team, minutes: float, at: datetime | None = None, **fields: object) -> Usage:
    given = {"kind": "run", "work": Usage.objects.count() + 1, "attempt": 1, **fields}
    return Usage.objects.create(team=team, began_at=at or timezone.now(), seconds=60 * minutes, **given)


def test_attempts_are_added_up_by_team_month_and_kind(team: Team):
    may = datetime(2026, 5, 31, 23, tzinfo=UTC)
    spend(team, 2, may, work=7, steps=10, tokens=100)
    spend(team, 3, may, work=7, attempt=2, steps=5, tokens=50, slots=4)
    spend(team, 1, datetime(2026, 6, 1, tzinfo=UTC), work=8)

    june, spent = usage.by_month(Usage.objects.all())

    assert (june.month, june.works) == ("2026-06", 1)
    assert (spent.month, spent.works, spent.attempts, spent.seconds, spent.slot_seconds, spent.steps, spent.tokens) == (
        "2026-05", 1, 2, 300.0, 840.0, 15, 150
    )  # fmt: skip


def test_a_team_sees_its_own_usage_and_operators_all(team: Team, contributor: User, operator: User, stranger: User):
    spend(team, 1)

    seen = [Usage.objects.for_user(user).count() for user in (contributor, operator, stranger)]

    assert seen == [1, 1, 0]


def test_a_key_of_one_team_sees_that_teams_usage_only(team: Team, operator: User):
    other = Team.objects.create(slug="other", name="Other")
    spend(other, 1)

    assert not Usage.objects.for_user(operator, team).exists()


@pytest.mark.usefixtures("line")
def test_a_spent_month_refuses_a_start_in_one_sentence(fill: Fill, team: Team, contributor: User, operator: User):
    dataset = fill("mine", visibility="private")
    usage.set_budget(team, 10, actor=operator)
    spend(team, 10.5)

    with pytest.raises(Conflict, match="Ada's has used 10 of its 10 engine minutes of this month"):
        runs.train_expert(dataset, actor=contributor)


@pytest.mark.usefixtures("line")
def test_last_months_minutes_do_not_count(fill: Fill, team: Team, contributor: User, operator: User):
    usage.set_budget(team, 10, actor=operator)
    spend(team, 100, datetime(2020, 1, 1, tzinfo=UTC))

    assert runs.train_expert(fill("mine", visibility="private"), actor=contributor).state == "queued"


def test_a_budget_can_be_taken_away_again(team: Team, operator: User):
    usage.set_budget(team, 0, actor=operator)
    usage.set_budget(team, None, actor=operator)

    usage.require_left(team)

    assert Event.objects.filter(kind="team.usage_budget").count() == 2


def test_a_team_does_not_set_its_own_budget(team: Team, contributor: User):
    with pytest.raises(Forbidden):
        usage.set_budget(team, 1e6, actor=contributor)


@pytest.mark.parametrize("minutes", [-1, float("nan"), float("inf")])
def test_a_budget_is_a_number_of_minutes(team: Team, operator: User, minutes: float):
    with pytest.raises(Invalid, match="minutes"):
        usage.set_budget(team, minutes, actor=operator)


def test_an_engine_that_died_unseen_has_not_worked_since(line: Line, fill: Fill, contributor: User):
    run = runs.train_expert(fill("mine", visibility="private"), actor=contributor)
    began = timezone.now().timestamp() - 3600
    row = Usage.objects.create(
        team=run.line.team, kind="run", work=run.pk, attempt=0, began_at=datetime.fromtimestamp(began, UTC)
    )
    beat = Heartbeat(0, 1, began + 30, "training", 1, 10, 0)

    usage.measure("run", run, Status(alive=False, heartbeat=beat, result=None, exit_code=None))

    row.refresh_from_db()
    assert row.seconds == pytest.approx(30, abs=0.01)


def test_usage_outlives_the_run(line: Line, fill: Fill, contributor: User):
    run = runs.train_expert(fill("mine", visibility="private", sealed=0), actor=contributor, overrides={"steps": 4})
    settle(lambda: TrainingRun.objects.get(pk=run.pk).state in RUN_ENDED)
    run.line.aliases.all().delete()
    run.line.alias_moves.all().delete()
    run.line.versions.filter(run=run).delete()

    TrainingRun.objects.get(pk=run.pk).delete()

    assert Usage.objects.get(kind="run", work=run.pk).steps == 4


def test_a_difficulty_check_is_counted_with_its_tokens(line: Line, fill: Fill, operator: User):
    dataset = fill("shared", train=6)

    check = difficulty.start(line, actor=operator, dataset=dataset)
    settle(lambda: type(check).objects.get(pk=check.pk).state == "succeeded")

    spent = Usage.objects.get(kind="difficulty", work=check.pk)
    assert (spent.team, spent.tokens > 0) == (line.team, True)


def test_a_spent_month_refuses_a_difficulty_check_too(line: Line, fill: Fill, operator: User):
    dataset = fill("shared", train=6)
    usage.set_budget(line.team, 0, actor=operator)

    with pytest.raises(Conflict, match="engine minutes"):
        difficulty.start(line, actor=operator, dataset=dataset)
