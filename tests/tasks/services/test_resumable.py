"""Files in pieces: what has arrived stays, and a whole file is an upload like any other."""

import errno
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from tasks.errors import Busy, Conflict, Damaged, Forbidden, Invalid, Locked, NoSpace, NotFound, TooLarge
from tasks.models import Dataset, PartialUpload, Upload
from tasks.services import resumable, uploads
from tasks.services.resumable import Checksum
from tasks.services.uploads import Options
from tests.cast import Person
from tests.tasks.pipeline import lines, sums

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = lines(sums(20))
HALF = len(ROWS) // 2


@pytest.fixture
def partial(dataset: Dataset, contributor: Person) -> PartialUpload:
    return begin(dataset, contributor)


def begin(dataset: Dataset, person: Person, length: int = len(ROWS), **options: Any) -> PartialUpload:
    return resumable.begin(dataset, length=length, filename="rows.jsonl", actor=person.user, options=Options(**options))


def append(partial: PartialUpload, *blocks: bytes, at: int = 0, checksum: Checksum | None = None) -> PartialUpload:
    return resumable.append(partial, iter(blocks), at=at, actor=partial.user, checksum=checksum)


def broken(*blocks: bytes) -> Iterator[bytes]:
    yield from blocks
    raise ConnectionResetError


def on_their_way(files: Path) -> list[Path]:
    return list((files / "incoming").iterdir())


def test_the_pieces_of_a_file_make_an_upload(partial: PartialUpload, files: Path):
    append(partial, ROWS[:HALF])

    done = append(partial, ROWS[HALF:], at=HALF)

    upload = Upload.objects.get()
    assert (done.upload, upload.sha256, upload.filename) == (upload, hashlib.sha256(ROWS).hexdigest(), "rows.jsonl")
    assert uploads.stored_file(upload).read_bytes() == ROWS
    assert on_their_way(files) == []


def test_a_file_that_is_not_whole_is_no_upload(partial: PartialUpload):
    append(partial, ROWS[:HALF])

    assert (resumable.offset(partial), Upload.objects.count()) == (HALF, 0)


def test_what_arrived_before_the_connection_broke_is_kept(partial: PartialUpload):
    with pytest.raises(ConnectionResetError):
        resumable.append(partial, broken(ROWS[:10], ROWS[10:30]), at=0, actor=partial.user)

    assert resumable.offset(partial) == 30


@pytest.mark.parametrize("at", [0, HALF - 1, HALF + 1])
def test_a_piece_from_elsewhere_is_refused_and_nothing_written(partial: PartialUpload, at: int):
    append(partial, ROWS[:HALF])

    with pytest.raises(Conflict, match=str(HALF)):
        append(partial, b"x", at=at)

    assert resumable.offset(partial) == HALF


def test_the_last_piece_again_changes_nothing(partial: PartialUpload):
    append(partial, ROWS)

    again = append(PartialUpload.objects.get(), at=len(ROWS))

    assert again.upload == Upload.objects.get()


def test_the_same_bytes_again_are_the_first_upload(dataset: Dataset, contributor: Person, partial: PartialUpload):
    first, _ = uploads.receive(dataset, [ROWS], filename="x", actor=contributor.user)

    assert append(partial, ROWS).upload == first


def test_more_than_was_announced_is_refused(partial: PartialUpload):
    with pytest.raises(TooLarge):
        append(partial, ROWS, b"more")

    assert Upload.objects.count() == 0


def test_a_piece_with_its_checksum_is_kept(partial: PartialUpload):
    append(partial, ROWS[:HALF], checksum=Checksum("sha1", hashlib.sha1(ROWS[:HALF]).digest()))

    assert resumable.offset(partial) == HALF


def test_of_a_piece_that_differs_from_its_checksum_nothing_is_kept(partial: PartialUpload):
    append(partial, ROWS[:10])

    with pytest.raises(Damaged):
        append(partial, ROWS[10:20], at=10, checksum=Checksum("sha256", b"0" * 32))

    assert resumable.offset(partial) == 10


def test_of_a_piece_that_never_came_to_its_checksum_nothing_is_kept(partial: PartialUpload):
    checksum = Checksum("sha1", hashlib.sha1(ROWS).digest())

    with pytest.raises(ConnectionResetError):
        resumable.append(partial, broken(ROWS[:10]), at=0, actor=partial.user, checksum=checksum)

    assert resumable.offset(partial) == 0


def test_two_cannot_write_at_once(partial: PartialUpload, files: Path):
    append(partial, ROWS[:10])
    with (files / "incoming" / f"{partial.pk.hex}.tus").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        with pytest.raises(Locked):
            append(partial, ROWS[10:], at=10)

    assert resumable.offset(partial) == 10


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_what_arrived_stays(partial: PartialUpload, monkeypatch: Any, code: int):
    def full(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(NoSpace):
        append(partial, ROWS[:20])

    assert resumable.offset(partial) == 20


def test_a_file_that_the_disk_has_no_room_for_is_refused_at_once(
    dataset: Dataset, contributor: Person, monkeypatch: Any
):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())

    with pytest.raises(NoSpace):
        begin(dataset, contributor, 11)


@pytest.mark.parametrize(("length", "refusal"), [(0, Invalid), (8 * 2**30 + 1, TooLarge)])
def test_a_length_that_cannot_be_is_refused(dataset: Dataset, contributor: Person, length: int, refusal: Any):
    with pytest.raises(refusal):
        begin(dataset, contributor, length)


def test_nobody_leaves_hundreds_unfinished(dataset: Dataset, contributor: Person, monkeypatch: Any):
    monkeypatch.setattr(resumable, "MAX_UNFINISHED", 1)
    begin(dataset, contributor)

    with pytest.raises(Busy):
        begin(dataset, contributor)


def test_a_stranger_may_not_begin(dataset: Dataset, stranger: Person):
    with pytest.raises(Forbidden):
        begin(dataset, stranger)


def test_who_has_left_the_team_may_not_go_on(partial: PartialUpload, contributor: Person):
    contributor.user.memberships.all().delete()

    with pytest.raises(Forbidden):
        append(partial, ROWS)


def test_how_its_rows_are_taken_is_said_at_the_beginning(dataset: Dataset, contributor: Person):
    append(begin(dataset, contributor, mode="replace", mapping="auto"), ROWS)

    upload = Upload.objects.get()
    assert (upload.mode, upload.mapping) == ("replace", "auto")


def test_what_is_given_up_is_gone(partial: PartialUpload, files: Path):
    append(partial, ROWS[:HALF])

    resumable.give_up(partial, actor=partial.user)

    assert (PartialUpload.objects.count(), on_their_way(files)) == (0, [])


def test_a_piece_for_what_was_given_up_meanwhile_is_not_found(partial: PartialUpload, files: Path):
    resumable.give_up(PartialUpload.objects.get(), actor=partial.user)

    with pytest.raises(NotFound):
        append(partial, ROWS)

    assert on_their_way(files) == []


def test_what_is_unfinished_is_let_be_until_it_expires(partial: PartialUpload):
    append(partial, ROWS[:HALF])

    uploads.reap(older_than_seconds=-1)
    resumable.reap(older_than_seconds=-1)

    assert resumable.offset(partial) == HALF


def test_every_piece_puts_the_expiry_off(partial: PartialUpload, settings: Any):
    before = partial.expires_at
    settings.UPLOAD_RESUME_HOURS = 100

    append(partial, ROWS[:HALF])

    assert PartialUpload.objects.get().expires_at > before + timedelta(hours=20)


def test_what_has_expired_is_removed(partial: PartialUpload, files: Path):
    append(partial, ROWS[:HALF])
    PartialUpload.objects.update(expires_at=timezone.now())

    removed = resumable.reap(older_than_seconds=-1)

    assert (removed, PartialUpload.objects.count(), on_their_way(files)) == (1, 0, [])


def test_what_has_expired_without_a_byte_is_removed(partial: PartialUpload):
    PartialUpload.objects.update(expires_at=timezone.now())

    resumable.reap()

    assert PartialUpload.objects.count() == 0


def test_what_can_never_become_an_upload_is_removed(dataset: Dataset, contributor: Person, files: Path):
    uploads.receive(dataset, [ROWS], filename="x", actor=contributor.user)
    Upload.objects.update(mapping={"dialect": "native"}, state="imported")
    given = Options(mapping={"columns": {"a": "prompt", "b": "reference"}})
    partial = resumable.begin(dataset, length=len(ROWS), filename="x", actor=contributor.user, options=given)
    with pytest.raises(Conflict):
        append(partial, ROWS)

    resumable.reap(older_than_seconds=-1)

    assert (on_their_way(files), PartialUpload.objects.count()) == ([], 0)


def test_bytes_that_nobody_knows_are_removed(dataset: Dataset, files: Path):
    (files / "incoming").mkdir(parents=True)
    (files / "incoming" / f"{'0' * 32}.tus").write_bytes(b"x")

    resumable.reap(older_than_seconds=-1)

    assert on_their_way(files) == []


# kill -9

_APPEND = """
import django; django.setup()
from tasks.models import PartialUpload
from tasks.services import resumable
partial = PartialUpload.objects.get()
resumable.append(partial, [{blocks}], at=0, actor=partial.user)
"""


def _killed(environment: dict[str, str], files: Path, point: str, blocks: str) -> None:
    env = {**environment, "DATA_DIR": str(files.parent), "DJANGO_SETTINGS_MODULE": "flywheel.settings"}
    script = _APPEND.format(blocks=blocks)
    done = subprocess.run([sys.executable, "-c", script], env={**env, "FLYWHEEL_CRASH_AT": point}, check=False)
    assert done.returncode == -signal.SIGKILL


def test_a_kill_in_the_middle_of_a_piece_keeps_what_was_written(
    partial: PartialUpload, server_environment: dict[str, str], files: Path
):
    _killed(server_environment, files, "upload.in_piece:2", repr(ROWS[:10]) + "," + repr(ROWS[10:30]) + ", b'x'")
    here = resumable.offset(partial)

    done = append(partial, ROWS[30:], at=30)

    assert here == 30
    assert uploads.stored_file(done.upload).read_bytes() == ROWS


def test_what_a_kill_left_whole_becomes_an_upload_by_the_next_request(
    partial: PartialUpload, server_environment: dict[str, str], files: Path
):
    _killed(server_environment, files, "upload.after_rename", repr(ROWS))
    assert not Upload.objects.exists()

    append(partial, at=len(ROWS))

    assert uploads.stored_file(Upload.objects.get()).read_bytes() == ROWS
    assert on_their_way(files) == []


def test_what_a_kill_left_whole_becomes_an_upload_by_the_sweep(
    partial: PartialUpload, server_environment: dict[str, str], files: Path
):
    _killed(server_environment, files, "upload.after_rename", repr(ROWS))

    uploads.reap(older_than_seconds=-1)
    resumable.reap(older_than_seconds=-1)

    assert uploads.stored_file(Upload.objects.get()).read_bytes() == ROWS
    assert on_their_way(files) == []
