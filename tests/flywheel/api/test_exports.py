"""Datasets out, differences between versions, corrections and appeals by program."""

import io
import json
import zipfile
from typing import Any

import pytest

from tasks.models import Dataset, RowIssue, Task, Upload
from tasks.services import datasets, reviews
from tasks.services.importing import import_upload
from tests import world
from tests.cast import Person


@pytest.fixture
def gifts(contributor: Person, reviewer: Person) -> Dataset:
    """Contributed, approved, with a version."""
    dataset = world.contributed_dataset(contributor)
    world.imported(dataset, world.rows(40), contributor)
    reviews.bulk({"state": "proved"}, "approved", reviewer=reviewer.user)
    datasets.freeze(dataset, actor=contributor.user)
    return dataset


@pytest.fixture
def own(contributor: Person) -> Dataset:
    dataset = world.private_dataset(contributor)
    world.imported(dataset, world.rows(3) + b"{oops\n", contributor)
    return dataset


def body(reply: Any) -> bytes:
    return b"".join(reply.streaming_content)


# Export


def test_a_version_is_exported_in_a_dialect(contributor: Person, gifts: Dataset):
    reply = contributor.api.get(f"/api/v1/datasets/{gifts.pk}/versions/1/export?format=trl")

    rows = [json.loads(line) for line in body(reply).splitlines()]
    assert (reply.status_code, set(rows[0])) == (200, {"prompt", "solution"})


def test_the_file_is_named_after_what_it_is(contributor: Person, gifts: Dataset):
    reply = contributor.api.get(f"/api/v1/datasets/{gifts.pk}/export?format=csv&gzip=true")

    assert reply["Content-Disposition"] == 'attachment; filename="carla-team-gifts-now.csv.gz"'


def test_an_archive_is_a_zip_with_a_card(contributor: Person, gifts: Dataset):
    reply = contributor.api.get(f"/api/v1/datasets/{gifts.pk}/versions/1/export?archive=true&format=parquet")

    names = zipfile.ZipFile(io.BytesIO(body(reply))).namelist()
    assert {"README.md", "croissant.json", "graders.json", "data/train.parquet"} <= set(names)


def test_the_sealed_split_of_a_contributed_dataset_is_refused(contributor: Person, gifts: Dataset):
    reply = contributor.api.get(f"/api/v1/datasets/{gifts.pk}/export?sealed=true")

    assert (reply.status_code, reply.json()["code"]) == (403, "sealed")


def test_an_unknown_format_is_a_problem_of_its_field(contributor: Person, gifts: Dataset):
    reply = contributor.api.get(f"/api/v1/datasets/{gifts.pk}/export?format=docx")

    assert (reply.status_code, reply.json()["param"]) == (400, "format")


def test_a_version_that_is_not_there_is_404(contributor: Person, gifts: Dataset):
    assert contributor.api.get(f"/api/v1/datasets/{gifts.pk}/versions/7/export").status_code == 404


def test_a_stranger_exports_nothing(stranger: Person, gifts: Dataset):
    assert stranger.api.get(f"/api/v1/datasets/{gifts.pk}/export").status_code == 404


# Differences


def test_what_changed_since_the_newest_version_is_counted(contributor: Person, reviewer: Person, gifts: Dataset):
    world.imported(gifts, world.rows(2, start=500), contributor)
    reviews.bulk({"state": "proved"}, "approved", reviewer=reviewer.user)

    found = contributor.api.get(f"/api/v1/datasets/{gifts.pk}/changes").json()

    assert (found["added"], found["removed"], found["same"], len(found["rows"])) == (2, 0, 40, 2)


def test_a_dataset_without_a_version_has_nothing_to_compare(contributor: Person, own: Dataset):
    reply = contributor.api.get(f"/api/v1/datasets/{own.pk}/changes")

    assert (reply.status_code, reply.json()["code"]) == (404, "no_version")


# Corrections


def test_rejected_rows_come_in_the_format_uploaded(contributor: Person, own: Dataset):
    reply = contributor.api.get(f"/api/v1/uploads/{own.uploads.get().pk}/rejected")

    (row,) = (json.loads(line) for line in body(reply).splitlines())
    assert (row["_line"], row["_raw"]) == (4, "{oops")


def test_a_task_is_corrected_by_an_upload_of_its_own(contributor: Person, own: Dataset):
    task = Task.objects.earliest("pk")

    made = contributor.api.patch(f"/api/v1/tasks/{task.pk}", {"item": {"reference": 8}}, format="json").json()

    assert (made["task"], Upload.objects.get(pk=made["upload"]).corrects) == (task.pk, own.uploads.earliest("pk"))


def test_a_correction_that_is_wrong_says_what_and_where(contributor: Person, own: Dataset):
    task = Task.objects.earliest("pk")

    reply = contributor.api.patch(f"/api/v1/tasks/{task.pk}", {"item": {"reference": "many"}}, format="json")

    assert (reply.status_code, reply.json()["param"]) == (400, "reference")


def test_other_words_are_taken_by_the_task_itself(contributor: Person, own: Dataset):
    task = Task.objects.earliest("pk")

    made = contributor.api.patch(f"/api/v1/tasks/{task.pk}", {"domain": "adding"}, format="json").json()

    assert (made["upload"], Task.objects.get(pk=task.pk).domain) == (None, "adding")


def test_the_pools_reviewer_corrects_no_task_of_others(reviewer: Person, gifts: Dataset):
    task = Task.objects.earliest("pk")

    reply = reviewer.api.patch(f"/api/v1/tasks/{task.pk}", {"domain": "mine"}, format="json")

    assert reply.status_code == 400


# Appeals


def test_an_appeal_about_a_task_is_asked_and_granted(contributor: Person, reviewer: Person, gifts: Dataset):
    world.imported(gifts, world.rows(1, start=900), contributor)
    task = Task.objects.latest("pk")
    reviews.reject(task, reviewer=reviewer.user, reason_code="unclear")

    asked = contributor.api.post("/api/v1/appeals", {"task": task.pk, "note": "It is clear."}, format="json").json()
    granted = reviewer.api.post(f"/api/v1/appeals/{asked['id']}/grant", {"answer": "Yes."}, format="json").json()

    assert (asked["state"], granted["state"], Task.objects.get(pk=task.pk).state) == ("open", "granted", "proved")


def test_an_appeal_about_a_row_that_was_refused(contributor: Person, own: Dataset):
    upload = own.uploads.get()
    RowIssue.objects.filter(upload=upload).update(code="personal_data")

    asked = {"upload": upload.pk, "line": 4, "note": "It is nobody's."}
    reply = contributor.api.post("/api/v1/appeals", asked, format="json")

    assert (reply.status_code, reply.json()["code"]) == (201, "personal_data")


def test_an_appeal_says_about_what(contributor: Person):
    reply = contributor.api.post("/api/v1/appeals", {"note": "Please."}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (400, "subject_missing")


def test_the_contributor_reads_the_answer_and_answers_nothing(contributor: Person, reviewer: Person, gifts: Dataset):
    world.imported(gifts, world.rows(1, start=900), contributor)
    task = Task.objects.latest("pk")
    reviews.reject(task, reviewer=reviewer.user, reason_code="unclear")
    asked = contributor.api.post("/api/v1/appeals", {"task": task.pk, "note": "Clear."}, format="json").json()

    own_answer = contributor.api.post(f"/api/v1/appeals/{asked['id']}/refuse", {"answer": "x"}, format="json")
    reviewer.api.post(f"/api/v1/appeals/{asked['id']}/refuse", {"answer": "No."}, format="json")

    assert own_answer.status_code == 403
    assert contributor.api.get(f"/api/v1/appeals/{asked['id']}").json()["answer"] == "No."


def test_a_replacement_is_brought_back_by_the_same_bytes(contributor: Person, own: Dataset):
    from tasks.services import settling

    replacement = contributor.api.post(
        f"/api/v1/uploads?dataset={own.pk}&mode=replace", world.rows(1, start=70), content_type="application/x-ndjson"
    ).json()
    import_upload(replacement["id"])
    settling.settle(replacement["id"])

    again = contributor.api.post(
        f"/api/v1/uploads?dataset={own.pk}", world.rows(3) + b"{oops\n", content_type="application/x-ndjson"
    )

    assert (again.status_code, again.json()["state"]) == (200, "received")
