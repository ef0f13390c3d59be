from typing import Any

import pytest

from tasks.models import Dataset, Event, Task, Upload
from tasks.models.moves import IllegalMoveError, ids_digest
from tasks.states import TaskState, UploadState
from tests.tasks.pipeline import imported, receive, sums, tasks

pytestmark = pytest.mark.django_db


def test_a_move_and_its_event_come_together(dataset: Dataset):
    imported(dataset, sums(1))
    task = tasks(dataset)[0]

    assert Task.objects.advance(task.pk, TaskState.VALID, TaskState.PROVED)

    event = Event.objects.first()
    assert (event.kind, event.subject_id, event.data["old"]) == ("task.proved", str(task.pk), "valid")


def test_whoever_comes_second_moves_nothing_and_writes_no_event(dataset: Dataset):
    imported(dataset, sums(1))
    task = tasks(dataset)[0]
    Task.objects.advance(task.pk, TaskState.VALID, TaskState.PROVED)
    before = Event.objects.count()

    assert not Task.objects.advance(task.pk, TaskState.VALID, TaskState.PROVED)

    assert Event.objects.count() == before


def test_a_move_that_the_table_does_not_have_is_a_bug(dataset: Dataset):
    imported(dataset, sums(1))

    with pytest.raises(IllegalMoveError):
        Task.objects.advance(tasks(dataset)[0].pk, TaskState.VALID, TaskState.APPROVED)


def test_an_older_attempt_is_fenced_off(dataset: Dataset):
    upload = receive(dataset, sums(1))
    Upload.objects.update(attempt=2, state=UploadState.IMPORTING)

    moved = Upload.objects.advance(upload.pk, UploadState.IMPORTING, UploadState.IMPORTED, attempt=1)

    assert not moved


def test_many_move_with_one_event_that_holds_their_count_and_digest(dataset: Dataset):
    imported(dataset, sums(3))
    pks = [task.pk for task in tasks(dataset)]

    moved = Task.objects.advance_many(pks, TaskState.VALID, TaskState.PROVED, team=dataset.space_id)

    event = Event.objects.first()
    assert moved == sorted(pks)
    assert (event.data["count"], event.data["ids_digest"]) == (3, ids_digest(pks))


def test_many_leave_those_that_have_moved_on(dataset: Dataset):
    imported(dataset, sums(2))
    one, two = (task.pk for task in tasks(dataset))
    Task.objects.advance(one, TaskState.VALID, TaskState.PROVED)

    assert Task.objects.advance_many([one, two], TaskState.VALID, TaskState.REJECTED, team=None) == [two]


def test_the_owner_of_an_event_is_the_owner_of_what_moved(dataset: Dataset):
    imported(dataset, sums(1))

    Task.objects.advance(tasks(dataset)[0].pk, TaskState.VALID, TaskState.PROVED)

    newest: Any = Event.objects.first()
    assert newest.team_id == dataset.space_id


def test_a_chunk_moves_along_several_states_with_one_event_a_move(dataset: Dataset):
    imported(dataset, sums(3))
    pks = [task.pk for task in tasks(dataset)]
    path = (TaskState.VALID, TaskState.PROVED, TaskState.APPROVED)

    moved = Task.objects.advance_along(pks, path, team=dataset.space_id, data={"policy": "proved"})

    events = list(Event.objects.order_by("-id")[:2])
    assert (moved, {task.state for task in tasks(dataset)}) == (sorted(pks), {"approved"})
    assert [(event.kind, event.data["old"], event.data["count"]) for event in events] == [
        ("task.approved", "proved", 3),
        ("task.proved", "valid", 3),
    ]
    assert [event.data.get("policy") for event in events] == ["proved", None]


def test_a_path_with_a_move_that_the_table_does_not_have_is_a_bug():
    with pytest.raises(IllegalMoveError):
        Task.objects.advance_along([1], (TaskState.VALID, TaskState.PROVED, TaskState.NEEDS_GRADER), team=None)
