"""A file that replaces lets go of what it does not hold, goes on after a kill, and is undone by the earlier file."""

import pytest

from tasks.errors import Forbidden
from tasks.models import Dataset, DatasetTask, Event, Task, Upload
from tasks.services import datasets, proving, replacing, reviews, settling, uploads
from tasks.services.importing import import_upload
from tasks.states import UploadMode
from tests.cast import Person
from tests.tasks.pipeline import Row, lines, proved, receive, sums, tasks

pytestmark = pytest.mark.django_db
REPLACE = uploads.Options(mode=UploadMode.REPLACE)


def received(dataset: Dataset, rows: list[Row]) -> Upload:
    return uploads.receive(dataset, [lines(rows)], filename="new.jsonl", actor=None, options=REPLACE)[0]


def finished(upload: Upload) -> Upload:
    import_upload(upload.pk)
    settling.settle(upload.pk)
    proving.prove_upload(upload.pk)
    upload.refresh_from_db()
    return upload


def prompts(dataset: Dataset) -> set[str]:
    return {task.prompt for task in tasks(dataset)}


def test_rows_that_the_new_file_does_not_hold_leave(dataset: Dataset):
    proved(dataset, sums(4))

    upload = finished(received(dataset, sums(3, start=2)))

    assert prompts(dataset) == {row["prompt"] for row in sums(3, start=2)}
    assert upload.counts["left"] == 2


def test_nothing_leaves_before_the_import_has_ended(dataset: Dataset):
    proved(dataset, sums(4))
    upload = received(dataset, sums(1))

    assert (settling.settle(upload.pk), len(tasks(dataset))) == (False, 4)


def test_how_many_will_leave_is_known_before_they_do(dataset: Dataset):
    proved(dataset, sums(4))
    upload = received(dataset, sums(1))
    import_upload(upload.pk)

    assert (replacing.most(dataset), replacing.count(upload)) == (5, 3)


def test_a_file_without_a_good_row_replaces_nothing(dataset: Dataset):
    proved(dataset, sums(2))

    finished(received(dataset, [{"prompt": "no reference"}]))

    assert len(tasks(dataset)) == 2


def test_a_task_that_left_is_retired(dataset: Dataset):
    proved(dataset, sums(1))
    old = tasks(dataset)[0]

    finished(received(dataset, sums(1, start=5)))

    old.refresh_from_db()
    assert (old.state, old.reason_code) == ("rejected", "replaced")


def test_a_task_that_left_one_dataset_stays_in_another(dataset: Dataset, ungraded: Dataset):
    row = [{**sums(1)[0], "grader": {"type": "number"}}]
    proved(dataset, row)
    proved(ungraded, row)

    finished(received(dataset, sums(1, start=5)))

    assert [task.state for task in tasks(ungraded)] == ["proved"]


def test_what_a_version_froze_stays_readable(contributed: Dataset, reviewer: Person):
    proved(contributed, sums(1))
    reviews.approve(tasks(contributed)[0], reviewer=reviewer.user)
    version = datasets.freeze(contributed, actor=None)

    finished(received(contributed, sums(1, start=5)))

    assert [entry.task.messages[0]["content"] for entry in version.entries.all()] == [sums(1)[0]["prompt"]]


def test_rows_of_later_uploads_stay(dataset: Dataset):
    replacement = received(dataset, sums(1))
    proved(dataset, sums(1, start=9))

    finished(replacement)

    assert len(prompts(dataset)) == 2


def test_a_replacement_waits_for_files_that_came_before_it(dataset: Dataset):
    earlier = receive(dataset, sums(2))
    replacement = received(dataset, sums(1, start=9))
    import_upload(replacement.pk)

    waits = settling.settle(replacement.pk)
    import_upload(earlier.pk)

    assert (waits, settling.settle(replacement.pk), len(tasks(dataset))) == (False, True, 1)


def test_a_kill_in_the_middle_goes_on_and_counts_every_row_once(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(replacing, "CHUNK", 2)
    proved(dataset, sums(5))
    upload = received(dataset, sums(1, start=9))
    import_upload(upload.pk)
    replacing._apply_chunk(upload)  # and the worker is gone

    settling.settle(upload.pk)

    upload.refresh_from_db()
    assert (upload.counts["left"], len(tasks(dataset))) == (5, 1)
    assert Event.objects.filter(kind="upload.replaced").count() == 3


def test_the_way_back_is_to_bring_the_earlier_file_again(dataset: Dataset):
    first = proved(dataset, sums(4))
    finished(received(dataset, sums(2, start=9)))
    first.refresh_from_db()

    brought = replacing.bring_back(first, actor=None, mode=UploadMode.REPLACE)
    finished(first)

    assert (brought, prompts(dataset)) == (True, {row["prompt"] for row in sums(4)})


def test_what_comes_back_is_proved_again(dataset: Dataset):
    first = proved(dataset, sums(2))
    finished(received(dataset, sums(1, start=9)))
    first.refresh_from_db()

    replacing.bring_back(first, actor=None)
    finished(first)

    states = Task.objects.filter(memberships__upload=first).values_list("state", flat=True)
    assert set(states) == {"proved"}


def test_a_retired_row_in_any_other_file_is_revived_too(dataset: Dataset):
    proved(dataset, sums(1))
    finished(received(dataset, sums(1, start=9)))

    upload = receive(dataset, [*sums(1), *sums(1, start=20)])
    finished(upload)

    assert {task.state for task in tasks(dataset)} == {"proved"}


def test_the_same_bytes_again_bring_back_what_had_to_leave(dataset: Dataset):
    first = proved(dataset, sums(3))
    finished(received(dataset, sums(1, start=9)))

    again, created = uploads.receive(dataset, [lines(sums(3))], filename="rows.jsonl", actor=None, options=REPLACE)

    assert (again.pk, created, again.state, again.mode) == (first.pk, False, "received", "replace")


def test_a_file_of_which_nothing_left_is_not_imported_again(dataset: Dataset):
    first = proved(dataset, sums(3))

    assert replacing.bring_back(first, actor=None) is False


def test_a_stranger_brings_nothing_back(dataset: Dataset, stranger: Person):
    first = proved(dataset, sums(3))

    with pytest.raises(Forbidden):
        replacing.bring_back(first, actor=stranger.user)


def test_every_other_upload_is_settled_without_a_change(dataset: Dataset):
    upload = proved(dataset, sums(2))

    settled = settling.settle(upload.pk)

    assert (settled, DatasetTask.objects.count(), settling.due().exists()) == (True, 2, False)
