"""Two states of a dataset side by side."""

import pytest

from tasks.models import Dataset, DatasetVersion
from tasks.services import correcting, datasets, differences, proving, reviews, settling
from tasks.services.differences import Kind, Side
from tasks.services.importing import import_upload
from tests.cast import Person
from tests.tasks.pipeline import Row, proved, sums, tasks

pytestmark = pytest.mark.django_db


def frozen(dataset: Dataset, rows: list[Row], person: Person) -> DatasetVersion:
    proved(dataset, rows)
    reviews.bulk({"state": "proved"}, "approved", reviewer=person.user)
    return datasets.freeze(dataset, actor=person.user)


def corrected(dataset: Dataset, person: Person) -> None:
    """The first task gets another answer."""
    upload = correcting.amend(tasks(dataset)[0], dataset, {"item": {"reference": 7}}, actor=person.user)
    assert upload is not None
    import_upload(upload.pk)
    settling.settle(upload.pk)
    proving.prove_upload(upload.pk)
    reviews.bulk({"state": "proved"}, "approved", reviewer=person.user)


def test_rows_that_came_are_added(dataset: Dataset, contributor: Person):
    first = frozen(dataset, sums(2), contributor)
    second = frozen(dataset, sums(3, start=10), contributor)

    found = differences.counts(Side(dataset, first), Side(dataset, second))

    assert (found.added, found.removed, found.changed, found.same) == (3, 0, 0, 2)


def test_the_other_way_round_they_are_removed(dataset: Dataset, contributor: Person):
    first = frozen(dataset, sums(2), contributor)
    second = frozen(dataset, sums(3, start=10), contributor)

    found = differences.counts(Side(dataset, second), Side(dataset, first))

    assert (found.added, found.removed) == (0, 3)


def test_a_prompt_with_another_answer_is_changed(dataset: Dataset, contributor: Person):
    first = frozen(dataset, sums(2), contributor)
    corrected(dataset, contributor)

    (row,) = differences.rows(Side(dataset, first), Side(dataset), Kind.CHANGED).rows

    assert row.old is not None
    assert row.new is not None
    assert (row.old.item["reference"], row.new.item["reference"]) == (200, 7)


def test_a_changed_prompt_is_neither_added_nor_removed(dataset: Dataset, contributor: Person):
    first = frozen(dataset, sums(2), contributor)
    corrected(dataset, contributor)

    found = differences.counts(Side(dataset, first), Side(dataset))

    assert (found.added, found.removed, found.changed, found.same) == (0, 0, 1, 1)


def test_pages_join_without_a_gap(dataset: Dataset, contributor: Person):
    first = frozen(dataset, sums(1), contributor)
    second = frozen(dataset, sums(5, start=10), contributor)
    sides = (Side(dataset, first), Side(dataset, second))

    page = differences.rows(*sides, Kind.ADDED, limit=3)
    rest = differences.rows(*sides, Kind.ADDED, after=page.next_after or 0, limit=3)

    found = [row.new.pk for row in (*page.rows, *rest.rows) if row.new]
    assert (len(set(found)), rest.next_after) == (5, None)
