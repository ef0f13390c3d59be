from dataclasses import replace
from typing import Any

import pytest

from tasks.errors import Conflict, Forbidden
from tasks.models import Dataset, Event, Task, TaskFinding
from tasks.services import reviews, suspecting
from tasks.services.suspecting import Settled, Tried
from tests.cast import Person
from tests.tasks.pipeline import proved, sums, tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def approved(contributed: Dataset, reviewer: Person) -> list[Task]:
    """Three tasks of the pool."""
    proved(contributed, sums(3))
    reviews.bulk({}, "approved", reviewer=reviewer.user)
    return tasks(contributed)


def _tried(task: Task, **changes: Any) -> Tried:
    return replace(Tried(task.pk, task.content_digest, answers=8, passes=0, wrong="201", wrong_count=7), **changes)


def _suspect(*given: Task, model: str = "shared/v1") -> Settled:
    return suspecting.settle(given[0].space_id, model=model, never_solved=map(_tried, given), solved=[])


def _findings() -> list[tuple[int, str]]:
    found = TaskFinding.objects.filter(kind="never_solved").order_by("task")
    return list(found.values_list("task", "rule"))


def _state(task: Task) -> str:
    return Task.objects.get(pk=task.pk).state


def test_a_task_that_no_answer_passed_is_suspected_and_stays_approved(approved: list[Task]):
    settled = _suspect(approved[0])

    assert (settled.suspected, _findings()) == (1, [(approved[0].pk, "no_answer_passed")])
    assert _state(approved[0]) == "approved"


def test_the_evidence_is_what_a_reviewer_needs(approved: list[Task]):
    _suspect(approved[0], model="shared/v3")

    assert TaskFinding.objects.get(kind="never_solved").evidence == {
        "model": "shared/v3",
        "answers": 8,
        "passed": 0,
        "most_frequent_answer": "201",
        "given": "7 of 8 times",
    }


def test_an_empty_answer_is_told_as_one(approved: list[Task]):
    tried = _tried(approved[0], wrong="", wrong_count=8)

    suspecting.settle(approved[0].space_id, model="shared/v1", never_solved=[tried], solved=[])

    assert TaskFinding.objects.get(kind="never_solved").evidence["most_frequent_answer"] == "(an empty answer)"


def test_a_chunk_of_suspects_is_one_event(approved: list[Task]):
    _suspect(*approved)

    event = Event.objects.get(kind="task.suspected")
    assert (event.data["count"], event.team_id) == (3, approved[0].space_id)


def test_a_task_that_is_told_of_twice_has_one_finding_with_the_newest_evidence(approved: list[Task]):
    _suspect(approved[0], model="shared/v1")

    again = _suspect(approved[0], model="shared/v2")

    assert again.suspected == 0
    assert TaskFinding.objects.get(kind="never_solved").evidence["model"] == "shared/v2"


def test_a_model_that_solves_the_task_withdraws_the_finding(approved: list[Task]):
    _suspect(*approved)

    settled = suspecting.settle(approved[0].space_id, model="shared/v2", never_solved=[], solved=[approved[0].pk])

    assert settled.cleared == 1
    assert [pk for pk, _ in _findings()] == sorted(task.pk for task in approved[1:])


def test_a_finding_of_another_space_is_not_withdrawn(approved: list[Task], dataset: Dataset):
    _suspect(approved[0])

    suspecting.settle(dataset.space_id, model="mine/v1", never_solved=[], solved=[approved[0].pk])

    assert len(_findings()) == 1


def test_a_task_of_another_space_is_not_suspected(approved: list[Task], dataset: Dataset):
    suspecting.settle(dataset.space_id, model="mine/v1", never_solved=[_tried(approved[0])], solved=[])

    assert _findings() == []


def test_a_task_that_says_something_else_by_now_is_left_alone(approved: list[Task]):
    tried = _tried(approved[0], content="0" * 64)

    suspecting.settle(approved[0].space_id, model="shared/v1", never_solved=[tried], solved=[])

    assert _findings() == []


def test_a_task_that_is_not_approved_is_left_alone(approved: list[Task]):
    Task.objects.filter(pk=approved[0].pk).update(state="rejected")

    assert _suspect(approved[0]).suspected == 0


def test_reviewers_of_the_space_see_the_suspects(approved: list[Task]):
    _suspect(approved[1])

    assert list(suspecting.suspected([approved[1].space_id])) == [approved[1]]


def test_a_reference_that_is_upheld_is_asked_for_no_more(approved: list[Task], reviewer: Person):
    _suspect(approved[0])

    suspecting.uphold(approved[0], reviewer=reviewer.user, note="I counted.")
    _suspect(approved[0], model="shared/v2")

    assert _findings() == [(approved[0].pk, "upheld")]
    assert not suspecting.is_suspected(approved[0])


def test_who_upheld_a_reference_is_kept_and_is_an_event(approved: list[Task], reviewer: Person):
    _suspect(approved[0])

    found = suspecting.uphold(approved[0], reviewer=reviewer.user, note="I counted.")

    assert (found.evidence["upheld_by"], found.evidence["note"]) == ("rosa", "I counted.")
    assert Event.objects.get(kind="task.upheld").actor == reviewer.user


def test_a_task_that_nobody_suspects_cannot_be_upheld(approved: list[Task], reviewer: Person):
    with pytest.raises(Conflict):
        suspecting.uphold(approved[0], reviewer=reviewer.user)


@pytest.mark.parametrize("person", ["contributor", "stranger", "operator"])
def test_only_reviewers_of_the_space_uphold(approved: list[Task], person: str, request: Any):
    _suspect(approved[0])

    with pytest.raises(Forbidden):
        suspecting.uphold(approved[0], reviewer=request.getfixturevalue(person).user)


def test_a_suspected_task_can_be_rejected(approved: list[Task], reviewer: Person):
    _suspect(approved[0])

    review = reviews.reject(approved[0], reviewer=reviewer.user, reason_code="wrong_reference")

    assert (_state(approved[0]), review.before) == ("rejected", "proved")


def test_a_rejected_suspect_comes_back_to_review_when_that_is_undone(approved: list[Task], reviewer: Person):
    _suspect(approved[0])
    review = reviews.reject(approved[0], reviewer=reviewer.user, reason_code="wrong_reference")

    reviews.undo(review, actor=reviewer.user)

    assert _state(approved[0]) == "proved"


def test_an_approved_task_that_nobody_suspects_is_still_not_in_review(approved: list[Task], reviewer: Person):
    with pytest.raises(Conflict):
        reviews.reject(approved[0], reviewer=reviewer.user, reason_code="wrong_reference")


def test_a_stranger_cannot_reject_a_suspect(approved: list[Task], stranger: Person):
    _suspect(approved[0])

    with pytest.raises(Forbidden):
        reviews.reject(approved[0], reviewer=stranger.user, reason_code="wrong_reference")


def test_the_api_lists_suspects_and_upholds_one(approved: list[Task], reviewer: Person):
    _suspect(approved[0])

    queue = reviewer.api.get("/api/v1/reviews/queue?state=approved").json()
    upheld = reviewer.api.post(f"/api/v1/tasks/{approved[0].pk}/uphold", {"note": "I counted."}, format="json")

    assert [task["id"] for task in next(rows for rows in queue.values() if isinstance(rows, list))] == [approved[0].pk]
    assert (upheld.status_code, upheld.json()["rule"]) == (200, "upheld")
