from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tasks.models import Dataset, ProofRun, Upload
from tasks.services import datasets, leases, regrading, settling, sweeping
from tasks.states import UploadState
from tests.tasks.pipeline import imported, proved, receive, sums

pytestmark = pytest.mark.django_db


@pytest.fixture
def woken(monkeypatch: Any) -> list[tuple[str, int]]:
    """What was sent."""
    sent: list[tuple[str, int]] = []
    monkeypatch.setattr(sweeping, "wake", lambda job, pk: sent.append((job, pk)))
    return sent


def test_an_upload_whose_wake_up_was_lost_is_sent_again(dataset: Dataset, woken: list[Any]):
    upload = receive(dataset, sums(1))

    sweeping.sweep()

    assert woken == [("import_upload", upload.pk)]


def test_an_import_under_a_lease_is_let_be(dataset: Dataset, woken: list[Any]):
    upload = receive(dataset, sums(1))
    leases.claim(Upload, upload.pk, UploadState.RECEIVED, UploadState.IMPORTING)

    sweeping.sweep()

    assert woken == []


def test_an_import_whose_lease_ran_out_is_sent_again(dataset: Dataset, woken: list[Any]):
    upload = receive(dataset, sums(1))
    leases.claim(Upload, upload.pk, UploadState.RECEIVED, UploadState.IMPORTING)
    Upload.objects.update(lease_until=timezone.now() - timedelta(seconds=1))

    sweeping.sweep()

    assert woken == [("import_upload", upload.pk)]


def test_a_proof_whose_wake_up_was_lost_is_sent_again(dataset: Dataset, woken: list[Any]):
    upload = imported(dataset, sums(1))
    settling.settle(upload.pk)

    sweeping.sweep()

    assert woken == [("prove_upload", upload.pk)]


def test_an_upload_that_nobody_has_settled_is_sent_again(dataset: Dataset, woken: list[Any]):
    upload = proved(dataset, sums(1))

    sweeping.sweep()

    assert woken == [("settle_upload", upload.pk)]


def test_a_change_of_grader_whose_wake_up_was_lost_is_sent_again(dataset: Dataset, woken: list[Any]):
    change = regrading.change_grader(dataset, {"type": "number", "absolute_tolerance": 1}, actor=None)

    sweeping.sweep()

    assert woken == [("change_grader", change.pk)]


def test_rows_whose_grader_has_come_are_sent_again(ungraded: Dataset, woken: list[Any]):
    settling.settle(proved(ungraded, sums(1)).pk)
    datasets.set_default_grader(ungraded, {"type": "number"}, actor=None)

    sweeping.sweep()

    assert woken == [("check_grader", ungraded.pk)]


def test_where_nothing_was_lost_nothing_is_sent(dataset: Dataset, ungraded: Dataset, woken: list[Any]):
    settling.settle(proved(dataset, sums(1)).pk)
    settling.settle(proved(ungraded, sums(1)).pk)

    assert sweeping.sweep() == {
        "imports": 0,
        "settled": 0,
        "proofs": 0,
        "changes": 0,
        "graders": 0,
        "suites": 0,
        "rekeyed": 0,
        "fetches": 0,
        "deleted": 0,
        "files": 0,
        "replies": 0,
    }
    assert ProofRun.objects.filter(state="done").count() == 2
