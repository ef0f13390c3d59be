import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tasks.models import Dataset, ProofRun, Upload, User
from tasks.services import accounts, datasets, leases, mapping, uploads
from tasks.services.importing import import_upload
from tasks.states import Role, UploadState
from tests import cast, world
from tests.cast import Person

NDJSON = "application/x-ndjson"


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


# The matrix of its graders


def loose(count: int) -> bytes:
    """Rows whose grader accepts whatever contains the answer; the last one's own right answer fails."""
    grader = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "{{ item.reference }}"}
    rows = [
        {"prompt": f"Is {n} odd?", "reference": ("yes", "no")[n % 2], "grader": {**grader, "operation": "like"}}
        for n in range(count)
    ]
    failing = {"prompt": "Add 2 and 3.", "reference": 5, "gold": "It is 6.", "grader": {"type": "number"}}
    return b"".join(json.dumps(row).encode() + b"\n" for row in [*rows, failing])


@pytest.fixture
def proved(contributor: Person) -> Upload:
    return world.imported(world.private_dataset(contributor, "Loose"), loose(8), contributor)


def test_the_matrix_counts_what_a_loose_grader_lets_through(contributor: Person, proved: Upload):
    kinds = contributor.api.get(f"/api/v1/uploads/{proved.pk}/matrix").json()

    cells = {
        (kind["type"], line["name"], cell["outcome"]): (cell["count"], cell["meaning"])
        for kind in kinds
        for line in kind["lines"]
        for cell in line["cells"]
    }
    assert cells["string_check", "every_candidate", "passed"] == (8, "false_accept")
    assert cells["number", "gold", "failed"] == (1, "false_reject")


def test_the_estimate_is_told_without_its_lines(contributor: Person, proved: Upload):
    estimate = {"judged_rows": 9, "sample_rows": 2, "calls": 14, "tokens": 900, "models": ["m"]}
    ProofRun.objects.update(estimate={**estimate, "lines": [1, 5], "candidates": [[1, 1, 60], [5, 1, 60]]})

    assert contributor.api.get(f"/api/v1/uploads/{proved.pk}").json()["proof"]["estimate"] == estimate


def test_a_cell_of_the_matrix_lists_its_rows_page_by_page(contributor: Person, proved: Upload):
    path = f"/api/v1/uploads/{proved.pk}/matrix/rows?grader=string_check&row=every_candidate&cell=passed&limit=5"

    first = contributor.api.get(path).json()
    second = contributor.api.get(f"{path}&after={first['next_after']}").json()

    lines = [row["line"] for page in (first, second) for row in page["rows"]]
    assert (lines, second["next_after"]) == ([1, 2, 3, 4, 5, 6, 7, 8], None)


def test_a_cell_that_the_matrix_does_not_have_is_400(contributor: Person, proved: Upload):
    reply = contributor.api.get(f"/api/v1/uploads/{proved.pk}/matrix/rows?grader=number&row=gold&cell=nothing")

    assert (reply.status_code, reply.json()["code"]) == (400, "unknown_cell")


def test_proving_again_counts_what_could_not_be_graded(contributor: Person, proved: Upload):
    assert contributor.api.post(f"/api/v1/uploads/{proved.pk}/prove", {}, format="json").json() == {"rows": 0}


CELL = "matrix/rows?grader=string_check&row=every_candidate&cell=passed"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "matrix"), ("GET", CELL), ("POST", "prove"), ("POST", "judge")], ids=str
)
def test_the_proof_of_another_teams_upload_is_404(stranger: Person, proved: Upload, method: str, path: str):
    reply = stranger.api.generic(method, f"/api/v1/uploads/{proved.pk}/{path}", "{}", content_type="application/json")

    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


@pytest.fixture
def onlooker(contributor: Person) -> Person:
    """In the team without being a contributor: what it holds may be seen, not changed."""
    user = User.objects.create_user("olga")
    accounts.join(contributor.team, user, Role.REVIEWER, actor=contributor.user)
    return Person(user, contributor.team, cast.key(user, contributor.team))


@pytest.mark.parametrize("path", ["matrix", CELL], ids=str)
def test_who_only_looks_on_sees_the_matrix(onlooker: Person, proved: Upload, path: str):
    assert onlooker.api.get(f"/api/v1/uploads/{proved.pk}/{path}").status_code == 200


@pytest.mark.parametrize("path", ["prove", "judge"])
def test_who_only_looks_on_can_neither_prove_again_nor_spend_tokens(onlooker: Person, proved: Upload, path: str):
    reply = onlooker.api.post(f"/api/v1/uploads/{proved.pk}/{path}", {}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (403, "role_missing")


@pytest.mark.parametrize("path", ["prove", "judge"])
def test_a_key_that_only_reads_can_neither_prove_again_nor_spend_tokens(contributor: Person, proved: Upload, path: str):
    reader = Person(contributor.user, contributor.team, cast.key(contributor.user, contributor.team, ["read"]))

    assert reader.api.post(f"/api/v1/uploads/{proved.pk}/{path}", {}, format="json").status_code == 403


def test_without_judges_there_is_nothing_to_agree_to(contributor: Person, proved: Upload):
    reply = contributor.api.post(f"/api/v1/uploads/{proved.pk}/judge", {"rows": 5}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (409, "nothing_to_confirm")


# Formats, modes and mappings

CSV = b"frage,antwort\nWas ist 1 + 1?,2\nWas ist 2 + 2?,4\n"
CHOSEN = {"columns": {"frage": "prompt", "antwort": "reference"}}


@pytest.fixture
def unmapped(contributor: Person, dataset: Dataset) -> Upload:
    upload = Upload.objects.get(pk=send(contributor, dataset, CSV, filename="fragen.csv").json()["id"])
    leases.claim(Upload, upload.pk, UploadState.RECEIVED, UploadState.IMPORTING)
    upload.refresh_from_db()
    mapping.look(upload)
    upload.refresh_from_db()
    return upload


def test_how_a_file_is_taken_is_said_in_the_address(contributor: Person, dataset: Dataset):
    reply = send(contributor, dataset, CSV, mode="replace", mapping=quote(json.dumps(CHOSEN)))

    assert (reply.json()["mode"], reply.json()["mapping"]) == ("replace", CHOSEN)


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


def test_a_file_that_waits_says_what_it_is(contributor: Person, unmapped: Upload):
    told = contributor.api.get(f"/api/v1/uploads/{unmapped.pk}").json()

    columns = [column["name"] for column in told["detected"]["columns"]]
    assert (told["state"], told["format"], told["mapping"], columns) == ("unmapped", "csv", None, ["frage", "antwort"])


def test_a_preview_shows_rows_beside_what_they_become(contributor: Person, unmapped: Upload):
    reply = contributor.api.post(f"/api/v1/uploads/{unmapped.pk}/mapping/preview", {"mapping": CHOSEN}, format="json")

    first = reply.json()[0]
    assert (first["raw"], first["task"]["item"]) == ({"frage": "Was ist 1 + 1?", "antwort": "2"}, {"reference": "2"})


def test_confirming_a_mapping_begins_the_import(contributor: Person, unmapped: Upload):
    reply = contributor.api.post(f"/api/v1/uploads/{unmapped.pk}/mapping", {"mapping": CHOSEN}, format="json")

    assert (reply.status_code, reply.json()["state"], reply.json()["mapping"]) == (200, "received", CHOSEN)


def test_a_mapping_is_confirmed_once(contributor: Person, unmapped: Upload):
    contributor.api.post(f"/api/v1/uploads/{unmapped.pk}/mapping", {"mapping": CHOSEN}, format="json")

    reply = contributor.api.post(f"/api/v1/uploads/{unmapped.pk}/mapping", {"mapping": CHOSEN}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (409, "not_unmapped")


@pytest.mark.parametrize("path", ["mapping", "mapping/preview"])
@pytest.mark.parametrize("given", [7, "nonsense", [], {"columns": {"x": "prompt"}}, {"colums": {}}])
def test_a_mapping_that_makes_no_tasks_is_refused(contributor: Person, unmapped: Upload, path: str, given: Any):
    reply = contributor.api.post(f"/api/v1/uploads/{unmapped.pk}/{path}", {"mapping": given}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (400, "bad_mapping")


def test_who_only_looks_on_cannot_confirm(onlooker: Person, unmapped: Upload):
    reply = onlooker.api.post(f"/api/v1/uploads/{unmapped.pk}/mapping", {"mapping": CHOSEN}, format="json")

    assert reply.status_code == 403
