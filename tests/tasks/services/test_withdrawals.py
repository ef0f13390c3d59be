import pytest

from tasks.errors import Forbidden, Invalid
from tasks.models import Dataset, Event
from tasks.services import datasets, reviews, withdrawals
from tests.cast import Person
from tests.tasks.pipeline import imported, proved, states, sums, tasks

pytestmark = pytest.mark.django_db


def _shared_by(person: Person) -> Dataset:
    return datasets.create(
        person.team,
        "Also shared",
        actor=person.user,
        visibility="contributed",
        licence="MIT",
        consent_version=datasets.CONSENT_VERSION,
        default_grader={"type": "number"},
    )


def test_a_contributor_withdraws_a_task_in_any_state(contributed: Dataset, contributor: Person, reviewer: Person):
    proved(contributed, sums(2))
    reviews.approve(tasks(contributed)[0], reviewer=reviewer.user)

    count = withdrawals.withdraw(tasks(contributed)[0], actor=contributor.user, reason="a mistake")

    assert count == 1
    assert states(contributed) == ["withdrawn", "proved"]


def test_a_whole_dataset_is_withdrawn(contributed: Dataset, contributor: Person):
    proved(contributed, [*sums(3), {"prompt": "2 + 2?", "reference": 4}, {"prompt": "2 + 2?", "reference": 5}])

    assert withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving") == 5

    assert states(contributed) == ["withdrawn"] * 5


def test_withdrawing_twice_finds_nothing_more(contributed: Dataset, contributor: Person):
    imported(contributed, sums(2))
    withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving")

    assert withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving") == 0


def test_a_task_that_another_team_brought_too_stays_with_it(
    contributed: Dataset, contributor: Person, stranger: Person
):
    other = _shared_by(stranger)
    imported(contributed, sums(2))
    imported(other, sums(1))

    withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving")

    assert states(other) == ["valid"]
    assert states(contributed) == ["withdrawn"]


@pytest.mark.parametrize("person", ["stranger", "reviewer", "operator"])
def test_nobody_else_withdraws(contributed: Dataset, person: str, request: pytest.FixtureRequest):
    imported(contributed, sums(1))
    user = request.getfixturevalue(person).user

    with pytest.raises(Forbidden):
        withdrawals.withdraw(tasks(contributed)[0], actor=user, reason="no")
    with pytest.raises(Forbidden):
        withdrawals.withdraw(contributed, actor=user, reason="no")


def test_a_withdrawal_says_why(contributed: Dataset, contributor: Person):
    imported(contributed, sums(1))

    withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving")

    assert tasks(contributed)[0].reason == "leaving"
    assert Event.objects.get(kind="dataset.withdrawal").data == {"reason": "leaving", "count": 1}


def test_a_withdrawal_needs_a_reason(contributed: Dataset, contributor: Person):
    with pytest.raises(Invalid):
        withdrawals.withdraw(contributed, actor=contributor.user, reason=" ")
