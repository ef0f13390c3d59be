"""Files by the official client against a live server, and by hand what a client does not send."""

import http.client
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest
from django.utils import timezone

from flywheel.openai_compat import ids
from tasks.models import Dataset, Event, File, Upload
from tasks.services import importing, uploads
from tasks.states import Scope, TaskState
from tests import cast, world
from tests.cast import Person
from tests.flywheel.openai_compat.conftest import Clients

pytestmark = pytest.mark.usefixtures("stored")


def rows(count: int = 3, start: int = 0) -> bytes:
    """As a client of the original writes them."""
    asked = [
        {"messages": [{"role": "user", "content": f"What is {n} + {n}?"}], "answer": str(2 * n), "domain": "sums"}
        for n in range(100 + start, 100 + start + count)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in asked)


def imported(file_id: str) -> Upload:
    """What a worker does behind the reply."""
    upload = File.objects.get(pk=ids.decode(ids.FILE, file_id)).upload
    assert upload is not None
    importing.import_upload(upload.pk)
    upload.refresh_from_db()
    return upload


def by_hand(live_server: Any, person: Person, body: bytes, boundary: str = "b", **headers: str) -> httpx.Response:
    told = {"Authorization": f"Bearer {person.secret}", "Content-Type": f"multipart/form-data; boundary={boundary}"}
    return httpx.post(f"{live_server.url}/openai/v1/files", content=body, headers={**told, **headers})


def field(name: str, value: str) -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def file_part(content: bytes, name: str = "file") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="a.jsonl"\r\n\r\n'
    return head.encode() + content + b"\r\n"


def test_a_file_has_exactly_the_fields_of_the_contract(contributor: Person, clients: Clients):
    made = clients(contributor).files.create(file=("sums.jsonl", rows()), purpose="fine-tune")

    assert made.to_dict() == {
        "id": made.id,
        "object": "file",
        "bytes": len(rows()),
        "created_at": made.created_at,
        "expires_at": None,
        "filename": "sums.jsonl",
        "purpose": "fine-tune",
        "status": "uploaded",
        "status_details": None,
    }
    assert made.id.startswith("file-")


def test_a_file_of_rows_is_an_upload_of_the_portal_whose_every_other_key_is_the_items(
    contributor: Person, clients: Clients
):
    made = clients(contributor).files.create(file=("My sums.jsonl", rows()), purpose="fine-tune")

    upload = imported(made.id)

    assert (str(upload.dataset), upload.dataset.visibility) == ("carla-team/my-sums", "private")
    tasks = [row.task for row in upload.memberships.order_by("line").select_related("task")]
    assert tasks[0].item == {"answer": "200", "domain": "sums"}


def test_a_client_waits_until_a_file_is_processed(contributor: Person, clients: Clients):
    client = clients(contributor)
    made = client.files.create(file=("sums.jsonl", rows()), purpose="fine-tune")
    imported(made.id)

    ready = client.files.wait_for_processing(made.id, poll_interval=0.01, max_wait_seconds=5)

    assert (ready.status, ready.status_details) == ("processed", None)


def test_a_file_of_which_no_row_could_be_taken_says_what_is_wrong_with_the_first(contributor: Person, clients: Clients):
    client = clients(contributor)
    made = client.files.create(file=("sums.jsonl", b'\n{"answer": 1}\n{"answer": 2}\n'), purpose="fine-tune")
    imported(made.id)

    ready = client.files.wait_for_processing(made.id, poll_interval=0.01, max_wait_seconds=5)

    assert (ready.status, ready.status_details) == ("error", "Line 2: The row has no prompt.")


def test_a_file_with_some_bad_rows_is_processed(contributor: Person, clients: Clients):
    client = clients(contributor)
    made = client.files.create(file=("sums.jsonl", rows() + b'{"answer": 2}\n'), purpose="fine-tune")
    imported(made.id)

    assert client.files.retrieve(made.id).status == "processed"


@pytest.mark.parametrize("purpose", ["assistants", "batch", "vision", "user_data", "evals"])
def test_of_other_purposes_just_the_bytes_are_kept(contributor: Person, clients: Clients, purpose: Any):
    client = clients(contributor)

    made = client.files.create(file=("picture.png", b"\x89PNG\x00"), purpose=purpose)

    assert (made.purpose, made.status, client.files.content(made.id).read()) == (purpose, "processed", b"\x89PNG\x00")
    assert not Upload.objects.exists()


def test_the_content_is_what_was_sent(contributor: Person, clients: Clients):
    client = clients(contributor)
    made = client.files.create(file=("sums.jsonl", rows(1000)), purpose="fine-tune")

    assert client.files.content(made.id).read() == rows(1000)


@pytest.mark.parametrize("seconds", [3600, 2_592_000])
def test_a_file_lives_as_long_as_its_sender_says(contributor: Person, clients: Clients, seconds: int):
    made = clients(contributor).files.create(
        file=("a.txt", b"a"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": seconds}
    )

    assert made.expires_at is not None
    assert abs(made.expires_at - made.created_at - seconds) <= 1


def test_a_file_for_batches_lives_thirty_days(contributor: Person, clients: Clients):
    made = clients(contributor).files.create(file=("a.jsonl", b"{}"), purpose="batch")

    assert made.expires_at is not None
    assert abs(made.expires_at - made.created_at - 30 * 86_400) <= 1


@pytest.mark.parametrize(
    "after",
    [
        {"anchor": "created_at", "seconds": 3599},
        {"anchor": "created_at", "seconds": 2_592_001},
        {"anchor": "created_at", "seconds": "soon"},
        {"anchor": "last_active_at", "seconds": 3600},
        {"anchor": "created_at"},
        {"seconds": 3600},
    ],
)
def test_an_expiry_that_cannot_be_is_refused_and_nothing_kept(
    contributor: Person, clients: Clients, stored: Path, after: Any
):
    with pytest.raises(openai.BadRequestError) as caught:
        clients(contributor).files.create(file=("a.txt", b"a"), purpose="user_data", expires_after=after)

    assert str(caught.value.param).startswith("expires_after")
    assert (list((stored / "incoming").iterdir()), File.objects.count()) == ([], 0)


def test_fields_may_stand_behind_the_file(contributor: Person, live_server: Any):
    behind = field("purpose", "user_data") + field("expires_after[anchor]", "created_at")

    reply = by_hand(
        live_server, contributor, file_part(b"abc") + behind + field("expires_after[seconds]", "7200") + b"--b--\r\n"
    )

    told = reply.json()
    assert (told["purpose"], told["bytes"], told["expires_at"] - told["created_at"]) == ("user_data", 3, 7200)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (file_part(b"abc") + b"--b--\r\n", "missing_required_parameter", "purpose"),
        (field("purpose", "fine-tune") + b"--b--\r\n", "file_missing", "file"),
        (field("purpose", "search") + file_part(b"abc") + b"--b--\r\n", "invalid_purpose", "purpose"),
        (file_part(b"abc") + field("purpose", "search") + b"--b--\r\n", "invalid_purpose", "purpose"),
        (file_part(b"abc") + field("purpose", "fine-tune-results") + b"--b--\r\n", "invalid_purpose", "purpose"),
        (field("purpose", "user_data") + file_part(b"") + b"--b--\r\n", "empty_file", "file"),
        (field("purpose", "fine-tune") + file_part(b"[1]\n") + b"--b--\r\n", "invalid_file_format", "file"),
        (field("purpose", "fine-tune") + file_part(b"a,b\n1,2\n") + b"--b--\r\n", "invalid_file_format", "file"),
        (field("purpose", "fine-tune") + file_part(b"\n \n") + b"--b--\r\n", "invalid_file_format", "file"),
        (
            field("purpose", "user_data") + field("colour", "red") + file_part(b"abc") + b"--b--\r\n",
            "unknown_parameter",
            "colour",
        ),
    ],
)
def test_a_form_that_cannot_be_taken_is_refused_and_nothing_kept(
    contributor: Person, live_server: Any, stored: Path, body: bytes, code: str, param: str
):
    reply = by_hand(live_server, contributor, body)

    told = reply.json()["error"]
    assert (reply.status_code, told["code"], told["param"]) == (400, code, param)
    kept = [path for path in stored.rglob("*") if path.is_file()]
    assert (kept, File.objects.count(), Dataset.objects.count()) == ([], 0, 0)


def test_a_body_that_is_no_form_is_refused(contributor: Person, live_server: Any):
    reply = by_hand(live_server, contributor, b'{"purpose": "fine-tune"}', **{"Content-Type": "application/json"})

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "form_unreadable")


@pytest.mark.parametrize("behind", [b"", b"\r\n" + field("purpose", "user_data")])
def test_a_body_that_is_cut_off_leaves_nothing(contributor: Person, live_server: Any, stored: Path, behind: bytes):
    body = field("purpose", "user_data") + file_part(b"abc" * 1000)[:-2] + behind
    connection = http.client.HTTPConnection(live_server.thread.host, live_server.thread.port)
    connection.putrequest("POST", "/openai/v1/files")
    told = {"Authorization": f"Bearer {contributor.secret}", "Content-Type": "multipart/form-data; boundary=b"}
    for name, value in {**told, "Content-Length": str(len(body) + 500)}.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    connection.sock.shutdown(1)

    reply = connection.getresponse()

    assert (reply.status, json.load(reply)["error"]["code"]) == (400, "upload_cut_off")
    assert ([path for path in stored.rglob("*") if path.is_file()], File.objects.count()) == ([], 0)


def test_a_file_over_the_limit_is_413(contributor: Person, clients: Clients, settings: Any, stored: Path):
    settings.FILE_MAX_BYTES = 1000

    with pytest.raises(openai.APIStatusError) as caught:
        clients(contributor).files.create(file=("a.txt", b"a" * 1001), purpose="user_data")

    assert (caught.value.status_code, caught.value.code) == (413, "file_too_large")
    assert list((stored / "incoming").iterdir()) == []


def test_a_repetition_gets_the_first_file(contributor: Person, clients: Clients):
    client = clients(contributor)
    first = client.files.create(file=("sums.jsonl", rows()), purpose="fine-tune")

    again = client.files.create(
        file=("sums.jsonl", rows()), purpose="fine-tune", extra_headers={"x-stainless-retry-count": "1"}
    )

    assert (again.id, Dataset.objects.count()) == (first.id, 1)


def test_a_client_that_did_not_hear_the_reply_makes_one_file(contributor: Person, clients: Clients):
    heard: list[int] = []

    class Deaf(httpx2.HTTPTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            reply = super().handle_request(request)
            reply.read()
            heard.append(reply.status_code)
            if len(heard) == 1:
                raise httpx2.ReadTimeout("nothing came", request=request)
            return reply

    client = clients(contributor, max_retries=2, http_client=openai.DefaultHttpxClient(transport=Deaf()))

    made = client.files.create(file=("sums.jsonl", rows()), purpose="fine-tune")

    assert heard == [200, 200]
    assert [ids.encode(ids.FILE, file.pk) for file in File.objects.all()] == [made.id]


def test_the_same_file_sent_on_purpose_is_another_one(contributor: Person, clients: Clients):
    client = clients(contributor)
    first = client.files.create(file=("sums.jsonl", rows()), purpose="fine-tune")

    second = client.files.create(file=("sums.jsonl", rows()), purpose="fine-tune")

    assert second.id != first.id
    assert Dataset.objects.count() == 2


@pytest.mark.parametrize("changed", [{"purpose": "evals"}, {"file": ("b.txt", b"abc")}, {"file": ("a.txt", b"abd")}])
def test_a_repetition_of_nothing_is_a_file_of_its_own(contributor: Person, clients: Clients, changed: Any):
    client = clients(contributor)
    first = client.files.create(file=("a.txt", b"abc"), purpose="user_data")

    given: Any = {"file": ("a.txt", b"abc"), "purpose": "user_data", **changed}
    second = client.files.create(**given, extra_headers={"x-stainless-retry-count": "1"})

    assert second.id != first.id


def test_pages_go_to_the_end(contributor: Person, clients: Clients):
    client = clients(contributor)
    made = [client.files.create(file=(f"{n}.txt", b"%d" % n), purpose="user_data").id for n in range(5)]

    assert [file.id for file in client.files.list(limit=2)] == made[::-1]
    assert [file.id for file in client.files.list(limit=2, order="asc")] == made
    assert [file.id for file in client.files.list(after=made[3], order="asc")] == made[4:]
    assert len(client.files.list().data) == 5


def test_a_purpose_narrows_a_list(contributor: Person, clients: Clients):
    client = clients(contributor)
    client.files.create(file=("a.txt", b"a"), purpose="user_data")
    wanted = client.files.create(file=("b.txt", b"b"), purpose="evals")

    assert [file.id for file in client.files.list(purpose="evals")] == [wanted.id]


@pytest.mark.parametrize(
    "asked",
    [{"limit": 0}, {"limit": 10_001}, {"limit": "0" * 9 + "9" * 20}, {"after": "file-nothing"}, {"order": "up"}],
)
def test_a_list_that_cannot_be_is_refused(contributor: Person, clients: Clients, asked: Any):
    with pytest.raises(openai.BadRequestError):
        clients(contributor).files.list(**asked)


@pytest.mark.parametrize("purpose", ["search", "\0"])
def test_no_file_has_a_purpose_that_there_is_not(contributor: Person, clients: Clients, purpose: str):
    client = clients(contributor)
    client.files.create(file=("a.txt", b"a"), purpose="user_data")

    assert list(client.files.list(purpose=purpose)) == []


def test_an_upload_of_the_portal_is_in_the_list(contributor: Person, clients: Clients):
    uploads.receive(world.private_dataset(contributor), [rows()], filename="portal.jsonl", actor=contributor.user)

    (file,) = clients(contributor).files.list()

    assert (file.filename, file.purpose) == ("portal.jsonl", "fine-tune")


def test_a_deleted_file_is_gone_with_its_rows_and_bytes(contributor: Person, clients: Clients, stored: Path):
    client = clients(contributor)
    made = client.files.create(file=("sums.jsonl", rows()), purpose="fine-tune")
    upload = imported(made.id)

    deleted = client.files.delete(made.id)

    assert deleted.to_dict() == {"id": made.id, "object": "file", "deleted": True}
    assert list(client.files.list()) == []
    assert {row.task.state for row in upload.memberships.select_related("task")} == {TaskState.WITHDRAWN}
    assert [path for path in stored.rglob("*") if path.is_file()] == []
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)
    assert Event.objects.filter(kind="file.deleted", actor=contributor.user).count() == 1


def test_a_file_is_deleted_once(contributor: Person, clients: Clients):
    client = clients(contributor)
    made = client.files.create(file=("a.txt", b"a"), purpose="user_data")
    client.files.delete(made.id)

    with pytest.raises(openai.NotFoundError):
        client.files.delete(made.id)


def test_a_repeated_deletion_hears_that_it_was_done(contributor: Person, clients: Clients):
    client = clients(contributor)
    made = client.files.create(file=("a.txt", b"a"), purpose="user_data")
    client.files.delete(made.id)

    assert client.files.delete(made.id, extra_headers={"x-stainless-retry-count": "1"}).deleted


def test_an_expired_file_is_not_there(contributor: Person, clients: Clients):
    client = clients(contributor)
    made = client.files.create(file=("a.txt", b"a"), purpose="user_data")
    File.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    with pytest.raises(openai.NotFoundError):
        client.files.content(made.id)
    assert list(client.files.list()) == []


def test_another_teams_file_is_not_there(contributor: Person, stranger: Person, clients: Clients):
    made = clients(contributor).files.create(file=("sums.jsonl", rows()), purpose="fine-tune")
    kept = clients(contributor).files.create(file=("a.txt", b"a"), purpose="user_data")
    theirs = clients(stranger).files

    for file_id in (made.id, kept.id, "file-abcdefghijk", "file-", "nothing"):
        for ask in (theirs.retrieve, theirs.content, theirs.delete):
            with pytest.raises(openai.NotFoundError) as caught:
                ask(file_id)
            assert caught.value.code == "not_found"
    assert list(theirs.list()) == []
    assert File.objects.live().count() == 2


def test_the_same_bytes_of_two_teams_are_two_files(contributor: Person, stranger: Person, clients: Clients):
    first = clients(contributor).files.create(file=("a.txt", b"a"), purpose="user_data")
    second = clients(stranger).files.create(file=("a.txt", b"a"), purpose="user_data")

    clients(contributor).files.delete(first.id)

    assert clients(stranger).files.content(second.id).read() == b"a"


def test_a_key_for_another_team_of_the_same_person_does_not_see_it(contributor: Person, clients: Clients):
    from tasks.services import accounts

    other = accounts.create_team("Other", "other", actor=contributor.user)
    made = clients(contributor).files.create(file=("a.txt", b"a"), purpose="user_data")
    elsewhere = Person(contributor.user, other, cast.key(contributor.user, other))

    with pytest.raises(openai.NotFoundError):
        clients(elsewhere).files.retrieve(made.id)


def test_a_key_that_may_only_read_stores_and_deletes_nothing(contributor: Person, clients: Clients):
    made = clients(contributor).files.create(file=("a.txt", b"a"), purpose="user_data")
    reader = Person(contributor.user, contributor.team, cast.key(contributor.user, contributor.team, [Scope.READ]))
    client = clients(reader)

    with pytest.raises(openai.PermissionDeniedError):
        client.files.create(file=("a.txt", b"a"), purpose="user_data")
    with pytest.raises(openai.PermissionDeniedError):
        client.files.delete(made.id)
    assert client.files.content(made.id).read() == b"a"
