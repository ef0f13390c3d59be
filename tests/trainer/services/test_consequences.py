"""What a withdrawal means on the model side: said before, true after."""

from collections.abc import Callable
from typing import Any

import pytest

from tasks.models import Dataset, Task, Team, User
from tasks.services import accounts, datasets, exporting, withdrawals
from tasks.states import TaskState
from tests.trainer.services.trained import crowned, run_on, trained
from trainer.models import Line, Mixture, Recipe
from trainer.services import consequences, difficulty, recipes, suites, training_data

Fill = Callable[..., Dataset]
pytestmark = pytest.mark.django_db


@pytest.fixture
def bert(db: None) -> Team:
    return accounts.create_team("Bert's", actor=User.objects.create_user("bert"))


@pytest.fixture
def sums(line: Line, fill: Fill, bert: Team) -> Dataset:
    """Three quarters of what is offered to the line."""
    fill("words", owner=bert, train=5, sealed=20, validation=1)
    return fill("sums", train=15, sealed=20, validation=1)


@pytest.fixture
def recipe(line: Line, operator: User, sums: Dataset) -> Recipe:
    return recipes.create(line, "all", {}, actor=operator)


@pytest.fixture
def mixture(recipe: Recipe, operator: User) -> Mixture:
    return recipes.build(recipe, actor=operator)


def would(subject: Any, user: User) -> consequences.Consequences:
    return consequences.of(withdrawals.preview(subject, actor=user), Line.objects.for_user(user))


def withdraw(subject: Any, user: User) -> Any:
    return withdrawals.withdraw(subject, actor=user, reason="leaving", told=consequences.told)


def test_the_versions_that_saw_the_rows_are_told_before(sums: Dataset, mixture: Mixture, line: Line, contributor: User):
    version = trained(line, line.versions.get(number=0), mixture=mixture)
    crowned(version)

    (use,) = would(sums, contributor).used.in_service

    assert (use.version, use.share, use.aliases) == ("shared/v1", 0.75, ("champion",))


def test_the_next_mixture_is_told_with_and_without_the_tasks(sums: Dataset, recipe: Recipe, contributor: User):
    told = would(sums, contributor)

    assert (told.offered_now, told.offered_then) == (40, 10)
    assert [(one.name, one.now, one.then) for one in told.next] == [("all", 40, 10)]


def test_a_recipe_that_would_have_nothing_left_says_so(line: Line, fill: Fill, operator: User, contributor: User):
    alone = fill("alone", train=15, sealed=20, validation=1)
    recipes.create(line, "all", {}, actor=operator)

    (one,) = would(alone, contributor).next

    assert (one.now, one.then) == (30, 0)
    assert "no approved task" in one.sentence


def test_more_than_a_preview_can_mix_is_counted_but_not_mixed(
    sums: Dataset, recipe: Recipe, contributor: User, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(consequences, "MOST_MIXED", 20)

    told = would(sums, contributor)

    assert (told.offered_now, told.offered_then) == (40, 10)
    assert [(one.now, one.then) for one in told.next] == [(None, None)]


def test_an_experts_next_training_is_told(line: Line, fill: Fill, team: Team, contributor: User):
    dataset = fill("house", visibility="private", train=51, sealed=1, validation=1)
    Line.objects.create(team=team, slug="adas-house", name="House", purpose="expert", dataset=dataset)

    (one,) = would(dataset, contributor).next

    assert (one.line, one.now, one.then) == ("adas-house", 102, 0)


def test_suites_that_lose_items_are_told_with_what_is_left(sums: Dataset, line: Line, contributor: User):
    suites.freeze(line)

    told = would(sums, contributor).suites

    assert {(one.suite, one.items, one.of, one.left, one.is_enough) for one in told} == {
        ("add", 20, 40, 20, True),
        ("reverse", 20, 40, 20, True),
    }


# Afterwards


def test_the_receipt_keeps_who_had_seen_the_rows_and_the_next_mixture(
    sums: Dataset, recipe: Recipe, mixture: Mixture, line: Line, contributor: User
):
    crowned(trained(line, line.versions.get(number=0), mixture=mixture))
    going = run_on(line, line.versions.get(number=0), state="running", mixture=mixture)

    seen = withdraw(sums, contributor).seen

    (version,) = seen["versions"]
    assert (version["version"], version["rows"], version["of"], version["aliases"]) == (
        "shared/v1",
        30,
        40,
        ["champion"],
    )
    assert [run["run"] for run in seen["going_on"]] == [going.pk]
    assert [(one["recipe"], one["rows"]) for one in seen["next"]] == [("all", 10)]


def test_the_next_mixture_is_without_the_withdrawn_rows(
    sums: Dataset, recipe: Recipe, mixture: Mixture, operator: User, contributor: User
):
    withdraw(sums, contributor)

    after = recipes.build(recipe, actor=operator)

    assert (mixture.size, after.size) == (40, 10)
    assert not after.entries.filter(task__state=TaskState.WITHDRAWN).exists()
    assert not after.sources.filter(dataset_version__dataset=sums).exists()


def test_a_run_on_an_old_mixture_leaves_the_withdrawn_rows_out(
    sums: Dataset, mixture: Mixture, line: Line, contributor: User
):
    withdraw(sums, contributor)

    run = run_on(line, line.versions.get(number=0), state="queued", mixture=mixture)

    assert training_data.trained_on(run).count() == 10


def test_a_difficulty_check_is_without_the_withdrawn_rows(sums: Dataset, recipe: Recipe, contributor: User):
    before = difficulty.tasks_of(recipe).count()

    withdraw(sums, contributor)

    assert (before, difficulty.tasks_of(recipe).count()) == (40, 10)


def test_the_next_suites_are_without_the_withdrawn_items_and_the_old_ones_stay(
    sums: Dataset, line: Line, contributor: User
):
    before = suites.freeze(line)
    withdraw(sums, contributor)

    after = suites.freeze(line)

    assert [suite.item_count for suite in after] == [20, 20]
    assert not any(suite.items.filter(task__state=TaskState.WITHDRAWN).exists() for suite in after)
    assert [suites.digests(suite)[0] for suite in before] == [suite.digest for suite in before]


def test_the_next_dataset_version_and_every_export_are_without_the_withdrawn_rows(
    sums: Dataset, mixture: Mixture, contributor: User
):
    frozen = sums.versions.get()
    gone = Task.objects.filter(memberships__dataset=sums, split="train").earliest("pk")
    before = exporting.rows_of(exporting.Selection(sums, frozen)).count()
    withdraw(gone, contributor)

    after = datasets.freeze(sums, actor=contributor)

    assert (after.task_count, frozen.task_count) == (71, 72)
    assert exporting.rows_of(exporting.Selection(sums, frozen)).count() == before - 1
    assert exporting.rows_of(exporting.Selection(sums, after)).count() == before - 1


def test_an_old_mixtures_frozen_digest_still_holds(sums: Dataset, mixture: Mixture, contributor: User):
    withdraw(sums, contributor)

    assert recipes.digest(mixture) == mixture.digest


def test_a_changed_row_breaks_a_mixtures_digest(sums: Dataset, mixture: Mixture):
    first = mixture.entries.earliest("position").task
    Task.objects.filter(pk=first.pk).update(content_digest="f" * 64)

    assert recipes.digest(mixture) != mixture.digest
