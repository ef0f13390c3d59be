"""What whom may see: one for_user() a model, asked here as the owner, a stranger and the pool's people."""

from typing import Any

import pytest

from tasks.models import Dataset, DatasetVersion, Task, Team, Upload
from tasks.services import accounts, datasets, reviews
from tasks.states import Role
from tests.cast import Person
from tests.tasks.pipeline import proved, sums

pytestmark = pytest.mark.django_db


@pytest.fixture
def private(dataset: Dataset, contributor: Person) -> Dataset:
    """With an upload, tasks and a version."""
    return _filled(dataset, contributor)


@pytest.fixture
def shared(contributed: Dataset, reviewer: Person) -> Dataset:
    return _filled(contributed, reviewer)


def _filled(dataset: Dataset, reviewer: Person) -> Dataset:
    proved(dataset, sums(2))
    reviews.bulk({}, "approved", reviewer=reviewer.user)
    datasets.freeze(dataset, actor=None)
    return dataset


MODELS = [Dataset, Task, Upload, DatasetVersion]


@pytest.mark.parametrize("model", MODELS)
def test_the_owner_sees_it(private: Dataset, contributor: Person, model: Any):
    assert model.objects.for_user(contributor.user).exists()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("person", ["stranger", "reviewer", "operator"])
def test_nobody_else_sees_what_is_private(private: Dataset, model: Any, person: str, request: Any):
    assert not model.objects.for_user(request.getfixturevalue(person).user).exists()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("person", ["reviewer", "operator"])
def test_the_pools_people_see_what_is_contributed(shared: Dataset, model: Any, person: str, request: Any):
    assert model.objects.for_user(request.getfixturevalue(person).user).exists()


@pytest.mark.parametrize("model", MODELS)
def test_a_stranger_does_not_see_what_others_contributed(shared: Dataset, stranger: Person, model: Any):
    assert not model.objects.for_user(stranger.user).exists()


@pytest.mark.parametrize("model", MODELS)
def test_a_contributor_to_the_pool_does_not_see_what_others_contributed(shared: Dataset, stranger: Person, model: Any):
    accounts.join(accounts.pool(), stranger.user, Role.CONTRIBUTOR, actor=None)

    assert not model.objects.for_user(stranger.user).exists()


@pytest.mark.parametrize("model", MODELS)
def test_a_key_of_one_team_does_not_open_another(private: Dataset, contributor: Person, model: Any):
    other: Team = accounts.create_team("Second", actor=contributor.user)

    assert not model.objects.for_user(contributor.user, other).exists()


@pytest.mark.parametrize("model", MODELS)
def test_a_key_of_the_team_opens_it(private: Dataset, contributor: Person, model: Any):
    assert model.objects.for_user(contributor.user, contributor.team).exists()
