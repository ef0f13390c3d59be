"""Where a version comes from, and for whose eyes."""

from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module

import pytest
from django.db import connection

from tasks.models import Dataset, Team, User
from tasks.services import accounts, datasets, withdrawals
from tests.trainer.services.trained import trained
from trainer.models import Line, Mixture, MixtureSource, ModelVersion
from trainer.services import lineage, recipes

Fill = Callable[..., Dataset]
pytestmark = pytest.mark.django_db


@pytest.fixture
def bert(db: None) -> Team:
    return accounts.create_team("Bert's", actor=User.objects.create_user("bert"))


@pytest.fixture
def mixture(line: Line, fill: Fill, operator: User, bert: Team) -> Mixture:
    fill("sums", train=15, sealed=20, validation=1)
    fill("words", owner=bert, train=5, sealed=20, validation=1)
    return recipes.build(recipes.create(line, "all", {"seed": 3}, actor=operator), actor=operator)


@pytest.fixture
def version(line: Line, mixture: Mixture) -> ModelVersion:
    first = trained(line, line.versions.get(number=0), mixture=mixture)
    return trained(line, first, mixture=mixture)


def test_a_lineage_goes_from_the_version_down_to_the_base(version: ModelVersion, operator: User):
    steps = lineage.of_version(version, user=operator)

    assert [step.name for step in steps] == ["shared/v2", "shared/v1", "shared/v0"]
    assert [step.training is not None for step in steps] == [True, True, False]


def test_each_run_names_its_dataset_versions_with_rows_and_share(version: ModelVersion, contributor: User):
    step = lineage.step_of(version, user=contributor)

    assert step.training is not None
    told = [(source.dataset, source.team, source.rows, round(source.share, 3)) for source in step.training.sources]
    assert told == [("adas/sums", "Ada's", 30, 0.75), ("", "Bert's", 10, 0.25)]


def test_each_run_credits_teams_and_counts_graders(version: ModelVersion, operator: User):
    step = lineage.step_of(version, user=operator)

    assert step.training is not None
    assert [(credit.team, credit.rows) for credit in step.training.credits] == [("Ada's", 30), ("Bert's", 10)]
    assert dict(step.training.graders) == {"number": 40}


def test_a_shared_versions_lineage_holds_contributed_datasets_only(
    version: ModelVersion, fill: Fill, contributor: User, operator: User
):
    fill("house-style", visibility="private", train=2, sealed=0, validation=0)
    again = recipes.build(recipes.create(version.line, "again", {}, actor=operator), actor=operator)
    newest = trained(version.line, version, mixture=again)

    steps = lineage.of_version(newest, user=contributor)

    named = {source.dataset for step in steps if step.training for source in step.training.sources}
    assert named == {"adas/sums", ""}


def test_a_stranger_reads_no_name_of_a_dataset(version: ModelVersion, stranger: User):
    told = str([asdict(step) for step in lineage.of_version(version, user=stranger)])

    assert ("sums" in told, "words" in told, "Bert's" in told) == (False, False, True)


def test_what_a_private_ancestor_of_another_team_was_trained_on_is_not_told(
    line: Line, fill: Fill, team: Team, operator: User
):
    """Should a line ever start from one: its name and its data stay with its team."""
    dataset = fill("house-style", visibility="private", train=2, sealed=0, validation=0)
    expert = Line.objects.create(team=team, slug="adas-house", name="House", purpose="expert", dataset=dataset)
    private = trained(expert, line.versions.get(number=0), dataset_version=datasets.freeze(dataset, actor=None))
    made = ModelVersion.objects.create(line=line, number=1, digest="1" * 64, parent=private, origin="taken over")

    steps = lineage.of_version(made, user=operator)

    assert [(step.name, step.training) for step in steps[1:2]] == [("", None)]
    assert "house" not in str(steps)


def test_an_expert_shows_its_team_the_one_dataset_version_that_it_was_trained_on(
    line: Line, fill: Fill, team: Team, contributor: User
):
    dataset = fill("house-style", visibility="private", train=51, sealed=1, validation=1)
    expert = Line.objects.create(team=team, slug="adas-house", name="House", purpose="expert", dataset=dataset)
    version = trained(expert, line.versions.get(number=0), dataset_version=datasets.freeze(dataset, actor=None))

    step = lineage.step_of(version, user=contributor)

    assert step.training is not None
    (source,) = step.training.sources
    assert (source.dataset, source.rows, source.share, step.training.mixture) == ("adas/house-style", 102, 1.0, None)
    assert dict(step.training.graders) == {"number": 102}


def test_rows_that_were_withdrawn_since_are_counted(version: ModelVersion, contributor: User):
    dataset = Dataset.objects.get(slug="sums")
    withdrawals.withdraw(dataset, actor=contributor, reason="leaving")

    step = lineage.step_of(version, user=contributor)

    assert step.training is not None
    assert (step.training.withdrawn, step.training.rows) == (30, 40)


def test_the_migration_counts_mixtures_that_were_built_before(mixture: Mixture):
    built = sorted(mixture.sources.values_list("dataset_version", "rows"))
    MixtureSource.objects.all().delete()
    Mixture.objects.update(by_grader={})

    with connection.cursor() as cursor:
        cursor.execute(import_module("trainer.migrations.0011_lineage")._COUNT)

    mixture.refresh_from_db()
    assert sorted(mixture.sources.values_list("dataset_version", "rows")) == built
    assert mixture.by_grader == {"number": 40}
