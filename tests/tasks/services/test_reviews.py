from typing import Any

import pytest

from tasks.errors import Conflict, Forbidden, Invalid
from tasks.models import Dataset, Event, Review, Task
from tasks.services import reviews, withdrawals
from tests.cast import Person
from tests.tasks.pipeline import imported, proved, states, sums, tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def task(contributed: Dataset) -> Task:
    """Proved, in the pool."""
    proved(contributed, sums(1))
    return tasks(contributed)[0]


def _state(task: Task) -> str:
    return Task.objects.get(pk=task.pk).state


def test_a_reviewer_of_the_pool_approves(task: Task, reviewer: Person):
    review = reviews.approve(task, reviewer=reviewer.user, note="fine")

    assert _state(task) == "approved"
    assert (review.decision, review.before, review.note) == ("approved", "proved", "fine")


def test_a_reviewer_rejects_with_a_reason_code(task: Task, reviewer: Person):
    reviews.reject(task, reviewer=reviewer.user, reason_code="ambiguous", note="two readings")

    task.refresh_from_db()
    assert (task.state, task.reason_code) == ("rejected", "ambiguous")
    assert "two readings" in task.reason


def test_a_decision_is_one_event(task: Task, reviewer: Person):
    before = Event.objects.count()

    reviews.approve(task, reviewer=reviewer.user)

    assert Event.objects.count() == before + 1
    assert Event.objects.first().actor == reviewer.user


@pytest.mark.parametrize("person", ["contributor", "stranger", "operator"])
def test_only_reviewers_of_the_pool_decide_on_its_tasks(task: Task, person: str, request: Any):
    with pytest.raises(Forbidden):
        reviews.approve(task, reviewer=request.getfixturevalue(person).user)


def test_reviewers_of_the_pool_do_not_decide_on_private_tasks(dataset: Dataset, reviewer: Person):
    proved(dataset, sums(1))

    with pytest.raises(Forbidden):
        reviews.approve(tasks(dataset)[0], reviewer=reviewer.user)


def test_an_unknown_reason_code_is_refused(task: Task, reviewer: Person):
    with pytest.raises(Invalid, match="reason code"):
        reviews.reject(task, reviewer=reviewer.user, reason_code="because")


def test_a_task_that_was_decided_cannot_be_decided_again(task: Task, reviewer: Person):
    reviews.approve(task, reviewer=reviewer.user)

    with pytest.raises(Conflict):
        reviews.reject(task, reviewer=reviewer.user, reason_code="other")


def test_a_task_that_is_not_proved_yet_cannot_be_approved(contributed: Dataset, reviewer: Person):
    imported(contributed, sums(1))

    with pytest.raises(Conflict):
        reviews.approve(tasks(contributed)[0], reviewer=reviewer.user)


def test_approving_one_side_of_a_conflict_leaves_the_other_to_decide(contributed: Dataset, reviewer: Person):
    proved(contributed, [{"prompt": "2 + 2?", "reference": 4}, {"prompt": "2 + 2?", "reference": 5}])

    reviews.approve(tasks(contributed)[0], reviewer=reviewer.user)

    assert states(contributed) == ["approved", "conflict"]


def test_undo_returns_a_task_to_where_it_was(task: Task, reviewer: Person):
    review = reviews.approve(task, reviewer=reviewer.user)

    reviews.undo(review, actor=reviewer.user)

    task.refresh_from_db()
    assert (task.state, task.approved_at) == ("proved", None)
    assert review.undone_at is not None


def test_undo_restores_why_a_task_was_in_conflict(contributed: Dataset, reviewer: Person):
    proved(contributed, [{"prompt": "2 + 2?", "reference": 4}, {"prompt": "2 + 2?", "reference": 5}])
    before = tasks(contributed)[0]

    reviews.undo(reviews.reject(before, reviewer=reviewer.user, reason_code="other"), actor=reviewer.user)

    after = Task.objects.get(pk=before.pk)
    assert (after.state, after.reason, after.reason_code) == (before.state, before.reason, before.reason_code)


def test_undo_restores_why_a_task_was_unproved(contributed: Dataset, reviewer: Person):
    check = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "x", "operation": "ne"}
    proved(contributed, [{"prompt": "Say anything but x.", "grader": check}])
    before = tasks(contributed)[0]

    reviews.undo(reviews.reject(before, reviewer=reviewer.user, reason_code="other"), actor=reviewer.user)

    after = Task.objects.get(pk=before.pk)
    assert (after.state, after.reason, after.reason_code) == ("unproved", before.reason, "no_gold")


def test_a_decision_is_undone_once(task: Task, reviewer: Person):
    review = reviews.approve(task, reviewer=reviewer.user)
    reviews.undo(review, actor=reviewer.user)

    with pytest.raises(Conflict):
        reviews.undo(review, actor=reviewer.user)


def test_an_older_decision_does_not_undo_a_newer_one(task: Task, reviewer: Person):
    first = reviews.approve(task, reviewer=reviewer.user)
    reviews.undo(first, actor=reviewer.user)
    Review.objects.filter(pk=first.pk).update(undone_at=None)
    reviews.approve(task, reviewer=reviewer.user)

    with pytest.raises(Conflict):
        reviews.undo(first, actor=reviewer.user)


def test_a_withdrawn_task_does_not_come_back_by_undo(task: Task, contributor: Person, reviewer: Person):
    review = reviews.approve(task, reviewer=reviewer.user)
    withdrawals.withdraw(task, actor=contributor.user, reason="mine")

    with pytest.raises(Conflict):
        reviews.undo(review, actor=reviewer.user)


def test_a_stranger_cannot_undo(task: Task, reviewer: Person, stranger: Person):
    review = reviews.approve(task, reviewer=reviewer.user)

    with pytest.raises(Forbidden):
        reviews.undo(review, actor=stranger.user)


def test_a_dry_run_counts_and_changes_nothing(contributed: Dataset, reviewer: Person):
    proved(contributed, sums(5))

    result = reviews.bulk({"state": "proved"}, "approved", reviewer=reviewer.user, dry_run=True)

    assert (result.count, result.batch) == (5, None)
    assert states(contributed) == ["proved"] * 5


def test_bulk_decides_on_what_the_dry_run_counted(contributed: Dataset, reviewer: Person):
    proved(contributed, sums(5))

    result = reviews.bulk(Task.objects.all(), "approved", reviewer=reviewer.user)

    assert result.count == 5
    assert Review.objects.filter(batch=result.batch).count() == 5
    assert states(contributed) == ["approved"] * 5


def test_bulk_is_one_event_a_chunk(contributed: Dataset, reviewer: Person, monkeypatch: Any):
    monkeypatch.setattr(reviews, "CHUNK", 2)
    proved(contributed, sums(5))

    reviews.bulk(Task.objects.all(), "approved", reviewer=reviewer.user)

    events = Event.objects.filter(kind="task.approved").order_by("id")
    assert [event.data["count"] for event in events] == [2, 2, 1]


def test_bulk_leaves_other_spaces_alone(contributed: Dataset, dataset: Dataset, reviewer: Person):
    proved(contributed, sums(2))
    proved(dataset, sums(2))

    result = reviews.bulk(Task.objects.all(), "approved", reviewer=reviewer.user)

    assert result.count == 2
    assert states(dataset) == ["proved"] * 2


def test_bulk_by_a_stranger_finds_nothing(contributed: Dataset, stranger: Person):
    proved(contributed, sums(2))

    assert reviews.bulk(Task.objects.all(), "approved", reviewer=stranger.user).count == 0


def test_bulk_rejection_needs_a_reason_code(reviewer: Person):
    with pytest.raises(Invalid):
        reviews.bulk({}, "rejected", reviewer=reviewer.user)


def test_a_batch_is_undone_together(contributed: Dataset, reviewer: Person):
    proved(contributed, [*sums(4), {"prompt": "2 + 2?", "reference": 4}, {"prompt": "2 + 2?", "reference": 5}])
    before = states(contributed)
    batch = reviews.bulk({}, "rejected", reviewer=reviewer.user, reason_code="off_topic").batch
    assert set(states(contributed)) == {"rejected"}

    assert reviews.undo_batch(batch, actor=reviewer.user) == 6

    assert states(contributed) == before


def test_a_stranger_cannot_undo_a_batch(contributed: Dataset, reviewer: Person, stranger: Person):
    proved(contributed, sums(2))
    batch = reviews.bulk({}, "approved", reviewer=reviewer.user).batch

    with pytest.raises(Forbidden):
        reviews.undo_batch(batch, actor=stranger.user)
