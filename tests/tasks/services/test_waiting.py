from typing import Any

import pytest

from tasks.models import Dataset, ProofRun, Task
from tasks.services import datasets, proving, waiting
from tests.cast import Person
from tests.tasks.pipeline import imported, proved, states, sums, tasks

pytestmark = pytest.mark.django_db

NUMBER = {"type": "number"}


def _give(dataset: Dataset, config: Any = NUMBER) -> int:
    return datasets.set_default_grader(dataset, config, actor=None)


def test_a_default_grader_tells_how_many_rows_waited_for_it(ungraded: Dataset):
    imported(ungraded, sums(3))

    assert _give(ungraded) == 3


def test_waiting_rows_become_valid_with_the_datasets_grader(ungraded: Dataset):
    imported(ungraded, sums(3))
    _give(ungraded)

    waiting.check_grader(ungraded.pk)

    assert states(ungraded) == ["valid"] * 3
    assert {task.grader.type for task in tasks(ungraded)} == {"number"}


def test_they_are_the_same_tasks_as_if_the_grader_had_been_there_from_the_start(ungraded: Dataset, dataset: Dataset):
    imported(ungraded, sums(1))
    _give(ungraded)
    waiting.check_grader(ungraded.pk)

    upload = imported(dataset, sums(1))

    assert upload.counts["duplicates"] == 1
    assert datasets.digest(ungraded) == datasets.digest(dataset)


def test_a_waiting_row_that_the_grader_cannot_use_is_rejected_with_an_issue(ungraded: Dataset):
    upload = imported(ungraded, [*sums(1), {"prompt": "No answer here."}])
    _give(ungraded)

    waiting.check_grader(ungraded.pk)

    upload.refresh_from_db()
    assert states(ungraded) == ["valid", "rejected"]
    assert [(issue.line, issue.code) for issue in upload.issues.all()] == [(2, "reference_missing")]


def test_the_counts_of_the_upload_stay_true(ungraded: Dataset):
    upload = imported(ungraded, [*sums(2), *sums(1), {"prompt": "No answer here."}])
    _give(ungraded)

    waiting.check_grader(ungraded.pk)

    upload.refresh_from_db()
    assert upload.counts == {
        "rows": 4, "valid": 2, "needs_grader": 0, "conflicts": 0, "duplicates": 1, "rejected": {"reference_missing": 1},
        "found": {},
    }  # fmt: skip


def test_a_waiting_row_that_clashes_goes_to_review(ungraded: Dataset):
    imported(ungraded, [{"prompt": "2 + 2?", "reference": 4}, {"prompt": "2 + 2?", "reference": 5}])
    _give(ungraded)

    waiting.check_grader(ungraded.pk)

    assert states(ungraded) == ["conflict", "conflict"]


def test_a_waiting_row_that_is_there_already_becomes_its_provenance(ungraded: Dataset, dataset: Dataset):
    imported(dataset, sums(1))
    imported(ungraded, sums(1))
    _give(ungraded)

    waiting.check_grader(ungraded.pk)

    assert tasks(ungraded) == tasks(dataset)
    assert Task.objects.filter(state="rejected", reason_code="duplicate").count() == 1


def test_the_proof_runs_again_for_their_upload(ungraded: Dataset):
    upload = proved(ungraded, sums(3))
    assert upload.proof.state == "done"
    _give(ungraded)

    waiting.check_grader(ungraded.pk)
    assert ProofRun.objects.get().state == "pending"
    proving.prove_upload(upload.pk)

    assert states(ungraded) == ["proved"] * 3


def test_checking_twice_finds_nothing_left(ungraded: Dataset):
    imported(ungraded, sums(3))
    _give(ungraded)

    assert [waiting.check_grader(ungraded.pk), waiting.check_grader(ungraded.pk)] == [3, 0]


def test_rows_of_other_datasets_go_on_waiting(ungraded: Dataset, contributor: Person):
    other = datasets.create(contributor.team, "Other", actor=contributor.user)
    imported(other, sums(1))
    _give(ungraded)

    waiting.check_grader(ungraded.pk)

    assert states(other) == ["needs_grader"]
