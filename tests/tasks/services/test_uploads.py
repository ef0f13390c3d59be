import errno
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import Conflict, Forbidden, Invalid, NoSpace, TooLarge
from tasks.models import Dataset, Event, Upload
from tasks.services import mapping, uploads
from tasks.services.importing import import_upload
from tasks.states import UploadState
from tests.cast import Person
from tests.tasks.pipeline import imported, sums

pytestmark = pytest.mark.django_db


def _receive(dataset: Dataset, *blocks: bytes, filename: str = "rows.jsonl") -> tuple[Upload, bool]:
    return uploads.receive(dataset, iter(blocks), filename=filename, actor=None)


def _left(files: Path) -> list[Path]:
    return list((files / "incoming").iterdir())


def test_a_file_lies_under_its_teams_prefix_and_its_hash(dataset: Dataset, files: Path):
    upload, created = _receive(dataset, b'{"a"', b": 1}\n")

    sha256 = hashlib.sha256(b'{"a": 1}\n').hexdigest()
    stored = files / f"team-{dataset.team_id}" / sha256[:2] / sha256
    assert created
    assert stored.read_bytes() == b'{"a": 1}\n'
    assert (upload.bytes, upload.sha256, upload.state) == (9, sha256, "received")


def test_the_users_name_for_a_file_is_only_a_label(dataset: Dataset, files: Path):
    upload, _ = _receive(dataset, b"{}", filename="../../etc/passwd")

    assert upload.filename == "passwd"
    assert not list(files.rglob("passwd"))


def test_the_same_bytes_again_answer_with_the_first_upload(dataset: Dataset):
    first, _ = _receive(dataset, b"{}")
    events = Event.objects.count()

    again, created = _receive(dataset, b"{", b"}")

    assert (again, created) == (first, False)
    assert Event.objects.count() == events


def test_the_same_bytes_in_another_dataset_are_another_upload_of_one_file(
    dataset: Dataset, ungraded: Dataset, files: Path
):
    _receive(dataset, b"{}")

    _, created = _receive(ungraded, b"{}")

    assert created
    assert len([path for path in files.glob("team-*/**/*") if path.is_file()]) == 1


def test_an_empty_file_is_refused_and_nothing_kept(dataset: Dataset, files: Path):
    with pytest.raises(Invalid, match="empty"):
        _receive(dataset, b"")

    assert not _left(files)
    assert not Upload.objects.exists()


def test_a_file_over_the_limit_is_refused_and_nothing_kept(dataset: Dataset, files: Path, settings: Any):
    settings.UPLOAD_MAX_BYTES = 5

    with pytest.raises(TooLarge, match="5 bytes"):
        _receive(dataset, b"123", b"456")

    assert not _left(files)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_nothing_kept(dataset: Dataset, files: Path, monkeypatch: Any, code: int):
    def full(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(NoSpace):
        _receive(dataset, b"{}")

    assert not _left(files)


def test_a_client_that_goes_away_leaves_nothing(dataset: Dataset, files: Path):
    def broken() -> Any:
        yield b"{"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        uploads.receive(dataset, broken(), filename="x", actor=None)

    assert not _left(files)


def test_a_stranger_may_not_upload(dataset: Dataset, stranger: Person):
    with pytest.raises(Forbidden):
        uploads.receive(dataset, io.BytesIO(b"{}"), filename="x", actor=stranger.user)


def test_only_what_failed_can_be_tried_again(dataset: Dataset, contributor: Person):
    upload = imported(dataset, sums(1))

    with pytest.raises(Conflict):
        uploads.retry(upload, actor=contributor.user)


def test_a_stranger_may_not_retry(dataset: Dataset, stranger: Person):
    with pytest.raises(Forbidden):
        uploads.retry(imported(dataset, b"\x00"), actor=stranger.user)


def test_young_leftovers_are_let_be(dataset: Dataset, files: Path):
    _receive(dataset, b"{}")
    (files / "incoming" / "1234.part").write_bytes(b"half")

    uploads.reap()

    assert (files / "incoming" / "1234.part") in _left(files)


def test_a_leftover_link_to_a_file_that_has_its_row_does_not_take_the_file(dataset: Dataset, files: Path):
    upload, _ = _receive(dataset, b"{}")
    (files / "incoming" / f"{dataset.team_id}-{upload.sha256}-abc.ready").write_bytes(b"{}")

    uploads.reap(older_than_seconds=-1)

    assert uploads.stored_file(upload).exists()
    assert not _left(files)


@pytest.mark.django_db(transaction=True)
def test_an_upload_is_received_though_the_broker_is_down(dataset: Dataset, monkeypatch: Any, files: Path):
    from kombu.exceptions import OperationalError

    from tasks import jobs

    def down(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("no broker")

    monkeypatch.setattr(jobs.import_upload, "apply_async", down)

    _, created = _receive(dataset, b"{}")

    assert created
    assert not _left(files)


# Given up


@pytest.fixture
def waiting(dataset: Dataset, contributor: Person) -> Upload:
    return _waits(dataset, contributor)


def _waits(dataset: Dataset, person: Person) -> Upload:
    """A file whose columns nobody knows, looked at by the importer."""
    body = b"frage,antwort\nWas ist 1 + 1?,2\n"
    upload, _ = uploads.receive(dataset, [body], filename="fragen.csv", actor=person.user)
    import_upload(upload.pk)
    upload.refresh_from_db()
    assert upload.state == UploadState.UNMAPPED
    return upload


def _withdrawn(upload: Upload, person: Person, finish: Any) -> Upload:
    """`finish`: carries out what waits for the commit."""
    with finish(execute=True):
        uploads.withdraw(upload, actor=person.user)
    upload.refresh_from_db()
    return upload


def test_a_file_that_is_withdrawn_ends_without_a_row_and_is_gone(
    waiting: Upload, contributor: Person, django_capture_on_commit_callbacks: Any
):
    _withdrawn(waiting, contributor, django_capture_on_commit_callbacks)

    assert (waiting.state, waiting.withdrawn, waiting.line) == ("failed", True, 0)
    assert waiting.finished_at is not None
    assert not uploads.stored_file(waiting).exists()


def test_a_withdrawal_is_one_event_that_says_by_whom(waiting: Upload, contributor: Person):
    before = Event.objects.count()

    uploads.withdraw(waiting, actor=contributor.user)

    event = Event.objects.latest("pk")
    told = (event.kind, event.actor_id, event.data["old"], event.data["withdrawn"])
    assert told == ("upload.failed", contributor.user.pk, "unmapped", True)
    assert Event.objects.count() == before + 1


def test_the_file_stays_until_the_withdrawal_is_committed(waiting: Upload, contributor: Person):
    uploads.withdraw(waiting, actor=contributor.user)

    assert uploads.stored_file(waiting).exists()


def test_a_file_that_another_dataset_has_too_stays(
    waiting: Upload, ungraded: Dataset, contributor: Person, django_capture_on_commit_callbacks: Any
):
    _waits(ungraded, contributor)

    _withdrawn(waiting, contributor, django_capture_on_commit_callbacks)

    assert uploads.stored_file(waiting).exists()


def test_a_file_goes_with_the_last_upload_of_it(
    waiting: Upload, ungraded: Dataset, contributor: Person, django_capture_on_commit_callbacks: Any
):
    other = _waits(ungraded, contributor)

    for upload in (waiting, other):
        _withdrawn(upload, contributor, django_capture_on_commit_callbacks)

    assert not uploads.stored_file(waiting).exists()


def test_bytes_that_come_again_before_the_file_goes_keep_it(
    waiting: Upload, dataset: Dataset, contributor: Person, django_capture_on_commit_callbacks: Any
):
    with django_capture_on_commit_callbacks(execute=True):
        uploads.withdraw(waiting, actor=contributor.user)
        uploads.receive(dataset, [uploads.stored_file(waiting).read_bytes()], filename="x", actor=contributor.user)

    assert uploads.stored_file(waiting).exists()


def test_the_same_bytes_again_begin_anew(
    waiting: Upload, dataset: Dataset, contributor: Person, django_capture_on_commit_callbacks: Any
):
    body = uploads.stored_file(waiting).read_bytes()
    chosen = {"columns": {"frage": "prompt", "antwort": "reference"}}
    _withdrawn(waiting, contributor, django_capture_on_commit_callbacks)

    again, _ = uploads.receive(
        dataset, [body], filename="x", actor=contributor.user, options=uploads.Options(mapping=chosen)
    )
    import_upload(again.pk)

    again.refresh_from_db()
    assert (again.pk, again.state, again.failure, again.counts["valid"]) == (waiting.pk, "imported", "", 1)


def test_a_withdrawn_upload_cannot_be_confirmed(waiting: Upload, contributor: Person):
    uploads.withdraw(waiting, actor=contributor.user)

    with pytest.raises(Conflict, match="Withdrawn"):
        mapping.confirm(waiting, {"columns": {"frage": "prompt", "antwort": "reference"}}, actor=contributor.user)


def test_a_confirmed_upload_cannot_be_withdrawn(waiting: Upload, contributor: Person):
    mapping.confirm(waiting, {"columns": {"frage": "prompt", "antwort": "reference"}}, actor=contributor.user)

    with pytest.raises(Conflict, match="waits for its mapping"):
        uploads.withdraw(waiting, actor=contributor.user)


def test_a_withdrawn_upload_is_not_tried_again(waiting: Upload, contributor: Person):
    uploads.withdraw(waiting, actor=contributor.user)
    waiting.refresh_from_db()

    with pytest.raises(Conflict, match="upload the same file again"):
        uploads.retry(waiting, actor=contributor.user)


def test_a_stranger_may_not_withdraw(waiting: Upload, stranger: Person):
    with pytest.raises(Forbidden):
        uploads.withdraw(waiting, actor=stranger.user)
