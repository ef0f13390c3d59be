import fcntl
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.utils import timezone

from tasks.errors import Conflict
from tasks.models import (
    Appeal,
    Dataset,
    Event,
    PartialUpload,
    ProofFinding,
    ProofRun,
    RowIssue,
    Sample,
    Task,
    Upload,
)
from tasks.services import pruning, resumable, storage
from tasks.services.pruning import Pruned, Rule, prune, prune_by_the_clock, rules
from tasks.services.storage import Gone, kept_file
from tests.cast import Person
from tests.tasks.pipeline import receive, sums

pytestmark = pytest.mark.django_db
LONG_AGO = timedelta(days=400)


def _old(upload: Upload, state: str = "imported") -> Upload:
    """Imported long ago, as far as its row and its file say."""
    Upload.objects.filter(pk=upload.pk).update(state=state, finished_at=timezone.now() - LONG_AGO)
    _age(storage.stored_file(upload))
    upload.refresh_from_db()
    return upload


def _age(path: Path) -> None:
    moment = (timezone.now() - LONG_AGO).timestamp()
    os.utime(path, (moment, moment))


def _issues(upload: Upload, code: str, count: int) -> None:
    rows = (RowIssue(upload=upload, line=line, code=code, sentence="Bad.") for line in range(1, count + 1))
    RowIssue.objects.bulk_create(rows)


def _pruned(kind: str, *, dry_run: bool = False) -> Pruned:
    return next(found for found in prune(rules(), dry_run=dry_run) if found.kind == kind)


# Files on their way


def _left(name: str) -> Path:
    path = storage.incoming() / name
    path.write_bytes(b"12345")
    _age(path)
    return path


@pytest.mark.parametrize("name", ["a1.part", f"1-{'a' * 64}-b2.ready", "c3.tus", f"{'0' * 32}.tus"])
def test_what_an_upload_has_left_behind_goes(name: str, files: Path):
    path = _left(name)

    found = _pruned("incoming")

    assert (found.count, found.bytes, path.exists()) == (1, 5, False)
    assert Event.objects.get(kind="prune.incoming").data == {"names": [name], "bytes": 5}


def test_a_dry_run_lists_what_an_upload_has_left_behind(files: Path):
    path = _left("a1.part")

    found = _pruned("incoming", dry_run=True)

    assert (found.count, found.bytes, path.exists()) == (1, 5, True)


def test_a_file_to_which_somebody_writes_stays(files: Path):
    path = _left("a1.part")

    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert _pruned("incoming").count == 0

    assert path.exists()


def test_a_young_file_on_its_way_stays(files: Path):
    path = storage.incoming() / "a1.part"
    path.write_bytes(b"12345")

    assert _pruned("incoming").count == 0
    assert path.exists()


@pytest.mark.parametrize(("hours", "count"), [(1, 0), (-1, 1)])
def test_pieces_go_once_their_upload_has_expired(dataset: Dataset, contributor: Person, hours: int, count: int):
    partial = resumable.begin(dataset, length=9, filename="rows.jsonl", actor=contributor.user)
    PartialUpload.objects.update(expires_at=timezone.now() + timedelta(hours=hours))
    path = _left(f"{partial.pk.hex}.tus")

    assert _pruned("incoming").count == count
    assert path.exists() == (not count)


def test_pieces_that_are_whole_are_not_pruned(dataset: Dataset, contributor: Person):
    partial = resumable.begin(dataset, length=5, filename="rows.jsonl", actor=contributor.user)
    PartialUpload.objects.update(expires_at=timezone.now() - LONG_AGO)
    path = _left(f"{partial.pk.hex}.tus")

    assert _pruned("incoming").count == 0
    assert path.exists()


# Files of uploads


def test_a_file_goes_long_after_its_import(dataset: Dataset):
    upload = _old(receive(dataset, sums(3)))

    found = _pruned("upload_files")

    assert (found.count, found.bytes) == (1, upload.bytes)
    assert not storage.stored_file(upload).exists()


def test_what_an_import_made_of_a_file_stays(dataset: Dataset):
    upload = _old(receive(dataset, sums(3)))

    prune(rules())

    assert Upload.objects.filter(pk=upload.pk).exists()
    assert Event.objects.filter(kind="upload.received", subject_id=str(upload.pk)).exists()


def test_a_young_file_stays(dataset: Dataset):
    upload = receive(dataset, sums(3))
    Upload.objects.update(state="imported", finished_at=timezone.now())

    assert _pruned("upload_files").count == 0
    assert storage.stored_file(upload).exists()


@pytest.mark.parametrize("state", ["received", "unmapped", "importing"])
def test_a_file_that_an_import_needs_stays(dataset: Dataset, state: str):
    upload = _old(receive(dataset, sums(3)), state)

    prune(rules())

    assert storage.stored_file(upload).exists()


def test_a_file_stays_while_another_dataset_of_the_team_needs_its_bytes(dataset: Dataset, ungraded: Dataset):
    upload = _old(receive(dataset, sums(3)))
    receive(ungraded, sums(3))

    prune(rules())

    assert storage.stored_file(upload).exists()


def test_a_file_stays_while_somebody_asks_about_one_of_its_rows(dataset: Dataset, contributor: Person):
    upload = _old(receive(dataset, sums(3)))
    Appeal.objects.create(space=dataset.space, upload=upload, line=2, note="It is right.", asked_by=contributor.user)

    prune(rules())

    assert storage.stored_file(upload).exists()


def test_zero_days_keep_for_ever(dataset: Dataset, settings: Any):
    settings.PRUNE_FILES_DAYS = 0
    upload = _old(receive(dataset, sums(3)))

    prune(rules())

    assert storage.stored_file(upload).exists()


def test_a_dry_run_says_what_would_go_and_removes_nothing(dataset: Dataset):
    upload = _old(receive(dataset, sums(3)))
    events = Event.objects.count()

    found = _pruned("upload_files", dry_run=True)

    assert (found.count, found.bytes) == (1, upload.bytes)
    assert storage.stored_file(upload).exists()
    assert Event.objects.count() == events


def test_every_chunk_of_files_leaves_an_event_of_its_team(dataset: Dataset, monkeypatch: Any):
    monkeypatch.setattr(pruning, "FILES_AT_ONCE", 2)
    sha256s = {_old(receive(dataset, sums(1, start=n))).sha256 for n in range(3)}

    prune(rules())

    events = Event.objects.filter(kind="prune.upload_files", team=dataset.team)
    assert sorted(len(event.data["sha256"]) for event in events) == [1, 2]
    assert {sha256 for event in events for sha256 in event.data["sha256"]} == sha256s


def test_who_asks_for_a_file_that_is_gone_is_told_so(dataset: Dataset):
    upload = _old(receive(dataset, sums(3)))
    prune(rules())

    with pytest.raises(Gone, match="upload the same file again"):
        kept_file(upload)


def test_the_same_bytes_again_put_the_file_back(dataset: Dataset):
    upload = _old(receive(dataset, sums(3)))
    prune(rules())

    receive(dataset, sums(3))

    assert kept_file(upload).stat().st_size == upload.bytes


def test_a_file_that_came_back_stays_as_long_as_a_new_one(dataset: Dataset):
    upload = _old(receive(dataset, sums(3)))
    prune(rules())
    receive(dataset, sums(3))

    prune(rules())

    assert kept_file(upload).exists()


# Rows


@pytest.fixture
def few_issues(settings: Any) -> None:
    settings.PRUNE_ISSUES_KEPT = 3


@pytest.mark.usefixtures("few_issues")
def test_of_old_row_issues_the_first_of_each_code_stay(dataset: Dataset):
    upload = _old(receive(dataset, sums(1)))
    _issues(upload, "not_json", 8)
    _issues(upload, "missing_field", 2)

    found = _pruned("row_issues")

    assert found.count == 5
    assert list(upload.issues.filter(code="not_json").values_list("line", flat=True)) == [1, 2, 3]
    assert upload.issues.filter(code="missing_field").count() == 2


@pytest.mark.usefixtures("few_issues")
def test_row_issues_of_a_file_that_is_kept_stay(dataset: Dataset, settings: Any):
    settings.PRUNE_FILES_DAYS = 0
    upload = _old(receive(dataset, sums(1)))
    _issues(upload, "not_json", 8)

    assert _pruned("row_issues").count == 0


@pytest.mark.usefixtures("few_issues")
def test_row_issues_of_a_young_upload_stay(dataset: Dataset):
    upload = receive(dataset, sums(1))
    Upload.objects.update(state="imported", finished_at=timezone.now())
    storage.stored_file(upload).unlink()
    _issues(upload, "not_json", 8)

    assert _pruned("row_issues").count == 0


@pytest.mark.usefixtures("few_issues")
def test_a_dry_run_counts_all_chunks_of_rows(dataset: Dataset, monkeypatch: Any):
    monkeypatch.setattr(pruning, "ROWS_AT_ONCE", 2)
    upload = _old(receive(dataset, sums(1)))
    storage.stored_file(upload).unlink()
    _issues(upload, "not_json", 8)

    found = _pruned("row_issues", dry_run=True)

    assert found.count == 5
    assert found.bytes > 5 * 20
    assert upload.issues.count() == 8


def test_no_row_issue_stays_where_none_is_to(dataset: Dataset, settings: Any):
    settings.PRUNE_ISSUES_KEPT = 0
    upload = _old(receive(dataset, sums(1)))
    _issues(upload, "not_json", 2)

    prune(rules())

    assert not upload.issues.exists()


@pytest.mark.parametrize(("state", "left"), [("done", 0), ("pending", 1)])
def test_the_rows_of_a_matrix_go_long_after_its_proof(dataset: Dataset, state: str, left: int):
    upload = receive(dataset, sums(1))
    ProofRun.objects.create(upload=upload, state=state, finished_at=timezone.now() - LONG_AGO)
    ProofFinding.objects.create(
        upload=upload, kind="number", cell="gold", outcome="failed", line=1, task_id=_task(dataset)
    )

    prune(rules())

    assert ProofFinding.objects.count() == left


def _task(dataset: Dataset) -> int:
    return Task.objects.create(
        space=dataset.space, state="valid", messages=[], exact_key="0" * 32, answer_digest="0" * 32,
        number_signature="0" * 16, template="0" * 32, content_digest="0" * 64, norm_version=1, split="train",
    ).pk  # fmt: skip


def test_sessions_go_long_after_their_end():
    Session.objects.create(session_key="old", session_data="", expire_date=timezone.now() - LONG_AGO)
    Session.objects.create(session_key="new", session_data="", expire_date=timezone.now())

    found = _pruned("logins")

    assert found.count == 1
    assert Session.objects.get().session_key == "new"


# What can be made again


def test_a_cached_file_that_nobody_uses_goes(tmp_path: Path):
    used, unused = _cached(tmp_path, "suites", "new"), _cached(tmp_path, "suites", "old")
    _age(unused)

    found = _pruned("caches")

    assert (found.count, found.bytes) == (1, 4)
    assert (used.exists(), unused.exists()) == (True, False)


def _cached(root: Path, folder: str, name: str) -> Path:
    path = root / "cache" / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"data")
    return path


def test_of_files_under_a_lock_all_are_used_if_one_is(tmp_path: Path):
    _cached(tmp_path, "bands/7", "lock")
    old, new = _cached(tmp_path, "bands/7", "1.run"), _cached(tmp_path, "bands/7", "manifest.json")
    _age(old)

    prune(rules())

    assert old.exists()
    assert new.exists()


def test_files_under_a_lock_that_nobody_uses_go_and_the_lock_stays(tmp_path: Path):
    lock, old = _cached(tmp_path, "bands/7", "lock"), _cached(tmp_path, "bands/7", "1.run")
    _age(old)

    prune(rules())

    assert (lock.exists(), old.exists()) == (True, False)


def test_files_whose_lock_somebody_holds_stay(tmp_path: Path):
    lock, old = _cached(tmp_path, "bands/7", "lock"), _cached(tmp_path, "bands/7", "1.run")
    _age(old)
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        prune(rules())

    assert old.exists()


def test_what_an_old_bench_left_goes(tmp_path: Path, settings: Any):
    settings.BASE_DIR = tmp_path
    folder = tmp_path / "var" / "bench" / "ingest"
    folder.mkdir(parents=True)
    (folder / "rows.jsonl").write_bytes(b"1234")
    for path in (folder / "rows.jsonl", folder):
        _age(path)

    found = _pruned("benches")

    assert (found.count, found.bytes, folder.exists()) == (1, 4, False)


# Logs


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "logs" / "worker.log"
    path.parent.mkdir()
    path.write_text("newer\n")
    return path


def test_a_log_is_kept_for_as_many_days_as_it_is_to_be(log: Path):
    prune(rules())
    prune(rules())

    assert log.read_text() == "newer\n"


def test_then_it_takes_the_place_of_the_one_before(log: Path):
    past = log.with_name("worker.log.1")
    past.write_text("older\n")
    _age(past)

    found = _pruned("logs")

    assert (found.count, found.bytes) == (1, 6)
    assert (past.read_text(), log.read_text()) == ("newer\n", "")


def test_whoever_has_a_log_open_goes_on_writing_to_it(log: Path):
    past = log.with_name("worker.log.1")
    past.touch()
    _age(past)
    with log.open("ab", buffering=0) as file:
        prune(rules())

        file.write(b"newest\n")

    assert log.read_text() == "newest\n"


# Runs of it


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("point", ["prune.before_files", "prune.after_chunk"])
def test_a_run_that_is_killed_is_finished_by_the_next(
    dataset: Dataset, server_environment: dict[str, str], files: Path, point: str
):
    kept = [storage.stored_file(_old(receive(dataset, sums(1, start=n)))) for n in range(3)]
    script = (
        "import django; django.setup()\n"
        "from tasks.services import pruning\n"
        "pruning.FILES_AT_ONCE = 1\n"
        "pruning.prune(pruning.rules())"
    )
    env = {**server_environment, "DATA_DIR": str(files.parent), "DJANGO_SETTINGS_MODULE": "flywheel.settings"}
    done = subprocess.run([sys.executable, "-c", script], env={**env, "FLYWHEEL_CRASH_AT": point}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert any(path.exists() for path in kept)

    _as_soon_as_its_connection_is_gone(prune)

    told = {name for event in Event.objects.filter(kind="prune.upload_files") for name in event.data["sha256"]}
    assert not any(path.exists() for path in kept)
    assert told == {path.name for path in kept}


def _as_soon_as_its_connection_is_gone(work: Any, seconds: float = 20) -> None:
    """Postgres sees a moment later that a process was killed."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            work(rules())
        except Conflict:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


@pytest.mark.django_db(transaction=True)
def test_a_second_run_at_the_same_time_is_refused():
    def meanwhile(_: Any) -> Any:
        with pytest.raises(Conflict, match="under way"):
            _in_another_connection()
        return []

    prune([Rule("nothing", 1, meanwhile)])


def _in_another_connection() -> None:
    """Runs of one process share a connection, and so the lock: the other one is a thread's."""

    def run() -> None:
        try:
            prune(rules())
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()


def test_the_daily_job_leaves_the_work_to_a_run_that_is_under_way(monkeypatch: Any):
    asked = []

    def refuse(given: Any) -> None:
        asked.append(given)
        raise Conflict("pruning", "Another run is under way.")

    monkeypatch.setattr(pruning, "prune", refuse)

    prune_by_the_clock(rules())  # raises nothing: a job that fails every day hides the one that fails for a reason

    assert len(asked) == 1


def test_a_fault_of_one_kind_does_not_hold_up_the_others(dataset: Dataset):
    def broken(_: Any) -> Any:
        raise PermissionError(13, "Permission denied", "somewhere")

    upload = _old(receive(dataset, sums(3)))

    first, *_ = prune([Rule("broken", 1, broken), *rules()])

    assert first.failure == "somewhere: Permission denied."
    assert not storage.stored_file(upload).exists()


# Samples


def test_a_sample_that_nobody_has_sent_goes_by_age(contributor: Person):
    rights = {"licence": "MIT", "consent_version": "2026-1", "asked_as": "champion", "version": "shared/v1"}
    old, young = (Sample.objects.create(team=contributor.team, source="program", **rights) for _ in range(2))
    Sample.objects.filter(pk=old.pk).update(created_at=timezone.now() - LONG_AGO)

    found = _pruned("samples")

    assert (found.count, list(Sample.objects.all())) == (1, [young])
