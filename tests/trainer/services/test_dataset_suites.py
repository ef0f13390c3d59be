"""A dataset's held-out rows as a suite of its own, where the policy names it."""

from collections.abc import Callable

import pytest

from tasks.errors import Invalid
from tasks.models import Dataset, User
from tests.trainer.services.crediting import held_out
from tests.trainer.services.settling import settle
from trainer.models import GateReport, Line
from trainer.services import coverage, policies, recipes, rotation, runs, suites

Fill = Callable[..., Dataset]


def named(dataset: Dataset) -> str:
    return f"dataset:{dataset.team.slug}/{dataset.slug}"


@pytest.fixture
def mine(fill: Fill) -> Dataset:
    """Thirty held-out rows of each domain, beside as many of another dataset."""
    fill("others", sealed=30, train=20)
    return fill("mine", sealed=30, train=20)


@pytest.fixture
def policy(line: Line, mine: Dataset, operator: User) -> dict[str, object]:
    body = {"answers_per_item": 2, "guards": [{"suite": named(mine), "margin": 0.3}]}
    policies.change(line, body, actor=operator)
    return body


def test_a_dataset_is_a_suite_only_where_the_policy_names_it(line: Line, mine: Dataset):
    assert named(mine) not in suites.available(line)


def test_it_is_frozen_from_the_datasets_own_held_out_rows(line: Line, mine: Dataset, policy: dict[str, object]):
    frozen = {suite.name: suite for suite in suites.freeze(Line.objects.get(pk=line.pk))}

    assert sorted(frozen[named(mine)].items.values_list("task", flat=True)) == held_out(mine)
    assert frozen["add"].item_count > frozen[named(mine)].items.filter(task__domain="add").count()


def test_the_pooled_target_counts_each_item_once(
    line: Line, mine: Dataset, policy: dict[str, object], operator: User, knobs: Callable[..., None]
):
    knobs(champion=0.3, candidate=0.7)
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
    runs.start(line, actor=operator, recipe=recipe)
    settle(GateReport.objects.filter(line=line).exists)

    rows = {row["suite"]: row for row in GateReport.objects.get(line=line).decision["rows"]}
    assert rows["overall"]["n"] == rows["add"]["n"] + rows["reverse"]["n"]
    assert (rows[named(mine)]["role"], rows[named(mine)]["n"]) == ("guard", len(held_out(mine)))


def test_it_makes_way_with_its_domain_and_not_by_itself(line: Line, mine: Dataset, policy: dict[str, object]):
    line = Line.objects.get(pk=line.pk)
    suites.freeze(line)

    assert rotation.prospect(line, named(mine)) is None


def test_a_dataset_that_is_not_there_is_refused_with_the_policy(line: Line, operator: User):
    with pytest.raises(Invalid, match="no dataset ada/nothing here: write dataset:TEAM/SLUG"):
        policies.change(line, {"target": "dataset:ada/nothing"}, actor=operator)


def test_a_private_dataset_is_none_of_the_shared_lines(line: Line, fill: Fill, operator: User):
    private = fill("secret", visibility="private")

    with pytest.raises(Invalid, match="There is no dataset"):
        policies.change(line, {"target": named(private)}, actor=operator)


def test_the_public_list_of_domains_names_no_dataset(
    line: Line, mine: Dataset, policy: dict[str, object], operator: User, knobs: Callable[..., None]
):
    knobs(champion=0.3, candidate=0.7)
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
    runs.start(line, actor=operator, recipe=recipe)
    settle(GateReport.objects.filter(line=line).exists)

    assert {row.have.domain for row in coverage.listed(Line.objects.get(pk=line.pk)).rows} == {"add", "reverse"}
