from typing import Any

import pytest

from tasks.errors import Invalid
from tasks.models import Dataset, Proof, ProofFinding
from tasks.services import matrix, proving, reproving
from tests.tasks.pipeline import imported, proved, sums, tasks

pytestmark = pytest.mark.django_db

CLOSED = {
    "type": "string_check",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.reference }}",
    "operation": "like",
}


def _closed(count: int) -> list[dict[str, Any]]:
    """Rows whose grader also accepts a list of every candidate."""
    return [{"prompt": f"Question {n}?", "reference": ("yes", "no")[n % 2], "grader": CLOSED} for n in range(count)]


def _cells(found: matrix.KindMatrix, name: str) -> dict[str, int]:
    line = next(line for line in found.lines if line.name == name)
    return {cell.outcome: cell.count for cell in line.cells}


def test_there_is_no_matrix_before_the_proof(dataset: Dataset):
    assert matrix.of(imported(dataset, sums(2))) == []


def test_every_kind_of_grader_has_its_matrix(dataset: Dataset):
    upload = proved(dataset, [*sums(3), *_closed(4)])

    string_check, number = sorted(matrix.of(upload), key=lambda found: found.type, reverse=True)
    assert (number.type, number.rows, string_check.type, string_check.rows) == ("number", 3, "string_check", 4)
    assert _cells(number, "gold") == {"earned": 3, "failed": 0, "ungradable": 0, "absent": 0, "not_sampled": 0}
    assert list(_cells(string_check, "every_candidate").values()) == [0, 4, 0, 0, 0]


def test_lines_and_cells_come_in_their_order(dataset: Dataset):
    (found,) = matrix.of(proved(dataset, sums(1)))

    names = ["gold", "empty", "echo", "other_gold", "flattery", "every_candidate", "over_long"]
    assert [line.name for line in found.lines] == names
    assert [cell.outcome for cell in found.lines[1].cells] == ["refused", "passed", "skipped", "not_made", "ungradable"]


def test_a_cell_says_what_it_means(dataset: Dataset):
    wrong = {"prompt": "1 + 1?", "reference": 2, "gold": "3"}

    (found,) = matrix.of(proved(dataset, [*sums(3), wrong]))

    gold = {cell.outcome: cell for cell in found.lines[0].cells}
    assert (gold["failed"].meaning, gold["failed"].share, gold["failed"].has_rows) == ("false_reject", 0.25, True)
    assert (gold["earned"].meaning, gold["earned"].has_rows) == ("right", False)


def test_a_false_reject_is_shown_with_its_row(dataset: Dataset):
    upload = proved(dataset, [*sums(3), {"prompt": "1 + 1?", "reference": 2, "gold": "It is 3"}])

    (row,) = matrix.rows(upload, "number", "gold", "failed").rows

    assert (row.line, row.task_id, row.excerpt, row.read, row.score) == (4, tasks(dataset)[3].pk, "It is 3", "3", 0)
    assert row.reason == "The gold answer earns 0.00, not full score: Expected 2, read 3."


def test_a_false_accept_is_shown_with_what_was_accepted(dataset: Dataset):
    upload = proved(dataset, _closed(4))

    rows = matrix.rows(upload, "string_check", "every_candidate", "passed").rows

    assert [(row.line, row.excerpt) for row in rows] == [(1, "yes, no"), (2, "no, yes"), (3, "yes, no"), (4, "no, yes")]


def test_rows_come_page_by_page(dataset: Dataset):
    upload = proved(dataset, [{"prompt": f"{n} + 1?", "reference": n, "gold": "0"} for n in range(1, 8)])

    pages = [matrix.rows(upload, "number", "gold", "failed", after=after, limit=3) for after in (0, 3, 6)]

    assert [[row.line for row in page.rows] for page in pages] == [[1, 2, 3], [4, 5, 6], [7]]
    assert [page.next_after for page in pages] == [3, 6, None]


def test_rows_whose_proof_is_gone_end_no_list(dataset: Dataset):
    upload = proved(dataset, [{"prompt": f"{n} + 1?", "reference": n, "gold": "0"} for n in range(1, 8)])
    Proof.objects.filter(task__in=[task.pk for task in tasks(dataset)[1:5]]).delete()

    pages = [matrix.rows(upload, "number", "gold", "failed", after=after, limit=3) for after in (0, 3, 6)]

    assert [([row.line for row in page.rows], page.next_after) for page in pages] == [([1], 3), ([6], 6), ([7], None)]


@pytest.mark.parametrize(
    ("line", "outcome"), [("gold", "earned"), ("empty", "refused"), ("gold", "passed"), ("x", "y")]
)
def test_only_cells_that_are_not_as_they_should_be_have_rows(dataset: Dataset, line: str, outcome: str):
    upload = proved(dataset, sums(1))

    with pytest.raises(Invalid):
        matrix.rows(upload, "number", line, outcome)


def test_rows_that_another_upload_brought_first_count_too(dataset: Dataset):
    proved(dataset, [{"prompt": "1 + 1?", "reference": 2, "gold": "3"}])

    upload = proved(dataset, [{"prompt": "1 + 1?", "reference": 2, "gold": "3"}, *sums(1)])

    assert [row.line for row in matrix.rows(upload, "number", "gold", "failed").rows] == [1]


def test_counting_again_counts_nothing_twice(dataset: Dataset, monkeypatch: Any):
    monkeypatch.setattr(matrix, "COUNTED_AT_ONCE", 2)
    upload = proved(dataset, [{"prompt": f"{n} + 1?", "reference": n, "gold": "0"} for n in range(1, 6)])

    reproving.again(upload, actor=None)
    proving.prove_upload(upload.pk)

    upload.proof.refresh_from_db()
    assert upload.proof.counts["matrix"]["number"]["gold"]["failed"] == 5
    assert ProofFinding.objects.count() == 5
