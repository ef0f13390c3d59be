from datetime import timedelta

import pytest
from django.utils import timezone

from tasks.models import Dataset, Task
from tasks.services import datasets, pool, reviews, withdrawals
from tasks.states import Split
from tests.cast import Person
from tests.tasks.pipeline import proved, sums, tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def approved(contributed: Dataset, reviewer: Person) -> Dataset:
    """Three tasks of the pool that train."""
    proved(contributed, sums(3))
    Task.objects.update(split=Split.TRAIN)
    reviews.bulk({}, "approved", reviewer=reviewer.user)
    return contributed


def test_approved_tasks_of_a_space_are_those_of_one_split(approved: Dataset):
    Task.objects.filter(pk=tasks(approved)[0].pk).update(split=Split.SEALED)

    assert pool.approved_tasks(approved.space, Split.TRAIN).count() == 2


def test_a_version_gives_what_it_froze(approved: Dataset, reviewer: Person):
    version = datasets.freeze(approved, actor=None)
    proved(approved, sums(2, start=50))
    reviews.bulk({}, "approved", reviewer=reviewer.user)

    assert pool.approved_tasks(version, Split.TRAIN).count() == 3


def test_a_version_does_not_give_what_was_withdrawn_since(approved: Dataset, contributor: Person):
    version = datasets.freeze(approved, actor=None)
    withdrawals.withdraw(tasks(approved)[0], actor=contributor.user, reason="mine")

    assert pool.approved_tasks(version, Split.TRAIN).count() == 2


def test_new_tasks_are_counted_from_a_moment(approved: Dataset):
    Task.objects.filter(pk=tasks(approved)[0].pk).update(approved_at=timezone.now() - timedelta(days=2))

    assert pool.new_approved_since(approved.space, timezone.now() - timedelta(days=1)) == 2
    assert pool.new_approved_since(approved.space, None) == 3
