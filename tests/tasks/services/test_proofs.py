"""What is kept of proofs: once a task and grader, whoever brings it, and as it was said."""

import json

import pytest

from tasks import stretch
from tasks.evidence import Kept
from tasks.models import Dataset, Proof, Upload
from tasks.services import proofs
from tests.tasks.pipeline import imported, sums

pytestmark = pytest.mark.django_db


def _rows(upload: Upload) -> dict[int, stretch.Row]:
    return {row.task_id: row for row in proofs.stretch(upload.pk, 0, 100)}


def _kept(task: int, reason: str = "", gold: str = '{"completion":"2"}') -> Kept:
    return Kept(task, "proved", "proved", reason, gold, "[]", ())


def test_what_nobody_has_kept_is_new(dataset: Dataset):
    rows = _rows(imported(dataset, sums(3)))

    new = proofs.store(rows, [_kept(task) for task in rows])

    assert new == set(rows)


def test_what_another_proof_has_kept_meanwhile_stays_and_is_not_new(dataset: Dataset):
    rows = _rows(imported(dataset, sums(3)))
    first, *others = sorted(rows)
    proofs.store(rows, [_kept(first, "was here first")])

    new = proofs.store(rows, [_kept(task) for task in rows])

    assert new == set(others)
    assert list(Proof.objects.order_by("task_id").values_list("reason", flat=True)) == ["was here first", "", ""]


def test_texts_are_kept_as_they_are(dataset: Dataset):
    rows = _rows(imported(dataset, sums(1)))
    (task,) = rows
    text = "a\\N\tb\nc\r\\d é \\n"

    proofs.store(rows, [_kept(task, text, json.dumps({"completion": text}))])

    kept = Proof.objects.get()
    assert (kept.reason, kept.gold) == (text, {"completion": text})
