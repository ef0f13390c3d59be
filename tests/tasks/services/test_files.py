import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tasks.errors import Forbidden, Invalid
from tasks.models import Dataset, Event, File, Task, Upload, WithdrawalReceipt
from tasks.services import accounts, datasets, importing, pruning, receipts, storage, sweeping, uploads
from tasks.services import files as service
from tasks.states import Role, TaskState, UploadState, Visibility
from tests.cast import Person
from tests.tasks.pipeline import imported, lines, receive, sums

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = lines(
    {"messages": [{"role": "user", "content": f"What is {n} + {n}?"}], "answer": 2 * n} for n in range(100, 107)
)


def stored(person: Person, content: bytes = ROWS, **given: Any) -> File:
    about = {"filename": "Sums (1).jsonl", "purpose": "fine-tune", "actor": person.user, **given}
    return service.store(person.team, [content], **about)


def lying(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def upload_of(file: File) -> Upload:
    assert file.upload is not None
    return Upload.objects.get(pk=file.upload_id)


def done(file: File) -> File:
    """Imported, and asked for as a surface does."""
    importing.import_upload(upload_of(file).pk)
    return File.objects.with_first_issue().get(pk=file.pk)


# In


def test_rows_become_a_private_dataset_called_as_their_file_is(contributor: Person):
    dataset = upload_of(stored(contributor)).dataset

    assert (dataset.name, dataset.slug, dataset.visibility) == ("Sums (1)", "sums-1", Visibility.PRIVATE)


def test_files_of_one_name_become_datasets_of_different_slugs(contributor: Person):
    slugs = {upload_of(stored(contributor)).dataset.slug for _ in range(3)}

    assert len(slugs) == 3
    assert all(slug.startswith("sums-1") for slug in slugs)


@pytest.mark.parametrize("filename", ["数据.jsonl", "", "..", ".jsonl", "a" * 300, "-_-.jsonl", "/etc/passwd"])
def test_a_file_of_any_name_finds_a_dataset(contributor: Person, filename: str):
    assert upload_of(stored(contributor, filename=filename)).dataset.slug


def test_the_import_is_asked_for_at_once(contributor: Person, monkeypatch: Any):
    asked: list[tuple[str, Any]] = []
    monkeypatch.setattr(uploads, "wake", lambda job, pk: asked.append((job, pk)))

    file = stored(contributor)

    assert asked == [("import_upload", file.upload_id)]


def test_bytes_of_any_other_purpose_are_only_kept(contributor: Person, files: Path):
    file = stored(contributor, b"\x89PNG", purpose="vision", filename="a.png")

    assert (file.upload, storage.stored_file(file).read_bytes(), Dataset.objects.count()) == (None, b"\x89PNG", 0)


def test_the_same_bytes_for_two_purposes_are_stored_once(contributor: Person, files: Path):
    stored(contributor)
    stored(contributor, purpose="evals")

    assert len(lying(files)) == 1


def test_a_file_that_is_made_here_has_a_purpose_that_nobody_may_give(contributor: Person):
    made = service.store(contributor.team, [b"step\n"], filename="r.csv", purpose="fine-tune-results", actor=None)

    assert made.purpose == "fine-tune-results"
    with pytest.raises(Invalid):
        stored(contributor, purpose="fine-tune-results")


def test_a_stranger_stores_nothing(contributor: Person, stranger: Person):
    with pytest.raises(Forbidden):
        service.store(contributor.team, [b"a"], filename="a", purpose="user_data", actor=stranger.user)


@pytest.mark.parametrize("purpose", ["fine-tune", "user_data"])
@pytest.mark.parametrize("content", [b"", b"[1]", b"{broken\n"])
def test_what_is_refused_leaves_nothing(contributor: Person, files: Path, purpose: str, content: bytes):
    if content and purpose == "user_data":
        return

    with pytest.raises(Invalid):
        stored(contributor, content, purpose=purpose)

    assert (lying(files), File.objects.count(), Dataset.objects.count()) == ([], 0, 0)


def test_every_upload_is_listed(dataset: Dataset, contributor: Person):
    upload = receive(dataset, sums(1))

    (file,) = File.objects.for_user(contributor.user)
    assert (file.upload, file.purpose, file.kept, file.sha256) == (upload, "fine-tune", False, upload.sha256)


def test_the_same_upload_again_is_listed_once(dataset: Dataset, contributor: Person):
    receive(dataset, sums(1))
    receive(dataset, sums(1))

    assert File.objects.count() == 1


def test_the_migration_lists_uploads_that_were_there_before(dataset: Dataset, contributor: Person):
    kept, gone = receive(dataset, sums(1)), receive(dataset, sums(2))
    Upload.objects.filter(pk=gone.pk).update(state=UploadState.UNMAPPED)
    gone.refresh_from_db()
    uploads.withdraw(gone, actor=contributor.user)
    before = list(File.objects.order_by("pk").values_list("upload", "filename", "purpose", "sha256", "bytes", "kept"))
    File.objects.all().delete()

    migration = import_module("tasks.migrations.0010_files")
    with connection.cursor() as cursor:
        cursor.execute(migration.FILES, [migration.WITHDRAWN])

    after = File.objects.order_by("pk")
    assert list(after.values_list("upload", "filename", "purpose", "sha256", "bytes", "kept")) == before
    assert [file.upload for file in after.live()] == [kept]


# Repeated


def again(person: Person, content: bytes = ROWS, **given: Any) -> File:
    about = {"filename": "Sums (1).jsonl", "purpose": "fine-tune", "actor": person.user, **given}
    with service.arriving(person.team, [content]) as arrived:
        return service.keep(person.team, arrived, again=True, **about)


def test_a_repetition_gets_the_first_file_and_leaves_nothing_on_its_way(contributor: Person, files: Path):
    first = stored(contributor)

    assert again(contributor) == first
    assert len(lying(files)) == 1


def test_a_repetition_after_half_an_hour_is_a_file_of_its_own(contributor: Person):
    first = stored(contributor)
    File.objects.update(created_at=timezone.now() - timedelta(minutes=31))

    assert again(contributor) != first


def test_a_repetition_does_not_get_what_was_deleted(contributor: Person):
    first = stored(contributor)
    service.delete(first, actor=contributor.user)

    assert again(contributor) != first


def test_a_repetition_of_somebody_else_is_their_own(contributor: Person, stranger: Person):
    first = stored(contributor, purpose="user_data")
    accounts.join(contributor.team, stranger.user, Role.CONTRIBUTOR, actor=contributor.user)

    assert again(contributor, actor=stranger.user, purpose="user_data") != first


def test_a_repetition_does_not_get_an_upload_of_the_portal(dataset: Dataset, contributor: Person):
    uploads.receive(dataset, [ROWS], filename="Sums (1).jsonl", actor=contributor.user)

    assert again(contributor).kept


def test_repetitions_side_by_side_make_one_file(contributor: Person):
    made: list[File] = []
    ready = threading.Barrier(4)

    def repeat() -> None:
        ready.wait()
        try:
            made.append(again(contributor))
        finally:
            connection.close()

    threads = [threading.Thread(target=repeat) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({file.pk for file in made}) == 1
    assert len(made) == 4


# What it is now


def test_a_file_is_uploaded_until_its_rows_are_in(contributor: Person):
    file = stored(contributor)

    assert service.status(file) == ("uploaded", None)
    assert service.status(done(file)) == ("processed", None)


def test_a_file_that_holds_no_row_says_so(contributor: Person):
    file = done(stored(contributor, b'{"answer": 1}\n'))

    assert service.status(file) == ("error", "Line 1: The row has no prompt.")


def test_tools_are_refused_with_their_line(contributor: Person):
    asked = [{"role": "user", "content": "2 + 2?"}]
    file = done(stored(contributor, lines([{"messages": asked, "tools": [{"type": "function"}]}])))

    assert service.status(file) == ("error", "Line 1: The row uses tools, which cannot be used yet.")


def test_a_file_whose_import_was_given_up_says_why(contributor: Person):
    file = stored(contributor)
    Upload.objects.update(state=UploadState.FAILED, failure=importing.QUARANTINED)

    assert service.status(File.objects.with_first_issue().get(pk=file.pk)) == ("error", importing.QUARANTINED)


def test_a_file_is_read_as_it_came(contributor: Person):
    assert b"".join(service.read(stored(contributor))) == ROWS


def test_a_file_of_a_suite_is_seen_by_who_sees_the_suite(contributor: Person):
    suite = datasets.create(contributor.team, "Suite", actor=contributor.user, held_out=True)
    receive(suite, sums(1))
    newcomer = accounts.User.objects.create_user("nora")
    accounts.join(contributor.team, newcomer, Role.CONTRIBUTOR, actor=contributor.user)

    assert File.objects.for_user(contributor.user).count() == 1
    assert File.objects.for_user(newcomer).count() == 0


# Out


def test_the_rows_of_a_deleted_file_are_withdrawn_with_a_receipt(contributor: Person, files: Path):
    file = stored(contributor)
    done(file)

    delete(file, contributor)

    assert set(Task.objects.values_list("state", flat=True)) == {TaskState.WITHDRAWN}
    receipt = WithdrawalReceipt.objects.get()
    assert (receipt.withdrawn, receipt.withdrawn_by, receipts.holds(receipt)) == (7, contributor.user, True)
    assert receipt.subject == "the file Sums (1).jsonl of dataset carla-team/sums-1"
    assert lying(files) == []


def delete(file: File, person: Person) -> None:
    service.delete(File.objects.select_related("upload__dataset").get(pk=file.pk), actor=person.user)


def test_only_this_files_rows_go(contributor: Person, dataset: Dataset):
    file = stored(contributor)
    done(file)
    other = imported(upload_of(file).dataset, sums(3, start=500))

    delete(file, contributor)

    states = other.memberships.values_list("task__state", flat=True)
    assert TaskState.WITHDRAWN not in set(states)


def test_a_row_that_another_file_of_the_team_brought_too_stays(contributor: Person, files: Path):
    first, second = stored(contributor), stored(contributor)
    done(first), done(second)

    delete(first, contributor)

    assert TaskState.WITHDRAWN not in set(Task.objects.values_list("state", flat=True))
    assert upload_of(second).memberships.count() == 7
    assert len(lying(files)) == 1


def test_a_file_that_is_not_imported_yet_is_given_up(contributor: Person, files: Path):
    file = stored(contributor)

    delete(file, contributor)

    upload = upload_of(file)
    assert (upload.withdrawn, lying(files)) == (True, [])
    importing.import_upload(upload.pk)
    assert not Task.objects.exists()


def test_a_file_that_is_being_imported_is_cleared_by_a_later_sweep(contributor: Person, files: Path):
    file = stored(contributor)
    upload = upload_of(file)
    Upload.objects.update(state=UploadState.IMPORTING, lease_until=timezone.now() + timedelta(minutes=1))
    delete(file, contributor)
    assert not File.objects.for_user(contributor.user).exists()
    assert len(lying(files)) == 1
    Upload.objects.update(lease_until=timezone.now() - timedelta(minutes=1))
    importing.import_upload(upload.pk)

    clear_deleted()

    assert set(Task.objects.values_list("state", flat=True)) == {TaskState.WITHDRAWN}
    assert lying(files) == []


def clear_deleted() -> None:
    for pk in service.due().values_list("pk", flat=True):
        service.clear(pk)


@pytest.mark.parametrize("kind", ["purpose", "dataset"])
def test_bytes_stay_that_another_file_has(contributor: Person, dataset: Dataset, files: Path, kind: str):
    file = stored(contributor, purpose="user_data")
    other = (
        stored(contributor, purpose="evals") if kind == "purpose" else File.objects.get(upload=receive(dataset, ROWS))
    )

    delete(file, contributor)

    assert storage.stored_file(other).read_bytes() == ROWS


def test_the_same_rows_can_be_uploaded_again(contributor: Person):
    file = stored(contributor)
    done(file)
    delete(file, contributor)

    fresh = done(stored(contributor))

    assert service.status(fresh) == ("processed", None)
    assert Task.objects.exclude(state=TaskState.WITHDRAWN).count() == 7


def test_the_same_file_uploaded_again_into_its_dataset_is_back(contributor: Person):
    file = stored(contributor)
    done(file)
    dataset = upload_of(file).dataset
    delete(file, contributor)

    uploads.receive(dataset, [ROWS], filename="Sums.jsonl", actor=contributor.user)
    importing.import_upload(upload_of(file).pk)

    assert File.objects.for_user(contributor.user).count() == 1
    assert Task.objects.exclude(state=TaskState.WITHDRAWN).count() == 7


def test_a_deletion_leaves_one_event(contributor: Person):
    file = stored(contributor)
    delete(file, contributor)
    delete(file, contributor)

    assert Event.objects.filter(kind="file.deleted").count() == 1


def test_a_stranger_deletes_nothing(contributor: Person, stranger: Person):
    for file in (stored(contributor), stored(contributor, purpose="user_data")):
        with pytest.raises(Forbidden):
            service.delete(file, actor=stranger.user)


def test_who_has_left_since_had_the_right_to_delete(contributor: Person):
    file = stored(contributor)
    done(file)
    File.objects.update(deleted_at=timezone.now(), deleted_by=contributor.user)
    contributor.user.memberships.all().delete()

    clear_deleted()

    assert set(Task.objects.values_list("state", flat=True)) == {TaskState.WITHDRAWN}


def test_what_is_past_its_time_goes_with_the_sweep(contributor: Person, files: Path, monkeypatch: Any):
    from tasks import jobs

    monkeypatch.setattr(sweeping, "wake", lambda job, pk: getattr(jobs, job)(pk))
    stored(contributor, purpose="user_data", expires_at=timezone.now() - timedelta(seconds=1))
    staying = stored(contributor, b"b", purpose="user_data", expires_at=timezone.now() + timedelta(hours=1))

    sweeping.sweep()

    assert lying(files) == [storage.stored_file(staying)]
    assert Event.objects.get(kind="file.deleted").actor is None


def test_a_withdrawn_upload_is_not_listed(dataset: Dataset, contributor: Person, files: Path):
    upload = receive(dataset, b"a;b\n1;2\n")
    Upload.objects.update(state=UploadState.UNMAPPED)
    upload.refresh_from_db()

    uploads.withdraw(upload, actor=contributor.user)

    assert (list(File.objects.for_user(contributor.user)), lying(files)) == ([], [])


@pytest.mark.parametrize(("by_api", "left"), [(True, 1), (False, 0)])
def test_pruning_spares_files_that_are_kept_until_they_are_deleted(
    contributor: Person, dataset: Dataset, files: Path, settings: Any, by_api: bool, left: int
):
    file = stored(contributor) if by_api else File.objects.get(upload=receive(dataset, ROWS))
    done(file)
    settings.PRUNE_FILES_DAYS = 1
    Upload.objects.update(finished_at=timezone.now() - timedelta(days=3))
    path = storage.stored_file(file)
    old = (timezone.now() - timedelta(days=3)).timestamp()
    os.utime(path, (old, old))

    pruning.prune([rule for rule in pruning.rules() if rule.kind == "upload_files"])

    assert len(lying(files)) == left


# Killed


def run(script: str, environment: dict[str, str], folder: Path, point: str) -> int:
    env = {**environment, "DATA_DIR": str(folder.parent), "DJANGO_SETTINGS_MODULE": "flywheel.settings"}
    command = [sys.executable, "-c", f"import django; django.setup()\n{script}"]
    crash = {"FLYWHEEL_CRASH_AT": point}
    ended = subprocess.run(command, env={**env, **crash}, capture_output=True, text=True, check=False)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode


@pytest.mark.parametrize(("purpose", "point"), [("user_data", "file.after_link"), ("fine-tune", "upload.after_rename")])
def test_a_kill_between_bytes_and_row_leaves_neither(
    contributor: Person, server_environment: dict[str, str], files: Path, purpose: str, point: str
):
    script = (
        "from tasks.models import Team, User\nfrom tasks.services import files\n"
        f"files.store(Team.objects.get(pk={contributor.team.pk}), [{ROWS!r}], filename='a.jsonl',"
        f" purpose={purpose!r}, actor=User.objects.get(pk={contributor.user.pk}))"
    )
    assert run(script, server_environment, files, point) == -signal.SIGKILL
    assert (File.objects.count(), Dataset.objects.count(), len(lying(files))) == (0, 0, 2)

    uploads.reap(older_than_seconds=-1)

    assert lying(files) == []


@pytest.mark.parametrize("point", ["file.before_clearing", "withdrawal.after_chunk"])
def test_a_deletion_that_was_killed_is_carried_out_by_the_sweep(
    contributor: Person, server_environment: dict[str, str], files: Path, point: str
):
    file = stored(contributor)
    done(file)
    script = (
        "from tasks.models import File, User\nfrom tasks.services import files\n"
        f"files.delete(File.objects.get(pk={file.pk}), actor=User.objects.get(pk={contributor.user.pk}))"
    )
    assert run(script, server_environment, files, point) == -signal.SIGKILL
    assert not File.objects.for_user(contributor.user).exists()

    clear_deleted()

    assert set(Task.objects.values_list("state", flat=True)) == {TaskState.WITHDRAWN}
    assert (lying(files), WithdrawalReceipt.objects.get().withdrawn) == ([], 7)


def test_a_leftover_link_to_a_file_that_has_its_row_does_not_take_the_file(contributor: Person, files: Path):
    file = stored(contributor, b"a", purpose="user_data")
    (files / "incoming" / f"{file.team_id}-{file.sha256}-abc.ready").write_bytes(b"a")

    uploads.reap(older_than_seconds=-1)

    assert lying(files) == [storage.stored_file(file)]
