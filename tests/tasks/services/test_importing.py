import tracemalloc
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tasks import preparation
from tasks.models import Dataset, DatasetTask, Event, ProofRun, RowIssue, Task, Upload
from tasks.services import datasets, importing, leases, neighbours, reviews, storing, uploads
from tasks.states import Split, TaskState, UploadState
from tasks.text import NORM_VERSION
from tests.cast import Person
from tests.tasks.pipeline import imported, lines, proved, receive, states, sums, tasks

pytestmark = pytest.mark.django_db


def test_good_rows_become_valid_tasks(dataset: Dataset):
    upload = imported(dataset, sums(3))

    assert upload.state == UploadState.IMPORTED
    assert states(dataset) == ["valid"] * 3
    assert upload.counts == {
        "rows": 3, "valid": 3, "needs_grader": 0, "conflicts": 0, "duplicates": 0, "rejected": {}, "found": {},
    }  # fmt: skip


def test_a_broken_row_is_an_issue_and_good_rows_go_on(dataset: Dataset):
    one, two = sums(2)

    upload = imported(dataset, [one, "{broken", two])

    assert upload.counts["valid"] == 2
    assert upload.counts["rejected"] == {"not_json": 1}
    assert [(issue.line, issue.code) for issue in upload.issues.all()] == [(2, "not_json")]


def test_every_row_is_counted_once(dataset: Dataset):
    rows = [*sums(4), *sums(2), {"reference": 1}, "{", {"prompt": "What is 100 + 100?", "reference": 7}]

    counts = imported(dataset, rows).counts

    parts = counts["valid"] + counts["needs_grader"] + counts["conflicts"] + counts["duplicates"]
    assert counts["rows"] == len(rows) == parts + sum(counts["rejected"].values())


def test_a_row_without_any_grader_waits_for_one(ungraded: Dataset):
    upload = imported(ungraded, sums(2))

    assert states(ungraded) == ["needs_grader"] * 2
    assert upload.counts["needs_grader"] == 2


def test_a_repeated_row_adds_provenance_and_no_copy(dataset: Dataset):
    row = sums(1)[0]

    upload = imported(dataset, [row, row])

    assert Task.objects.count() == 1
    assert [m.duplicate for m in upload.memberships.order_by("line")] == [False, True]


def test_a_prompt_that_differs_in_case_and_blanks_is_the_same_prompt(dataset: Dataset):
    imported(
        dataset, [{"prompt": "What is 2 + 2?", "reference": 4}, {"prompt": "what  is 2 + 2 ?", "reference": "4.0"}]
    )

    assert Task.objects.count() == 1


def test_the_same_prompt_with_another_answer_is_a_conflict_and_not_dropped(dataset: Dataset):
    upload = imported(
        dataset, [{"prompt": "What is 2 + 2?", "reference": 4}, {"prompt": "What is 2 + 2?", "reference": 5}]
    )

    assert states(dataset) == ["conflict", "conflict"]
    assert upload.counts["conflicts"] == 2


@pytest.mark.parametrize("stage", [imported, proved])
def test_a_conflict_sends_the_side_that_was_there_to_review_too(dataset: Dataset, stage: Any):
    stage(dataset, [{"prompt": "What is 2 + 2?", "reference": 4}])

    imported(dataset, [{"prompt": "What is 2 + 2?", "reference": 5}])

    assert states(dataset) == ["conflict", "conflict"]
    assert Event.objects.filter(kind="task.conflict").count() == 1


def test_an_approved_task_stays_approved_when_a_conflicting_row_arrives(dataset: Dataset, contributor: Person):
    proved(dataset, [{"prompt": "What is 2 + 2?", "reference": 4}])
    reviews.approve(tasks(dataset)[0], reviewer=contributor.user)

    imported(dataset, [{"prompt": "What is 2 + 2?", "reference": 5}])

    assert states(dataset) == ["approved", "conflict"]


def test_a_rejected_task_does_not_make_a_conflict(dataset: Dataset, contributor: Person):
    proved(dataset, [{"prompt": "What is 2 + 2?", "reference": 5}])
    reviews.reject(tasks(dataset)[0], reviewer=contributor.user, reason_code="wrong_reference")

    imported(dataset, [{"prompt": "What is 2 + 2?", "reference": 4}])

    assert states(dataset) == ["rejected", "valid"]


def test_uploading_a_rejected_answer_again_disturbs_nothing(dataset: Dataset, contributor: Person):
    proved(dataset, [{"prompt": "What is 2 + 2?", "reference": 5}])
    reviews.reject(tasks(dataset)[0], reviewer=contributor.user, reason_code="wrong_reference")
    imported(dataset, [{"prompt": "What is 2 + 2?", "reference": 4}])

    imported(dataset, [{"prompt": "What is 2 + 2?", "reference": 5}, {"prompt": "x", "reference": 1}])

    assert states(dataset) == ["rejected", "valid", "rejected", "valid"]


def test_keys_are_compared_only_within_a_space(dataset: Dataset, contributed: Dataset):
    imported(dataset, sums(1))

    upload = imported(contributed, sums(1))

    assert upload.counts["duplicates"] == 0
    assert Task.objects.count() == 2


def test_a_row_may_carry_its_own_grader(ungraded: Dataset):
    row = {**sums(1)[0], "grader": {"type": "number", "absolute_tolerance": 1}}

    imported(ungraded, [row])

    task = tasks(ungraded)[0]
    assert (task.state, task.grader.config["absolute_tolerance"]) == ("valid", 1.0)


def test_the_same_prompt_and_answer_under_another_grader_is_another_task(dataset: Dataset):
    row = sums(1)[0]

    upload = imported(dataset, [row, {**row, "grader": {"type": "number", "absolute_tolerance": 1}}])

    assert upload.counts["valid"] == 2


def test_the_domain_is_the_rows_else_the_datasets(dataset: Dataset):
    Dataset.objects.filter(pk=dataset.pk).update(domain="sums")
    one, two = sums(2)

    imported(dataset, [one, {**two, "domain": "doubling"}])

    assert [task.domain for task in tasks(dataset)] == ["sums", "doubling"]


def test_about_a_tenth_each_of_the_prompts_is_sealed_and_validates(dataset: Dataset, settings: Any):
    imported(dataset, sums(2000))

    shares = {split: Task.objects.filter(split=split).count() / 2000 for split in Split}
    assert 0.07 < shares[Split.SEALED] < 0.13
    assert 0.07 < shares[Split.VALIDATION] < 0.13


def test_the_split_stays_as_it_was_first_stored(dataset: Dataset, contributor: Person):
    imported(dataset, sums(1))
    task = tasks(dataset)[0]
    other = next(split for split in Split if split != task.split)
    Task.objects.filter(pk=task.pk).update(split=other)

    imported(dataset, [{**sums(1)[0], "reference": 5}])

    assert tasks(dataset)[1].split == other


def test_an_import_goes_on_behind_the_last_committed_chunk(dataset: Dataset, settings: Any, monkeypatch: Any):
    settings.IMPORT_CHUNK_ROWS = 4
    upload = receive(dataset, sums(10))
    monkeypatch.setattr(importing, "crash_point", _stop_at("import.after_chunk", passing=2))
    with pytest.raises(_Stopped):
        importing.import_upload(upload.pk)
    upload.refresh_from_db()
    assert (upload.line, upload.state) == (8, "importing")
    _expire(upload)
    monkeypatch.undo()

    importing.import_upload(upload.pk)

    assert states(dataset) == ["valid"] * 10


class _Stopped(Exception):
    pass


def _stop_at(name: str, passing: int) -> Any:
    seen: list[str] = []

    def crash_point(at: str) -> None:
        seen.append(at)
        if seen.count(name) == passing:
            raise _Stopped

    return crash_point


def _expire(upload: Upload) -> None:
    Upload.objects.filter(pk=upload.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def test_progress_is_written_with_every_chunk(dataset: Dataset, settings: Any):
    settings.IMPORT_CHUNK_ROWS = 2

    upload = imported(dataset, sums(5))

    chunks = Event.objects.filter(kind="upload.chunk", subject_id=str(upload.pk)).order_by("id")
    assert [event.data["line"] for event in chunks] == [2, 4, 5]


def test_a_second_worker_leaves_an_upload_that_is_being_imported_alone(dataset: Dataset):
    upload = receive(dataset, sums(2))
    leases.claim(Upload, upload.pk, UploadState.RECEIVED, UploadState.IMPORTING)

    importing.import_upload(upload.pk)

    upload.refresh_from_db()
    assert (upload.state, upload.attempt, upload.line) == ("importing", 1, 0)


def test_importing_what_is_imported_changes_nothing(dataset: Dataset):
    upload = imported(dataset, sums(2))
    before = Event.objects.count()

    importing.import_upload(upload.pk)

    assert Event.objects.count() == before


def test_a_worker_that_lost_its_lease_writes_nothing(dataset: Dataset, monkeypatch: Any):
    upload = receive(dataset, sums(3))
    monkeypatch.setattr(importing, "crash_point", _somebody_else_claims(upload))

    importing.import_upload(upload.pk)

    upload.refresh_from_db()
    assert (upload.attempt, upload.line, Task.objects.count()) == (2, 0, 0)


def _somebody_else_claims(upload: Upload) -> Any:
    def crash_point(name: str) -> None:
        if name == "import.after_claim":
            _expire(upload)
            leases.claim(Upload, upload.pk, UploadState.RECEIVED, UploadState.IMPORTING)

    return crash_point


def test_an_upload_that_kills_its_worker_three_times_is_quarantined(dataset: Dataset, monkeypatch: Any):
    upload = receive(dataset, sums(3))
    monkeypatch.setattr(importing, "_import", _die)
    for _ in range(3):
        with pytest.raises(_Stopped):
            importing.import_upload(upload.pk)
        _expire(upload)

    importing.import_upload(upload.pk)

    upload.refresh_from_db()
    assert (upload.state, upload.failure) == ("failed", importing.QUARANTINED)


def _die(*_: Any) -> None:
    raise _Stopped


def test_attempts_that_get_on_are_not_counted_towards_quarantine(dataset: Dataset, settings: Any, monkeypatch: Any):
    settings.IMPORT_CHUNK_ROWS = 1
    upload = receive(dataset, sums(6))
    for _ in range(5):
        monkeypatch.setattr(importing, "crash_point", _stop_at("import.after_chunk", passing=1))
        with pytest.raises(_Stopped):
            importing.import_upload(upload.pk)
        _expire(upload)
    monkeypatch.undo()

    importing.import_upload(upload.pk)

    assert states(dataset) == ["valid"] * 6


@pytest.mark.parametrize(
    ("bytes_of_file", "says"),
    [
        (b"\x1f\x8b\x08\x00" + b"\x00" * 50, "damaged"),
        (bytes(range(256)) * 10, "binary"),
        (b"\n\n  \n", "no rows"),
        (b"[1, 2, 3]\n" * 30, "JSON"),
    ],
)
def test_an_unreadable_file_fails_with_a_sentence(dataset: Dataset, bytes_of_file: bytes, says: str):
    upload = imported(dataset, bytes_of_file)

    assert upload.state == UploadState.FAILED
    assert says in upload.failure


def test_a_truncated_file_keeps_its_good_rows_and_says_where_it_ended(dataset: Dataset):
    whole = lines(sums(3))

    upload = imported(dataset, whole[:-12])

    assert states(dataset) == ["valid"] * 2
    issue = upload.issues.get()
    assert (issue.line, issue.code) == (3, "truncated_file")


def test_a_file_that_is_gone_fails_with_a_sentence(dataset: Dataset):
    upload = receive(dataset, sums(1))
    uploads.stored_file(upload).unlink()

    importing.import_upload(upload.pk)

    upload.refresh_from_db()
    assert upload.failure == importing.MISSING


def test_a_failed_import_can_be_tried_again(dataset: Dataset, contributor: Person):
    upload = receive(dataset, sums(2))
    path = uploads.stored_file(upload)
    kept = path.read_bytes()
    path.unlink()
    importing.import_upload(upload.pk)
    path.write_bytes(kept)

    uploads.retry(upload, actor=contributor.user)
    importing.import_upload(upload.pk)

    assert states(dataset) == ["valid"] * 2


def test_an_imported_upload_waits_for_its_proof(dataset: Dataset):
    upload = imported(dataset, sums(1))

    assert ProofRun.objects.get(upload=upload).state == "pending"


def test_long_values_of_issues_are_cut_to_what_the_column_holds(dataset: Dataset):
    imported(dataset, [*sums(1), {"prompt": "x", "reference": "many " * 200}])

    assert len(RowIssue.objects.get().value) <= 200


def test_memory_does_not_grow_with_the_file(dataset: Dataset, settings: Any):
    """Few rows and long ones: runs of bands and counts of sentences grow with the rows, up to a bound of their own."""
    settings.IMPORT_CHUNK_ROWS, settings.IMPORT_ALONE_BYTES = 10, 0
    imported(dataset, sums(200))  # what is loaded once is loaded now
    peaks = []
    for number, count in enumerate((200, 600)):
        rows = sums(count, start=10_000 * (number + 1))
        upload = receive(dataset, [{**row, "prompt": row["prompt"] + " Say it." * 2500} for row in rows])
        tracemalloc.start()
        importing.import_upload(upload.pk)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < peaks[0] + 2_000_000  # the second file is 8 MB longer


def test_the_order_of_rows_does_not_change_what_a_dataset_holds(dataset: Dataset, ungraded: Dataset):
    rows = [{**row, "grader": {"type": "number"}} for row in sums(5)]
    imported(dataset, rows)
    first = sorted(task.content_digest for task in tasks(dataset))

    imported(ungraded, list(reversed(rows)))

    assert sorted(task.content_digest for task in tasks(ungraded)) == first


def test_metadata_and_unknown_columns_are_kept(dataset: Dataset):
    imported(dataset, [{**sums(1)[0], "metadata": {"source": "book"}, "hint": "double it"}])

    task = tasks(dataset)[0]
    assert (task.metadata, task.item["hint"]) == ({"source": "book"}, "double it")


def test_the_stored_prompt_is_the_one_that_was_uploaded(dataset: Dataset):
    prompt = "  What is 2³ − 1 ?  "

    imported(dataset, [{"prompt": prompt, "reference": 7}])

    assert tasks(dataset)[0].messages == [{"role": "user", "content": prompt}]


def test_a_withdrawn_task_does_not_keep_its_row_out(dataset: Dataset):
    imported(dataset, sums(1))
    task = tasks(dataset)[0]
    Task.objects.advance(task.pk, TaskState.VALID, TaskState.WITHDRAWN)

    imported(dataset, [*sums(1), *sums(1, start=50)])

    assert states(dataset) == ["withdrawn", "valid", "valid"]
    assert not DatasetTask.objects.filter(duplicate=True).exists()


def test_content_is_what_the_digest_says(dataset: Dataset):
    imported(dataset, sums(1))
    task = tasks(dataset)[0]

    assert preparation.content_digest_of(task.messages, task.item, task.gold, task.grader_id) == task.content_digest


LOOK_UPS = {
    "live": (storing._LIVE, "one_task_per_key"),
    "withdrawn": (storing._WITHDRAWN, "task_withdrawn_key"),
    "wrapped": (storing._WRAPPED, "task_wrapped"),
    "bare": (storing._BARE, "one_task_per_key"),
}


@pytest.mark.parametrize("name", LOOK_UPS)
def test_keys_are_looked_up_by_index_though_the_statistics_say_the_space_is_empty(
    name: str, dataset: Dataset, contributed: Dataset
):
    """A join that the planner believes small reads the whole space once a row: the plan must not depend on belief."""
    statement, index = LOOK_UPS[name]
    imported(dataset, sums(500))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tasks_task")
        cursor.execute("EXPLAIN " + statement, ["{" + "a" * 32 + "}", contributed.space_id])
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert f"Index Scan using {index}" in plan or f"Bitmap Index Scan on {index}" in plan
    assert "exact_key = k.key" in plan or "stripped_key = k.key" in plan
    assert "Seq Scan" not in plan


def test_the_bands_of_a_space_are_read_state_by_state_out_of_the_index(dataset: Dataset, contributed: Dataset):
    imported(dataset, sums(500))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tasks_task")
        given = {"states": ["valid", "proved"], "space": contributed.space_id, "after": 0, "most": 20_000}
        given |= {"version": NORM_VERSION, "bytes": 96}
        cursor.execute("EXPLAIN " + neighbours.BANDS_ABOVE, given)
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "using task_queue" in plan
    assert "Seq Scan" not in plan


def test_tasks_from_before_there_were_bands_do_not_hide_those_behind_them(dataset: Dataset, monkeypatch: Any):
    imported(dataset, sums(5))
    Task.objects.update(bands=None)
    imported(dataset, sums(5, start=5))
    monkeypatch.setattr(neighbours, "EXTENDED_AT_ONCE", 2)

    index = neighbours.caught_up(dataset.space)

    assert index.watermark == Task.objects.order_by("pk").last().pk


def test_a_chunk_that_was_prepared_with_another_grader_is_prepared_anew(dataset: Dataset, monkeypatch: Any):
    prepare = importing.prepare
    told: list[int] = []

    def while_the_grader_changes(stretch: Any, prepared_for: Dataset) -> Any:
        chunk = prepare(stretch, prepared_for)
        if not told:
            told.append(datasets.set_default_grader(dataset, {"type": "number", "absolute_tolerance": 1}, actor=None))
        return chunk

    monkeypatch.setattr(importing, "prepare", while_the_grader_changes)

    imported(dataset, sums(2))

    assert {task.grader_id for task in tasks(dataset)} == {dataset.default_grader_id}
