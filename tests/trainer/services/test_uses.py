"""What became of data: mixtures, runs, versions, and what came of those."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tasks.models import Dataset, Task, Team, User
from tasks.services import accounts, datasets, withdrawals
from tests.trainer.services.trained import crowned, run_on, trained
from trainer.models import Line, Mixture, ModelVersion
from trainer.services import recipes, uses

Fill = Callable[..., Dataset]
pytestmark = pytest.mark.django_db


@pytest.fixture
def bert(db: None) -> Team:
    return accounts.create_team("Bert's", actor=User.objects.create_user("bert"))


@pytest.fixture
def sums(line: Line, fill: Fill, bert: Team) -> Dataset:
    fill("words", owner=bert, train=5, sealed=20, validation=1)
    return fill("sums", train=15, sealed=20, validation=1)


@pytest.fixture
def mixture(sums: Dataset, line: Line, operator: User) -> Mixture:
    return recipes.build(recipes.create(line, "all", {}, actor=operator), actor=operator)


@pytest.fixture
def base(line: Line) -> ModelVersion:
    return line.versions.get(number=0)


def lines_of(user: User) -> object:
    return Line.objects.for_user(user)


def test_a_dataset_is_used_in_the_versions_of_its_mixtures_with_rows_and_share(
    sums: Dataset, mixture: Mixture, line: Line, base: ModelVersion, contributor: User
):
    trained(line, base, mixture=mixture)

    (use,) = uses.of_dataset(sums, Line.objects.for_user(contributor)).uses

    assert (use.version, use.rows, use.of, use.share) == ("shared/v1", 30, 40, 0.75)


def test_a_mixture_that_nothing_was_trained_on_is_told_too(sums: Dataset, mixture: Mixture, contributor: User):
    used = uses.of_dataset(sums, Line.objects.for_user(contributor))

    assert [(one.mixture, one.rows, one.runs) for one in used.mixtures] == [(mixture.pk, 30, 0)]
    assert used.uses == ()


def test_who_is_and_who_was_champion(
    sums: Dataset, mixture: Mixture, line: Line, base: ModelVersion, contributor: User
):
    first, second = trained(line, base, mixture=mixture), trained(line, base, mixture=mixture)
    crowned(first)
    crowned(second)

    used = uses.of_dataset(sums, Line.objects.for_user(contributor))

    assert [(use.version, use.aliases, use.was) for use in used.uses] == [
        ("shared/v2", ("champion",), ()),
        ("shared/v1", (), ("champion",)),
    ]


def test_versions_that_start_from_one_that_saw_the_rows_are_descendants(
    sums: Dataset, mixture: Mixture, line: Line, base: ModelVersion, fill: Fill, contributor: User, team: Team
):
    saw = trained(line, base, mixture=mixture)
    private = fill("house", visibility="private", train=2, sealed=0, validation=0)
    expert = Line.objects.create(team=team, slug="adas-house", name="House", purpose="expert", dataset=private)
    start = ModelVersion.objects.create(line=expert, number=0, digest=saw.digest, parent=saw, origin="shared/v1")
    trained(expert, start, dataset_version=datasets.freeze(private, actor=None))

    used = uses.of_dataset(sums, Line.objects.for_user(contributor))

    assert [(one.version, one.through) for one in used.descendants] == [
        ("adas-house/v1", "shared/v1"),
        ("adas-house/v0", "shared/v1"),
    ]


def test_private_lines_of_other_teams_are_neither_named_nor_counted(
    sums: Dataset, mixture: Mixture, line: Line, base: ModelVersion, bert: Team, contributor: User
):
    saw = trained(line, base, mixture=mixture)
    theirs = Line.objects.create(team=bert, slug="berts-own", name="Own", purpose="expert")
    ModelVersion.objects.create(line=theirs, number=0, digest=saw.digest, parent=saw, origin="shared/v1")

    assert uses.of_dataset(sums, Line.objects.for_user(contributor)).descendants == ()


def test_a_task_is_used_where_the_mixture_took_it_and_nowhere_else(
    sums: Dataset, mixture: Mixture, line: Line, base: ModelVersion, contributor: User
):
    trained(line, base, mixture=mixture)
    lines = Line.objects.for_user(contributor)
    taken = Task.objects.filter(memberships__dataset=sums, split="train").earliest("pk")
    sealed = Task.objects.filter(memberships__dataset=sums, split="sealed").earliest("pk")

    (use,) = uses.of_task(taken, lines).uses

    assert (use.version, use.rows, use.of) == ("shared/v1", 1, 40)
    assert uses.of_task(sealed, lines) == uses.UsedIn((), (), ())


def test_an_expert_saw_the_training_rows_of_its_dataset_version(
    line: Line, base: ModelVersion, fill: Fill, team: Team, contributor: User
):
    dataset = fill("house", visibility="private", train=51, sealed=1, validation=1)
    expert = Line.objects.create(team=team, slug="adas-house", name="House", purpose="expert", dataset=dataset)
    frozen = datasets.freeze(dataset, actor=None)
    trained(expert, base, dataset_version=frozen)
    lines = Line.objects.for_user(contributor)
    validation = Task.objects.filter(memberships__dataset=dataset, split="validation").earliest("pk")

    assert [(use.rows, use.of) for use in uses.of_dataset(dataset, lines).uses] == [(102, 102)]
    assert [(use.rows, use.of) for use in uses.of_dataset_version(frozen, lines).uses] == [(102, 102)]
    assert uses.of_task(validation, lines).uses == ()


def test_a_contributor_is_credited_as_the_mixture_counted_it(
    sums: Dataset, mixture: Mixture, line: Line, base: ModelVersion, bert: Team
):
    trained(line, base, mixture=mixture)

    (use,) = uses.of_contributor(bert, Line.objects.for_team(bert.pk)).uses

    assert (use.version, use.rows, use.of) == ("shared/v1", 10, 40)


def test_a_run_that_began_after_a_withdrawal_did_not_see_the_rows(
    sums: Dataset, mixture: Mixture, line: Line, base: ModelVersion, contributor: User
):
    trained(line, base, mixture=mixture)
    withdrawals.withdraw(sums, actor=contributor, reason="leaving")
    trained(line, base, mixture=mixture)

    used = uses.of_dataset(sums, Line.objects.for_user(contributor))

    assert [(use.version, use.rows) for use in used.uses] == [("shared/v1", 30)]


def test_a_run_going_on_is_told_with_whether_it_has_read_anything(
    sums: Dataset, mixture: Mixture, line: Line, base: ModelVersion, contributor: User
):
    running, queued = (run_on(line, base, state=state, mixture=mixture) for state in ("running", "queued"))

    used = uses.of_dataset(sums, Line.objects.for_user(contributor))

    assert {use.run: use.has_read for use in used.going_on} == {running.pk: True, queued.pk: False}


def test_the_questions_do_not_grow_with_the_number_of_versions(
    sums: Dataset, mixture: Mixture, line: Line, base: ModelVersion, contributor: User
):
    def asked() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            uses.of_dataset(sums, Line.objects.for_user(contributor))
        return len(queries)

    trained(line, base, mixture=mixture)
    one = asked()
    for _ in range(5):
        trained(line, base, mixture=mixture)

    assert asked() == one
