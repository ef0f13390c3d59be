import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tasks.models import Dataset, Upload
from tasks.services import datasets, uploads
from tasks.services.importing import import_upload
from tests import world
from tests.cast import Person

NDJSON = "application/x-ndjson"
CSV = b"frage,antwort\nWas ist 1 + 1?,2\nWas ist 2 + 2?,4\n"
CHOSEN = {"columns": {"frage": "prompt", "antwort": "reference"}}


@pytest.fixture
def dataset(contributor: Person) -> Dataset:
    return world.private_dataset(contributor)


def send(person: Person, dataset: Dataset | str, body: bytes, **query: str) -> Any:
    ref = dataset if isinstance(dataset, str) else str(dataset.pk)
    path = "/api/v1/uploads?" + "&".join(f"{name}={value}" for name, value in {"dataset": ref, **query}.items())
    return person.api.generic("POST", path, body, content_type=NDJSON)


def stored_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def media(tmp_path: Path, settings: Any) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def test_a_raw_body_becomes_an_upload(contributor: Person, dataset: Dataset):
    reply = send(contributor, dataset, world.rows(3), filename="sums.jsonl")

    assert reply.status_code == 201
    assert reply.json() | {"filename": "sums.jsonl", "bytes": len(world.rows(3)), "state": "received"} == reply.json()


def test_a_dataset_may_be_named_by_team_and_slug(contributor: Person, dataset: Dataset):
    assert send(contributor, str(dataset), world.rows(1)).json()["dataset"] == dataset.pk


def test_the_same_bytes_again_answer_with_the_first_upload(contributor: Person, dataset: Dataset):
    first = send(contributor, dataset, world.rows(3))

    second = send(contributor, dataset, world.rows(3))

    assert (second.status_code, second.json()["id"]) == (200, first.json()["id"])


def test_a_form_with_the_dataset_ahead_of_the_file_becomes_an_upload(contributor: Person, dataset: Dataset):
    file = SimpleUploadedFile("sums.jsonl", world.rows(3))

    reply = contributor.api.post("/api/v1/uploads", {"dataset": dataset.pk, "file": file}, format="multipart")

    assert (reply.status_code, reply.json()["filename"]) == (201, "sums.jsonl")
    assert uploads.stored_file(Upload.objects.get()).read_bytes() == world.rows(3)


def test_a_form_with_the_dataset_behind_the_file_is_told_to_turn_them_round(contributor: Person, dataset: Dataset):
    file = SimpleUploadedFile("sums.jsonl", world.rows(3))

    reply = contributor.api.post("/api/v1/uploads", {"file": file, "dataset": dataset.pk}, format="multipart")

    assert (reply.status_code, reply.json()["code"]) == (400, "dataset_missing")


def test_a_form_from_a_signed_in_browser_becomes_an_upload(contributor: Person, dataset: Dataset):
    browser = contributor.browser
    browser.handler.enforce_csrf_checks = False
    file = SimpleUploadedFile("sums.jsonl", world.rows(3))

    reply = browser.post(f"/api/v1/uploads?dataset={dataset.pk}", {"file": file}, format="multipart")

    assert reply.status_code == 201
    assert uploads.stored_file(Upload.objects.get()).read_bytes() == world.rows(3)


def test_a_browser_without_a_csrf_token_is_refused(contributor: Person, dataset: Dataset):
    reply = contributor.browser.generic(
        "POST", f"/api/v1/uploads?dataset={dataset.pk}", world.rows(3), content_type=NDJSON
    )

    assert (reply.status_code, Upload.objects.count()) == (403, 0)


def test_a_body_without_a_length_is_read_to_its_end(contributor: Person, dataset: Dataset):
    """Chunked transfer: the server in front (gunicorn) ends the stream and says so."""
    reply = contributor.api.generic(
        "POST",
        f"/api/v1/uploads?dataset={dataset.pk}",
        content_type=NDJSON,
        **{"wsgi.input": io.BytesIO(world.rows(3)), "wsgi.input_terminated": True},
    )

    assert (reply.status_code, reply.json()["bytes"]) == (201, len(world.rows(3)))


def test_a_connection_that_ends_early_leaves_nothing(contributor: Person, dataset: Dataset, media: Path):
    body = world.rows(3)

    reply = contributor.api.generic(
        "POST",
        f"/api/v1/uploads?dataset={dataset.pk}",
        body,
        content_type=NDJSON,
        CONTENT_LENGTH=str(len(body)),
        **{"wsgi.input": io.BytesIO(body[:50])},
    )

    assert (reply.status_code, reply.json()["code"]) == (400, "upload_cut_off")
    assert (Upload.objects.count(), stored_files(media)) == (0, [])


def test_a_form_that_ends_early_leaves_nothing(contributor: Person, dataset: Dataset, media: Path):
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'

    reply = contributor.api.generic(
        "POST",
        f"/api/v1/uploads?dataset={dataset.pk}",
        b"",
        content_type="multipart/form-data; boundary=x",
        CONTENT_LENGTH="5000",
        **{"wsgi.input": io.BytesIO(head + world.rows(2))},
    )

    assert (reply.status_code, reply.json()["code"]) == (400, "upload_cut_off")
    assert (Upload.objects.count(), stored_files(media)) == (0, [])


def test_a_large_file_is_read_in_pieces(contributor: Person, dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    longest = 0
    keep = uploads.receive

    def watched(dataset: Dataset, stream: Any, **kwargs: Any) -> Any:
        def pieces() -> Iterator[bytes]:
            nonlocal longest
            for piece in stream:
                longest = max(longest, len(piece))
                yield piece

        return keep(dataset, pieces(), **kwargs)

    monkeypatch.setattr(uploads, "receive", watched)
    send(contributor, dataset, world.rows(20_000))

    assert 0 < longest <= 256 * 1024


@pytest.mark.parametrize(
    ("body", "kind", "query", "status", "code"),
    [
        (b"", NDJSON, "?dataset=D", 400, "empty_file"),
        (b"x", NDJSON, "", 400, "dataset_missing"),
        (b"x", NDJSON, "?dataset=nobody/nothing", 404, "not_found"),
        (b"x", NDJSON, "?dataset=99999999999999999999", 404, "not_found"),
        (b"{}", "application/json", "?dataset=D", 415, "unsupported_media_type"),
        (b"x", "multipart/form-data", "?dataset=D", 400, "form_unreadable"),
        (b"--b--\r\n", "multipart/form-data; boundary=b", "?dataset=D", 400, "file_missing"),
    ],
)
def test_bad_input_is_one_clear_error(
    contributor: Person, dataset: Dataset, body: bytes, kind: str, query: str, status: int, code: str
):
    path = "/api/v1/uploads" + query.replace("D", str(dataset.pk))

    reply = contributor.api.generic("POST", path, body, content_type=kind)

    assert (reply.status_code, reply.json()["code"]) == (status, code)


def test_a_file_over_the_limit_is_refused_before_it_is_read(contributor: Person, dataset: Dataset, settings: Any):
    settings.UPLOAD_MAX_BYTES = 10

    reply = send(contributor, dataset, world.rows(3))

    assert (reply.status_code, reply.json()["code"]) == (413, "file_too_large")


def test_a_stranger_cannot_upload_to_it(stranger: Person, dataset: Dataset):
    assert send(stranger, dataset, world.rows(1)).status_code == 404


def test_an_imported_upload_shows_counts_and_progress(contributor: Person, dataset: Dataset):
    upload = world.imported(dataset, world.rows(3), contributor)

    shown = contributor.api.get(f"/api/v1/uploads/{upload.pk}").json()

    assert (shown["state"], shown["share_done"], shown["proof"]["state"]) == ("imported", 1.0, "done")
    assert shown["rows_per_second"] > 0


def test_row_issues_are_listed_by_line_and_filtered_by_code(contributor: Person, dataset: Dataset):
    body = b"{broken\n" + world.rows(1) + b'{"item": {}}\n'
    upload = world.imported(dataset, body, contributor)
    issues = contributor.api.get(f"/api/v1/uploads/{upload.pk}/issues").json()["results"]

    first = contributor.api.get(f"/api/v1/uploads/{upload.pk}/issues?code={issues[0]['code']}").json()["results"]

    assert issues[0]["line"] == 1
    assert {issue["code"] for issue in first} == {issues[0]["code"]}


def test_a_failed_upload_is_imported_again(contributor: Person, dataset: Dataset):
    upload, _ = uploads.receive(dataset, [world.rows(3)], filename="x", actor=contributor.user)
    Upload.objects.filter(pk=upload.pk).update(state="failed")

    reply = contributor.api.post(f"/api/v1/uploads/{upload.pk}/retry", {}, format="json")
    import_upload(upload.pk)

    assert (reply.json()["state"], Upload.objects.get().state) == ("received", "imported")


def test_an_upload_that_did_not_fail_is_not_imported_again(contributor: Person, dataset: Dataset):
    upload = world.imported(dataset, world.rows(3), contributor)

    assert contributor.api.post(f"/api/v1/uploads/{upload.pk}/retry", {}, format="json").status_code == 409


def test_uploads_are_filtered_by_dataset(contributor: Person, dataset: Dataset):
    other = datasets.create(contributor.team, "Other", actor=contributor.user)
    send(contributor, dataset, world.rows(1))
    send(contributor, other, world.rows(2))

    shown = contributor.api.get(f"/api/v1/uploads?dataset={other.pk}").json()["results"]

    assert [upload["dataset"] for upload in shown] == [other.pk]


# How its rows are to be taken


def test_how_a_file_is_taken_is_said_in_the_address(contributor: Person, dataset: Dataset):
    reply = send(contributor, dataset, CSV, mode="replace", mapping=quote(json.dumps(CHOSEN)))

    assert (reply.json()["mode"], reply.json()["mapping"]) == ("replace", CHOSEN)


def test_the_same_bytes_with_another_mapping_are_a_conflict(contributor: Person, dataset: Dataset):
    send(contributor, dataset, CSV, mapping=quote(json.dumps(CHOSEN)))
    otherwise = {"columns": {"antwort": "prompt", "frage": "reference"}}

    reply = send(contributor, dataset, CSV, mapping=quote(json.dumps(otherwise)))

    assert (reply.status_code, reply.json()["code"]) == (409, "mapped_otherwise")


def test_how_a_file_is_taken_is_said_in_a_form(contributor: Person, dataset: Dataset):
    file = SimpleUploadedFile("fragen.csv", CSV)

    reply = contributor.api.post(
        "/api/v1/uploads", {"dataset": dataset.pk, "mapping": "auto", "file": file}, format="multipart"
    )

    assert reply.json()["mapping"] == "auto"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"mode": "erase"}, 400, "unknown_mode"),
        ({"mapping": "nonsense"}, 400, "bad_mapping"),
        ({"mapping": '{"columns": {"a": "reference"}}'}, 400, "bad_mapping"),
        ({"corrects": "99999"}, 404, "not_found"),
        ({"corrects": "one"}, 400, "bad_corrects"),
    ],
)
def test_what_cannot_be_taken_so_is_refused(
    contributor: Person, dataset: Dataset, query: dict[str, str], status: int, code: str
):
    reply = send(contributor, dataset, CSV, **{name: quote(value) for name, value in query.items()})

    assert (reply.status_code, reply.json()["code"]) == (status, code)


def test_an_upload_of_another_dataset_cannot_be_corrected(contributor: Person, dataset: Dataset):
    other = world.private_dataset(contributor, "Other")
    first = send(contributor, other, CSV).json()["id"]

    assert send(contributor, dataset, CSV, corrects=str(first)).status_code == 404


# An upload that waits, given up


def withdrawn(person: Person, upload: Upload) -> Any:
    return person.api.post(f"/api/v1/uploads/{upload.pk}/withdraw", {}, format="json")


def test_an_upload_that_waits_is_withdrawn(contributor: Person, unmapped: Upload):
    reply = withdrawn(contributor, unmapped)

    assert (reply.status_code, reply.json()["state"]) == (200, "failed")
    assert "Withdrawn before a row of it was imported" in reply.json()["failure"]


def test_an_upload_is_withdrawn_once(contributor: Person, unmapped: Upload):
    withdrawn(contributor, unmapped)

    reply = withdrawn(contributor, unmapped)

    assert (reply.status_code, reply.json()["code"]) == (409, "not_unmapped")


def test_what_was_withdrawn_is_not_imported_again(contributor: Person, unmapped: Upload):
    withdrawn(contributor, unmapped)

    reply = contributor.api.post(f"/api/v1/uploads/{unmapped.pk}/retry", {}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (409, "withdrawn")


def test_what_was_withdrawn_has_no_rejected_rows(contributor: Person, unmapped: Upload):
    withdrawn(contributor, unmapped)

    reply = contributor.api.get(f"/api/v1/uploads/{unmapped.pk}/rejected")

    assert (reply.status_code, reply.json()["code"]) == (404, "nothing_rejected")


def test_who_only_looks_on_cannot_withdraw(onlooker: Person, unmapped: Upload):
    assert withdrawn(onlooker, unmapped).status_code == 403


def test_a_stranger_cannot_withdraw(stranger: Person, unmapped: Upload):
    assert withdrawn(stranger, unmapped).status_code == 404
