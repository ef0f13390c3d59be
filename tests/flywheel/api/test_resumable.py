"""tus 1.0 as its clients speak it, with an API key and with a browser's session."""

import base64
import hashlib
import io
from typing import Any

import pytest
from django.core.handlers.base import BaseHandler
from django.test import RequestFactory

from tasks.formats import hub
from tasks.models import Dataset, PartialUpload, Upload
from tasks.services import fetching, resumable, uploads
from tests import cast, world
from tests.cast import Person

pytestmark = pytest.mark.django_db

ROOT = "/api/v1/uploads/resumable"
TUS = {"Tus-Resumable": "1.0.0"}
PIECE = "application/offset+octet-stream"
BODY = world.rows(4)
LENGTH = len(BODY)
HALF = LENGTH // 2


@pytest.fixture
def dataset(contributor: Person) -> Dataset:
    return world.private_dataset(contributor)


def metadata(**values: str) -> str:
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in values.items())


def create(client: Any, dataset: Dataset | str, length: Any = LENGTH, **values: str) -> Any:
    given = metadata(dataset=str(dataset), filename="sums.jsonl", **values)
    headers = {**TUS, "Upload-Length": str(length), "Upload-Metadata": given}
    return client.post(ROOT, headers=headers)


def patch(client: Any, address: str, body: bytes, at: int, **headers: str) -> Any:
    return client.generic(
        "PATCH",
        address,
        body,
        content_type=headers.pop("content_type", PIECE),
        headers={**TUS, "Upload-Offset": str(at), **headers},
    )


@pytest.fixture
def address(contributor: Person, dataset: Dataset) -> str:
    return str(create(contributor.api, dataset)["Location"])


def test_a_file_in_two_pieces_becomes_an_upload(contributor: Person, address: str):
    first = patch(contributor.api, address, BODY[:HALF], 0)

    last = patch(contributor.api, address, BODY[HALF:], HALF)

    upload = Upload.objects.get()
    assert (first.status_code, first["Upload-Offset"]) == (204, str(HALF))
    assert (last.status_code, last["Upload-Offset"]) == (204, str(len(BODY)))
    assert (last["Upload-Id"], last["Content-Location"]) == (str(upload.pk), f"/api/v1/uploads/{upload.pk}")
    assert uploads.stored_file(upload).read_bytes() == BODY


def test_the_end_again_answers_with_the_same_upload(contributor: Person, address: str):
    first = patch(contributor.api, address, BODY, 0)

    again = patch(contributor.api, address, b"", len(BODY))

    assert (again.status_code, again["Upload-Id"]) == (204, first["Upload-Id"])


def test_head_tells_how_far_it_is(contributor: Person, address: str):
    patch(contributor.api, address, BODY[:HALF], 0)

    reply = contributor.api.head(address, headers=TUS)

    told = (reply["Upload-Offset"], reply["Upload-Length"], reply["Cache-Control"], reply["Tus-Resumable"])
    assert (reply.status_code, told) == (200, (str(HALF), str(len(BODY)), "no-store", "1.0.0"))


def test_head_sends_nothing_but_headers(contributor: Person, address: str):
    product = BaseHandler()  # Django's test client drops by itself what should not be there
    product.load_middleware()
    headers = {**TUS, "Authorization": f"Bearer {contributor.secret}"}

    reply = product.get_response(RequestFactory().head(address, headers=headers))

    assert (reply.status_code, reply["Upload-Offset"], reply.content) == (200, "0", b"")


def test_get_tells_a_person_how_far_it_is(contributor: Person, address: str):
    patch(contributor.api, address, BODY[:HALF], 0)

    told = contributor.api.get(address).json()

    assert (told["offset"], told["length"], told["upload"]) == (HALF, len(BODY), None)


def test_ones_own_are_listed(contributor: Person, address: str):
    assert [one["filename"] for one in contributor.api.get(ROOT).json()["results"]] == ["sums.jsonl"]


def test_a_colleague_does_not_see_them(contributor: Person, stranger: Person, address: str):
    from tasks.services import accounts
    from tasks.states import Role

    accounts.join(contributor.team, stranger.user, Role.CONTRIBUTOR, actor=contributor.user)
    key = cast.key(stranger.user, contributor.team)

    assert Person(stranger.user, contributor.team, key).api.get(address).status_code == 404


def test_a_piece_that_breaks_off_is_kept(contributor: Person, address: str):
    reply = contributor.api.generic(
        "PATCH",
        address,
        BODY,
        content_type=PIECE,
        headers={**TUS, "Upload-Offset": "0"},
        CONTENT_LENGTH=str(len(BODY)),
        **{"wsgi.input": io.BytesIO(BODY[:50])},
    )

    assert (reply.status_code, contributor.api.head(address, headers=TUS)["Upload-Offset"]) == (400, "50")


def test_a_piece_without_a_length_is_read_to_its_end(contributor: Person, address: str):
    """Chunked transfer: the server in front (gunicorn) ends the stream and says so."""
    reply = contributor.api.generic(
        "PATCH",
        address,
        content_type=PIECE,
        headers={**TUS, "Upload-Offset": "0"},
        **{"wsgi.input": io.BytesIO(BODY), "wsgi.input_terminated": True},
    )

    assert reply["Upload-Offset"] == str(len(BODY))


def test_a_piece_with_its_checksum_is_taken(contributor: Person, address: str):
    digest = base64.b64encode(hashlib.sha1(BODY).digest()).decode()

    assert patch(contributor.api, address, BODY, 0, **{"Upload-Checksum": f"sha1 {digest}"}).status_code == 204


def test_options_say_what_is_spoken_to_anybody(client: Any):
    reply = client.options(ROOT)

    assert (reply.status_code, reply["Tus-Version"], reply["Tus-Max-Size"]) == (204, "1.0.0", str(8 * 2**30))
    assert reply["Tus-Extension"] == "creation,termination,expiration,checksum"


def test_what_is_given_up_is_gone(contributor: Person, address: str):
    reply = contributor.api.delete(address, headers=TUS)

    assert (reply.status_code, contributor.api.head(address, headers=TUS).status_code) == (204, 404)


def test_a_post_may_stand_for_a_patch(contributor: Person, address: str):
    reply = contributor.api.generic(
        "POST",
        address,
        BODY,
        content_type=PIECE,
        headers={**TUS, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"},
    )

    assert reply["Upload-Offset"] == str(len(BODY))


@pytest.mark.parametrize(
    ("at", "headers", "status", "code"),
    [
        ("1", {}, 409, "offset_differs"),
        ("x", {}, 400, "bad_header"),
        ("-1", {}, 400, "bad_header"),
        ("0", {"content_type": "application/json"}, 415, "unsupported_media_type"),
        ("0", {"Tus-Resumable": "0.2.2"}, 412, "wrong_version"),
        ("0", {"Upload-Checksum": "crc9 AAAA"}, 400, "unknown_checksum"),
        ("0", {"Upload-Checksum": "sha1 AAAA"}, 460, "checksum_differs"),
        (str(len(BODY)), {}, 413, "more_than_announced"),
    ],
)
def test_a_piece_that_cannot_be_right_is_one_clear_error(
    contributor: Person, address: str, at: Any, headers: dict[str, str], status: int, code: str
):
    reply = patch(contributor.api, address, b"x", at, **headers)

    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert resumable.offset(PartialUpload.objects.get()) == 0


def test_a_server_without_the_version_says_which_it_speaks(contributor: Person, address: str):
    assert patch(contributor.api, address, b"x", 0, **{"Tus-Resumable": "2"})["Tus-Version"] == "1.0.0"


@pytest.mark.parametrize(
    ("length", "values", "status", "code"),
    [
        ("", {}, 400, "bad_header"),
        ("0", {}, 400, "empty_file"),
        (str(2**34), {}, 413, "file_too_large"),
        ("9" * 19, {}, 400, "bad_header"),
        ("10", {"mode": "nonsense"}, 400, "unknown_mode"),
        ("10", {"mapping": "{"}, 400, "bad_mapping"),
        ("10", {"mapping": "[]"}, 400, "bad_mapping"),
        ("10", {"corrects": "x"}, 400, "bad_corrects"),
        ("10", {"corrects": "999999"}, 404, "not_found"),
    ],
)
def test_an_announcement_that_cannot_be_right_is_one_clear_error(
    contributor: Person, dataset: Dataset, length: str, values: dict[str, str], status: int, code: str
):
    reply = create(contributor.api, dataset, length, **values)

    assert (reply.status_code, reply.json()["code"]) == (status, code)


@pytest.mark.parametrize("given", ["", "filename c3Vtcw==", "dataset ?"])
def test_an_announcement_without_a_dataset_is_refused(contributor: Person, given: str):
    reply = contributor.api.post(ROOT, headers={**TUS, "Upload-Length": "9", "Upload-Metadata": given})

    assert reply.status_code == 400


def test_a_stranger_cannot_announce_a_file(stranger: Person, dataset: Dataset):
    assert create(stranger.api, dataset).status_code == 404


@pytest.mark.parametrize("method", ["HEAD", "GET", "PATCH", "DELETE"])
def test_another_persons_file_is_404(stranger: Person, address: str, method: str):
    reply = stranger.api.generic(method, address, b"", content_type=PIECE, headers={**TUS, "Upload-Offset": "0"})

    assert reply.status_code == 404


def test_a_key_that_only_reads_cannot_send(contributor: Person, address: str):
    reader = Person(contributor.user, contributor.team, cast.key(contributor.user, contributor.team, ["read"]))

    assert patch(reader.api, address, BODY, 0).status_code == 403


def test_a_browser_sends_with_its_session_and_token(contributor: Person, address: str):
    browser = contributor.browser
    browser.get("/submit")
    token = browser.cookies["csrftoken"].value

    assert patch(browser, address, BODY, 0, **{"X-CSRFToken": token}).status_code == 204


def test_a_browser_without_a_token_is_refused(contributor: Person, address: str):
    assert patch(contributor.browser, address, BODY, 0).status_code == 403


def test_a_file_may_be_larger_than_what_a_request_may_hold_in_memory(contributor: Person, address: str, settings: Any):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10

    assert patch(contributor.api, address, BODY, 0).status_code == 204


def test_a_file_of_a_hub_is_fetched_by_a_job(contributor: Person, dataset: Dataset, monkeypatch: Any):
    monkeypatch.setattr(fetching, "find", lambda *args: hub.HubFile("data/train.jsonl", 10, "http://hub/file"))

    reply = contributor.api.post(f"{ROOT}/hub", {"dataset": str(dataset), "hub": "ada/sums"}, format="json")

    assert (reply.status_code, reply.json()["filename"], reply.json()["upload"]) == (202, "train.jsonl", None)


def test_a_hub_that_cannot_be_reached_is_one_sentence(contributor: Person, dataset: Dataset, monkeypatch: Any):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    reply = contributor.api.post(f"{ROOT}/hub", {"dataset": str(dataset), "hub": "ada/sums"}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (429, "hub_unreachable")
