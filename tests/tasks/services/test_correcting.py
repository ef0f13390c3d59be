"""Rejected rows go out with why, come back corrected, and take their places; one task is corrected by itself."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tasks.errors import Conflict, Forbidden, Invalid, NotFound
from tasks.models import Dataset, DatasetTask, Event, Task, Upload
from tasks.services import correcting, datasets, proving, rejections, reviews, settling, uploads, withdrawals
from tasks.services.importing import import_upload
from tests.cast import Person
from tests.tasks.pipeline import lines, proved, sums, tasks

pytestmark = pytest.mark.django_db

BAD = [{"prompt": "What is 1 + 1?"}, "{oops", {"prompt": "What is 2 + 2?", "reference": 5, "gold": "4"}]


def rows_of(upload: Upload) -> list[dict[str, Any]]:
    return [json.loads(line) for line in b"".join(rejections.file(upload).pieces).splitlines()]


def finished(upload: Upload) -> Upload:
    """Imported, settled and proved in this process."""
    import_upload(upload.pk)
    settling.settle(upload.pk)
    proving.prove_upload(upload.pk)
    upload.refresh_from_db()
    return upload


def corrected(first: Upload, rows: Any) -> Upload:
    options = uploads.Options(corrects=first.pk)
    upload, _ = uploads.receive(first.dataset, [lines(rows)], filename="again.jsonl", actor=None, options=options)
    return finished(upload)


# The file of rejected rows


def test_rows_refused_and_rows_whose_proof_failed_are_in_the_file(dataset: Dataset):
    upload = proved(dataset, [*sums(2), *BAD])

    rows = rows_of(upload)

    assert [(row["_line"], row["_code"]) for row in rows] == [
        (3, "reference_missing"),
        (4, "not_json"),
        (5, "gold_failed"),
    ]


def test_a_row_with_several_issues_comes_once_and_says_all(ungraded: Dataset):
    upload = proved(ungraded, [{"messages": 3, "domain": 7}])

    (row,) = rows_of(upload)

    assert [word in row["_reason"] for word in ("`messages`", "`domain`")] == [True, True]


def test_a_row_that_a_reviewer_has_rejected_is_in_the_file(contributed: Dataset, reviewer: Person):
    upload = proved(contributed, sums(2))
    reviews.reject(tasks(contributed)[1], reviewer=reviewer.user, reason_code="unclear", note="which sum?")

    (row,) = rows_of(upload)

    assert (row["_line"], row["_code"], "which sum?" in row["_reason"]) == (2, "unclear", True)


def test_the_file_is_called_like_the_upload(dataset: Dataset):
    assert rejections.file(proved(dataset, BAD)).name == "rows.rejected.jsonl"


def test_an_upload_without_rejected_rows_has_no_such_file(dataset: Dataset):
    with pytest.raises(NotFound):
        rejections.file(proved(dataset, sums(1)))


def test_windows_of_rejected_rows_join_without_a_gap(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rejections, "WINDOW", 2)
    upload = proved(dataset, [*BAD, *BAD, *sums(1), *BAD])

    assert [reason.line for reason in rejections.reasons(upload)] == [1, 2, 3, 4, 5, 6, 8, 9, 10]


# Corrected rows


def test_corrected_rows_are_merged_and_no_longer_rejected(dataset: Dataset):
    first = proved(dataset, [*sums(1), *BAD])
    rows = rows_of(first)

    again = corrected(first, [{**rows[0], "reference": 2}, {**rows[2], "reference": 4}])

    assert (again.counts["valid"], again.counts["corrected"]) == (2, 2)
    assert [reason.line for reason in rejections.reasons(first)] == [3]


@pytest.mark.parametrize("rejected", [2, 9])
def test_lines_are_taken_over_with_one_statement_however_many_they_are(dataset: Dataset, rejected: int):
    failing = [{"prompt": f"What is {n} + 0?", "reference": n + 1, "gold": f"{n}"} for n in range(rejected)]
    first = proved(dataset, failing)
    rows = [{**row, "prompt": f"Add 0 to {n}.", "reference": n} for n, row in enumerate(rows_of(first))]
    with CaptureQueriesContext(connection) as asked:
        again = corrected(first, rows)

    assert again.counts["corrected"] == rejected
    assert sum('UPDATE "tasks_datasettask"' in one["sql"] for one in asked) == 0
    assert sum("UPDATE tasks_datasettask" in one["sql"] for one in asked) == 1


def test_the_first_upload_says_by_which_one_a_line_was_corrected(dataset: Dataset):
    first = proved(dataset, BAD)

    again = corrected(first, [{**rows_of(first)[0], "reference": 2}])

    assert rejections.corrected(first) == {1: again.pk}


def test_reason_columns_never_become_part_of_the_task(dataset: Dataset):
    first = proved(dataset, BAD[:1])

    corrected(first, [{**rows_of(first)[0], "reference": 2}])

    assert tasks(dataset)[0].item == {"reference": 2}


def test_a_task_that_was_corrected_leaves_the_dataset(dataset: Dataset):
    first = proved(dataset, BAD[2:])
    old = tasks(dataset)[0]

    corrected(first, [{**rows_of(first)[0], "reference": 4}])

    assert not DatasetTask.objects.filter(task=old).exists()
    assert {task.state for task in tasks(dataset)} == {"proved"}


def test_a_line_that_is_good_already_keeps_its_task(dataset: Dataset):
    first = proved(dataset, sums(1))
    kept = tasks(dataset)[0]

    again = corrected(first, [{"_line": 1, "prompt": "Something else, 1 + 2?", "reference": 3}])

    assert DatasetTask.objects.get(upload=first, line=1).task == kept
    assert again.counts.get("corrected", 0) == 0


def test_a_line_that_the_first_file_does_not_have_is_taken_by_nobody(dataset: Dataset):
    first = proved(dataset, sums(1))

    corrected(first, [{"_line": 900, "prompt": "1 + 2?", "reference": 3}])

    assert DatasetTask.objects.filter(upload=first).count() == 1


def test_a_row_that_is_still_wrong_stays_rejected_in_both(dataset: Dataset):
    first = proved(dataset, BAD[:1])

    again = corrected(first, [{**rows_of(first)[0], "reference": "many"}])

    assert [row["_code"] for row in rows_of(again)] == ["reference_bad"]
    assert [reason.line for reason in rejections.reasons(first)] == [1]


def test_settling_twice_changes_nothing(dataset: Dataset):
    first = proved(dataset, BAD[:1])
    again = corrected(first, [{**rows_of(first)[0], "reference": 2}])

    assert settling.settle(again.pk) is False
    assert correcting.apply(again) == 0


def test_corrections_of_another_dataset_are_refused(dataset: Dataset, ungraded: Dataset):
    first = proved(dataset, BAD)

    with pytest.raises(NotFound):
        uploads.receive(ungraded, [b"{}"], filename="x", actor=None, options=uploads.Options(corrects=first.pk))


# One task


def amended(task: Task, dataset: Dataset, person: Person, **changes: Any) -> Upload:
    upload = correcting.amend(task, dataset, changes, actor=person.user)
    assert upload is not None
    return finished(upload)


def test_a_corrected_reference_makes_a_new_task_that_takes_the_place_of_the_old(dataset: Dataset, contributor: Person):
    proved(dataset, sums(1))
    old = tasks(dataset)[0]

    amended(old, dataset, contributor, item={"reference": 7})

    old.refresh_from_db()
    assert {(task.item["reference"], task.state) for task in tasks(dataset)} == {(7, "proved")}
    assert (old.state, old.reason_code) == ("rejected", "corrected")


def test_the_new_task_names_the_old_one(dataset: Dataset, contributor: Person):
    proved(dataset, sums(1))
    old = tasks(dataset)[0]

    amended(old, dataset, contributor, item={"reference": 7})

    assert correcting.corrects(tasks(dataset)[0]) == old.pk


def test_what_is_not_named_stays(dataset: Dataset, contributor: Person):
    proved(dataset, [{"prompt": "a + a?", "reference": 2, "domain": "algebra", "metadata": {"book": 1}}])

    amended(tasks(dataset)[0], dataset, contributor, item={"reference": 3})

    task = tasks(dataset)[0]
    assert (task.domain, task.metadata) == ("algebra", {"book": 1})


def test_every_row_that_was_the_task_is_the_new_one(dataset: Dataset, contributor: Person):
    proved(dataset, [*sums(1), *sums(1)])

    amended(tasks(dataset)[0], dataset, contributor, item={"reference": 7})

    assert {task.item["reference"] for task in tasks(dataset)} == {7}


def test_a_task_of_a_frozen_version_stays_readable(contributed: Dataset, contributor: Person, reviewer: Person):
    proved(contributed, sums(1))
    old = tasks(contributed)[0]
    reviews.approve(old, reviewer=reviewer.user)
    version = datasets.freeze(contributed, actor=contributor.user)

    amended(old, contributed, contributor, item={"reference": 7})

    assert [entry.task.item for entry in version.entries.select_related("task")] == [old.item]


def test_a_task_that_another_dataset_holds_stays_there(dataset: Dataset, ungraded: Dataset, contributor: Person):
    row = [{**sums(1)[0], "grader": {"type": "number"}}]
    proved(dataset, row)
    proved(ungraded, row)
    old = tasks(ungraded)[0]

    amended(old, dataset, contributor, item={"reference": 7})

    old.refresh_from_db()
    assert (old.state in ("proved", "conflict"), tasks(ungraded)) == (True, [old])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"item": {"reference": "many"}}, "reference"),
        ({"messages": []}, "messages"),
        ({"domain": "x" * 99}, "domain"),
        ({"grader": {"type": "nobody"}}, "grader.type"),
    ],
)
def test_what_is_wrong_is_said_at_once(dataset: Dataset, contributor: Person, changes: Any, field: str):
    proved(dataset, sums(1))

    with pytest.raises(Invalid) as refused:
        correcting.amend(tasks(dataset)[0], dataset, changes, actor=contributor.user)

    assert refused.value.param == field
    assert Upload.objects.count() == 1


def test_a_correction_that_the_import_refuses_leaves_the_task_as_it_is(dataset: Dataset, contributor: Person):
    proved(dataset, sums(2))
    first, second = tasks(dataset)

    amended(first, dataset, contributor, messages=second.messages, item=second.item)

    assert {task.pk for task in tasks(dataset)} == {second.pk}


def test_a_stranger_corrects_nothing(dataset: Dataset, stranger: Person):
    proved(dataset, sums(1))

    with pytest.raises(Forbidden):
        correcting.amend(tasks(dataset)[0], dataset, {"gold": "1"}, actor=stranger.user)


def test_a_withdrawn_task_is_not_corrected(dataset: Dataset, contributor: Person):
    proved(dataset, sums(1))
    task = tasks(dataset)[0]
    withdrawals.withdraw(task, actor=contributor.user, reason="mine")
    task.refresh_from_db()

    with pytest.raises(Conflict):
        correcting.amend(task, dataset, {"gold": "1"}, actor=contributor.user)


def test_the_same_correction_again_is_told(dataset: Dataset, contributor: Person):
    proved(dataset, sums(1))
    task = tasks(dataset)[0]
    correcting.amend(task, dataset, {"item": {"reference": 7}}, actor=contributor.user)

    with pytest.raises(Conflict):
        correcting.amend(task, dataset, {"item": {"reference": 7}}, actor=contributor.user)


def test_a_correction_is_one_event_of_the_new_task(dataset: Dataset, contributor: Person):
    proved(dataset, sums(1))

    amended(tasks(dataset)[0], dataset, contributor, item={"reference": 7})

    assert Event.objects.get(kind="task.corrected").subject_id == str(tasks(dataset)[0].pk)


# The same task in other words


def reproved(dataset: Dataset) -> Task:
    for upload in dataset.uploads.all():
        proving.prove_upload(upload.pk)
    return tasks(dataset)[0]


def test_a_gold_that_failed_is_corrected_in_its_task(dataset: Dataset, contributor: Person):
    proved(dataset, [{"prompt": "What is 2 + 2?", "reference": 4, "gold": "5"}])
    task = tasks(dataset)[0]

    made = correcting.amend(task, dataset, {"gold": "It is 4."}, actor=contributor.user)

    assert (made, task.state, reproved(dataset).state, reproved(dataset).pk) == (None, "rejected", "proved", task.pk)


def test_a_gold_corrected_in_the_file_of_rejected_rows_counts_as_corrected(dataset: Dataset):
    first = proved(dataset, [{"prompt": "What is 2 + 2?", "reference": 4, "gold": "5"}])

    again = corrected(first, [{**rows_of(first)[0], "gold": "4"}])

    assert (again.counts["corrected"], reproved(dataset).state, rejections.any_of(first)) == (1, "proved", False)


def test_the_subject_of_a_task_changes_without_another_proof(dataset: Dataset, contributor: Person):
    proved(dataset, sums(1))

    correcting.amend(tasks(dataset)[0], dataset, {"domain": "sums"}, actor=contributor.user)

    assert (tasks(dataset)[0].domain, tasks(dataset)[0].state) == ("sums", "proved")


def test_the_wording_of_an_approved_task_stays(contributed: Dataset, contributor: Person, reviewer: Person):
    proved(contributed, sums(1))
    reviews.approve(tasks(contributed)[0], reviewer=reviewer.user)

    with pytest.raises(Conflict, match="stays as it is"):
        correcting.amend(tasks(contributed)[0], contributed, {"gold": "200"}, actor=contributor.user)


def test_a_correction_that_changes_nothing_says_so(dataset: Dataset, contributor: Person):
    proved(dataset, sums(1))

    with pytest.raises(Conflict, match="changes nothing"):
        correcting.amend(tasks(dataset)[0], dataset, {}, actor=contributor.user)
