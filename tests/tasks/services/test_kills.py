"""kill -9 at every named crash point of an upload's way, then a retry: the same rows, nothing lost, nothing doubled."""

import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tasks.models import Dataset, DatasetTask, GraderChange, Proof, ProofFinding, ProofRun, Task, Upload
from tasks.services import importing, proving, regrading, uploads
from tests.cast import Person
from tests.tasks.pipeline import content, imported, lines, proved, receive, states, sums

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = [*sums(7), "{broken", *sums(2), {"prompt": "2 + 2?", "reference": 4}, {"prompt": "2 + 2?", "reference": 5}]
_RUN = """
import django; django.setup()
from tasks.services import importing, proving
importing.import_upload({upload})
proving.prove_upload({upload})
"""


def _run(upload: Upload, environment: dict[str, str], files: Path, **extra: str) -> int:
    """Import and prove in a process of its own; its exit status."""
    env = {**environment, "DATA_DIR": str(files.parent), "DJANGO_SETTINGS_MODULE": "flywheel.settings", **extra}
    command = [sys.executable, "-c", _RUN.format(upload=upload.pk)]
    done = subprocess.run(command, env={**env, "IMPORT_CHUNK_ROWS": "4"}, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def _expire_leases() -> None:
    past = timezone.now() - timedelta(seconds=1)
    Upload.objects.update(lease_until=past)
    ProofRun.objects.update(lease_until=past)


@pytest.mark.parametrize(
    "point",
    [
        "import.after_claim",
        "import.before_commit:2",
        "import.after_chunk",
        "import.before_finish",
        "prove.before_commit",
        "prove.after_chunk",
        "prove.while_counting:2",
        "prove.after_move",
        "prove.before_finish",
    ],
)
def test_a_kill_and_a_retry_give_the_same_rows(
    point: str, dataset: Dataset, ungraded: Dataset, server_environment: dict[str, str], files: Path
):
    upload = receive(dataset, ROWS)
    assert _run(upload, server_environment, files, FLYWHEEL_CRASH_AT=point) == -signal.SIGKILL
    _expire_leases()

    assert _run(upload, server_environment, files) == 0

    upload.refresh_from_db()
    assert states(dataset) == ["proved"] * 7 + ["proved"] * 2 + ["conflict"] * 2
    assert upload.counts["rows"] == len(ROWS)
    assert upload.proof.counts["tasks"] == 9
    assert upload.issues.count() == 1


_PROVE_AHEAD = """
import django; django.setup()
from tasks.services import matrix, proving
proving.ALONE, proving.CHUNK_LINES, proving.MOVED_AT_ONCE, matrix.COUNTED_AT_ONCE = 0, 4, 4, 4
proving.prove_upload({upload})
"""


@pytest.mark.parametrize(
    "point",
    [
        "prove.before_commit:3",
        "prove.after_chunk:2",
        "prove.while_counting:3",
        "prove.after_move:2",
        "prove.before_finish",
    ],
)
def test_a_proof_that_is_killed_while_child_processes_grade_ahead_keeps_what_an_undisturbed_one_keeps(
    point: str, dataset: Dataset, server_environment: dict[str, str], files: Path
):
    rows = [*sums(18), *sums(3), {"prompt": "1 + 1?", "reference": 2, "gold": "3"}]  # repeated ones, one that fails
    upload = imported(dataset, rows)
    env = {**server_environment, "DATA_DIR": str(files.parent), "DJANGO_SETTINGS_MODULE": "flywheel.settings"}
    command = [sys.executable, "-c", _PROVE_AHEAD.format(upload=upload.pk)]
    killed = subprocess.run(command, env={**env, "FLYWHEEL_CRASH_AT": point}, check=False)
    _expire_leases()
    subprocess.run(command, env=env, check=True)
    kept = _proved()
    Proof.objects.all().delete()
    Task.objects.update(state="valid")
    ProofRun.objects.update(state="pending", counts={})

    proving.prove_upload(upload.pk)

    assert killed.returncode == -signal.SIGKILL
    assert _proved() == kept


def _proved() -> tuple[Any, ...]:
    proofs = Proof.objects.order_by("task").values_list("task", "grader", "outcome", "code", "reason", "gold", "decoys")
    cells = ProofFinding.objects.order_by("line", "cell").values_list("line", "kind", "cell", "outcome", "task")
    moved = Task.objects.order_by("pk").values_list("pk", "state", "reason", "reason_code")
    return list(proofs), list(cells), list(moved), ProofRun.objects.get().counts


@pytest.mark.parametrize("point", ["regrade.before_commit", "regrade.after_chunk"])
def test_a_change_of_grader_that_is_killed_goes_on(
    point: str, dataset: Dataset, server_environment: dict[str, str], files: Path
):
    proved(dataset, sums(7))
    exact = {
        "type": "string_check",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.reference }}",
        "operation": "eq",
    }
    change = regrading.change_grader(dataset, exact, actor=None)
    script = (
        "import django; django.setup()\n"
        f"from tasks.services import regrading\nregrading.CHUNK = 3\nregrading.run({change.pk})"
    )
    env = {**server_environment, "DATA_DIR": str(files.parent), "DJANGO_SETTINGS_MODULE": "flywheel.settings"}
    done = subprocess.run([sys.executable, "-c", script], env={**env, "FLYWHEEL_CRASH_AT": point}, check=False)
    assert done.returncode == -signal.SIGKILL
    GraderChange.objects.update(lease_until=timezone.now() - timedelta(seconds=1))

    regrading.run(change.pk)

    change.refresh_from_db()
    assert (change.state, change.counts["changed"]) == ("done", 7)
    assert states(dataset) == ["valid"] * 7
    assert {task.grader.type for task in Task.objects.all() if task.grader} == {"string_check"}


def test_a_kill_between_file_and_row_leaves_no_row_and_the_file_is_reaped(
    dataset: Dataset, server_environment: dict[str, str], files: Path
):
    script = (
        "import django; django.setup()\n"
        "from tasks.models import Dataset\nfrom tasks.services import uploads\n"
        f"uploads.receive(Dataset.objects.get(pk={dataset.pk}), [b'{{}}'], filename='x', actor=None)"
    )
    env = {**server_environment, "DATA_DIR": str(files.parent), "DJANGO_SETTINGS_MODULE": "flywheel.settings"}
    subprocess.run([sys.executable, "-c", script], env={**env, "FLYWHEEL_CRASH_AT": "upload.after_rename"}, check=False)
    assert not Upload.objects.exists()
    assert len([path for path in files.rglob("*") if path.is_file()]) == 2

    uploads.reap(older_than_seconds=-1)

    assert not [path for path in files.rglob("*") if path.is_file()]


def test_two_uploads_at_the_same_moment_store_each_prompt_once(dataset: Dataset, contributor: Person, settings: Any):
    settings.IMPORT_CHUNK_ROWS = 10
    one, two = receive(dataset, sums(60)), receive(dataset, lines(sums(60)) + b"\n")

    _at_once(importing.import_upload, one.pk, two.pk)

    assert Task.objects.count() == 60
    assert DatasetTask.objects.filter(duplicate=False).count() == 60
    assert DatasetTask.objects.count() == 120


def test_a_job_delivered_three_times_at_once_has_one_effect(dataset: Dataset):
    upload = receive(dataset, sums(20))

    _at_once(importing.import_upload, upload.pk, upload.pk, upload.pk)
    _at_once(proving.prove_upload, upload.pk, upload.pk, upload.pk)

    upload.refresh_from_db()
    assert (upload.attempt, upload.counts["valid"], upload.proof.counts["tasks"]) == (1, 20, 20)


def _at_once(work: Any, *pks: int) -> None:
    barrier = threading.Barrier(len(pks))

    def run(pk: int) -> None:
        barrier.wait()
        try:
            work(pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(pk,)) for pk in pks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_repeated_import_holds_what_the_first_held(dataset: Dataset, ungraded: Dataset):
    proved(dataset, ROWS)
    before = content(dataset)

    imported(dataset, lines(ROWS) + b"\n")

    after = [row for row in content(dataset) if row[0] == before[0][0]]
    assert after == before
