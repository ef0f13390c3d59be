"""Files in parts by the official client against a live server."""

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import openai
import pytest
from django.utils import timezone

from flywheel.openai_compat import ids
from tasks.models import Event, File, FileInParts, FilePart
from tasks.services import parts
from tasks.states import Scope
from tests import cast
from tests.cast import Person
from tests.flywheel.openai_compat.conftest import Clients
from tests.flywheel.openai_compat.test_files import imported, rows

pytestmark = pytest.mark.usefixtures("stored")

AGAIN = {"x-stainless-retry-count": "1"}


def begun(client: openai.OpenAI, size: int = 6, **more: Any) -> Any:
    given = {"filename": "a.txt", "mime_type": "text/plain", "purpose": "user_data", **more}
    return client.uploads.create(bytes=size, **given)


def lying(stored: Path) -> list[Path]:
    return [path for path in stored.rglob("*") if path.is_file()]


def test_an_upload_has_exactly_the_fields_of_the_contract(contributor: Person, clients: Clients):
    upload = begun(clients(contributor))

    assert upload.to_dict() == {
        "id": upload.id,
        "object": "upload",
        "bytes": 6,
        "created_at": upload.created_at,
        "expires_at": upload.expires_at,
        "filename": "a.txt",
        "purpose": "user_data",
        "status": "pending",
        "file": None,
    }
    assert (upload.id[:7], upload.expires_at - upload.created_at) == ("upload_", 3600)


def test_a_part_has_exactly_the_fields_of_the_contract(contributor: Person, clients: Clients):
    client = clients(contributor)
    upload = begun(client)

    part = client.uploads.parts.create(upload.id, data=b"abc")

    wanted = {"id": part.id, "object": "upload.part", "created_at": part.created_at, "upload_id": upload.id}
    assert part.to_dict() == wanted
    assert part.id.startswith("part_")


def test_a_client_sends_a_file_in_parts_by_itself(contributor: Person, clients: Clients, tmp_path: Path):
    client, path = clients(contributor), tmp_path / "sums.jsonl"
    path.write_bytes(rows(500))

    done = client.uploads.upload_file_chunked(
        file=path,
        mime_type="text/jsonl",
        purpose="fine-tune",
        part_size=10_000,
        md5=hashlib.md5(rows(500), usedforsecurity=False).hexdigest(),
    )

    assert done.file is not None
    assert (done.status, done.file.bytes, done.file.filename) == ("completed", len(rows(500)), "sums.jsonl")
    assert client.files.content(done.file.id).read() == rows(500)
    assert imported(done.file.id).counts["rows"] == 500


def test_parts_are_put_together_in_the_order_that_is_said(contributor: Person, clients: Clients, stored: Path):
    client = clients(contributor)
    upload = begun(client)
    later = client.uploads.parts.create(upload.id, data=b"def")
    client.uploads.parts.create(upload.id, data=b"xyz")
    first = client.uploads.parts.create(upload.id, data=b"abc")

    done = client.uploads.complete(upload.id, part_ids=[first.id, later.id])

    assert done.file is not None
    assert client.files.content(done.file.id).read() == b"abcdef"
    assert len(lying(stored)) == 1


def test_a_file_in_parts_lives_as_long_as_its_sender_says(contributor: Person, clients: Clients):
    client = clients(contributor)
    upload = begun(client, 3, expires_after={"anchor": "created_at", "seconds": 7200})
    part = client.uploads.parts.create(upload.id, data=b"abc")

    file = client.uploads.complete(upload.id, part_ids=[part.id]).file

    assert file is not None
    assert file.expires_at is not None
    assert abs(file.expires_at - file.created_at - 7200) <= 1


def test_completing_again_gives_the_same_reply(contributor: Person, clients: Clients):
    client = clients(contributor)
    upload = begun(client, 3)
    part = client.uploads.parts.create(upload.id, data=b"abc")
    done = client.uploads.complete(upload.id, part_ids=[part.id])

    again = client.uploads.complete(upload.id, part_ids=[part.id])

    assert again.to_dict() == done.to_dict()
    assert File.objects.count() == 1


def test_what_is_begun_again_by_a_repetition_is_the_first(contributor: Person, clients: Clients):
    client = clients(contributor)
    first = begun(client)

    assert begun(client, extra_headers=AGAIN).id == first.id
    assert begun(client).id != first.id


@pytest.mark.parametrize(
    ("changed", "code", "param"),
    [
        ({"part_ids": []}, "unknown_part", "part_ids"),
        ({"part_ids": ["part_00000000000"]}, "unknown_part", "part_ids"),
        ({"part_ids": ["FIRST"]}, "size_differs", "part_ids"),
        ({"part_ids": ["FIRST", "FIRST"]}, "part_twice", "part_ids"),
        ({"part_ids": ["FIRST", "SECOND", "THIRD"]}, "size_differs", "part_ids"),
        ({"md5": "0" * 32}, "md5_differs", "md5"),
    ],
)
def test_a_completion_that_cannot_be_is_refused_and_can_be_done_right(
    contributor: Person, clients: Clients, changed: Any, code: str, param: str
):
    client = clients(contributor)
    upload = begun(client)
    sent = {name: client.uploads.parts.create(upload.id, data=b"abc").id for name in ("FIRST", "SECOND", "THIRD")}
    right: Any = {"part_ids": ["FIRST", "SECOND"]}
    wrong: Any = right | changed

    with pytest.raises(openai.BadRequestError) as caught:
        client.uploads.complete(upload.id, **wrong | {"part_ids": [sent.get(name, name) for name in wrong["part_ids"]]})

    assert (caught.value.code, caught.value.param, File.objects.count()) == (code, param, 0)
    done = client.uploads.complete(upload.id, part_ids=[sent[name] for name in right["part_ids"]])
    assert done.status == "completed"


def test_a_part_of_another_upload_is_unknown(contributor: Person, clients: Clients):
    client = clients(contributor)
    upload, other = begun(client, 3), begun(client, 3)
    part = client.uploads.parts.create(other.id, data=b"abc")

    with pytest.raises(openai.BadRequestError, match="part_ids"):
        client.uploads.complete(upload.id, part_ids=[part.id])


def test_a_cancelled_upload_takes_nothing_more(contributor: Person, clients: Clients, stored: Path):
    client = clients(contributor)
    upload = begun(client)
    part = client.uploads.parts.create(upload.id, data=b"abcdef")

    cancelled = client.uploads.cancel(upload.id)

    assert (cancelled.status, client.uploads.cancel(upload.id).status, lying(stored)) == ("cancelled", "cancelled", [])
    for ask in (
        lambda: client.uploads.parts.create(upload.id, data=b"abc"),
        lambda: client.uploads.complete(upload.id, part_ids=[part.id]),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            ask()
        assert caught.value.code == "upload_cancelled"


def test_a_completed_upload_can_be_neither_cancelled_nor_changed(contributor: Person, clients: Clients):
    client = clients(contributor)
    upload = begun(client, 3)
    part = client.uploads.parts.create(upload.id, data=b"abc")
    client.uploads.complete(upload.id, part_ids=[part.id])

    for ask in (
        lambda: client.uploads.cancel(upload.id),
        lambda: client.uploads.parts.create(upload.id, data=b"abc"),
        lambda: client.uploads.complete(upload.id, part_ids=[part.id, part.id]),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            ask()
        assert caught.value.code == "upload_completed"


def test_an_upload_expires_after_an_hour(contributor: Person, clients: Clients, stored: Path):
    client = clients(contributor)
    upload = begun(client, 3)
    part = client.uploads.parts.create(upload.id, data=b"abc")
    FileInParts.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    with pytest.raises(openai.BadRequestError) as caught:
        client.uploads.complete(upload.id, part_ids=[part.id])

    parts.reap()
    assert (caught.value.code, lying(stored)) == ("upload_expired", [])
    assert Event.objects.filter(kind="fileinparts.expired").count() == 1


def test_a_part_that_is_too_large_is_413(contributor: Person, clients: Clients, monkeypatch: Any, stored: Path):
    monkeypatch.setattr(parts, "PART_BYTES", 10)
    client = clients(contributor)

    with pytest.raises(openai.APIStatusError) as caught:
        client.uploads.parts.create(begun(client).id, data=b"a" * 11)

    assert (caught.value.status_code, caught.value.code, lying(stored)) == (413, "part_too_large", [])
    assert not FilePart.objects.exists()


def test_an_empty_part_is_refused(contributor: Person, clients: Clients, stored: Path):
    client = clients(contributor)

    with pytest.raises(openai.BadRequestError):
        client.uploads.parts.create(begun(client).id, data=b"")

    assert lying(stored) == []


def test_a_file_that_is_too_large_is_413(contributor: Person, clients: Clients, settings: Any):
    with pytest.raises(openai.APIStatusError) as caught:
        begun(clients(contributor), settings.UPLOAD_MAX_BYTES + 1)

    assert (caught.value.status_code, caught.value.code) == (413, "file_too_large")


def test_the_parts_of_a_file_are_bounded_together(contributor: Person, clients: Clients, settings: Any):
    settings.UPLOAD_MAX_BYTES = 10
    client = clients(contributor)
    upload = begun(client)
    client.uploads.parts.create(upload.id, data=b"a" * 9)

    with pytest.raises(openai.APIStatusError) as caught:
        client.uploads.parts.create(upload.id, data=b"aa")

    assert caught.value.status_code == 413


@pytest.mark.parametrize(
    ("given", "code", "param"),
    [
        ({"purpose": "search"}, "invalid_purpose", "purpose"),
        ({"purpose": "fine-tune-results"}, "invalid_purpose", "purpose"),
        ({"size": 0}, "invalid_value", "bytes"),
        ({"filename": ""}, "invalid_value", "filename"),
        ({"extra_body": {"mime_type": "text\0"}}, "invalid_value", None),
        ({"extra_body": {"colour": "red"}}, "unknown_parameter", "colour"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "invalid_value", "expires_after.seconds"),
    ],
)
def test_a_beginning_that_cannot_be_is_refused(
    contributor: Person, clients: Clients, given: Any, code: str, param: str | None
):
    with pytest.raises(openai.BadRequestError) as caught:
        begun(clients(contributor), **given)

    assert (caught.value.code, caught.value.param) == (code, param)


def test_rows_that_are_none_are_refused_when_they_are_complete(contributor: Person, clients: Clients, stored: Path):
    client = clients(contributor)
    upload = begun(client, 3, purpose="fine-tune")
    part = client.uploads.parts.create(upload.id, data=b"a,b")

    with pytest.raises(openai.BadRequestError) as caught:
        client.uploads.complete(upload.id, part_ids=[part.id])

    assert caught.value.code == "invalid_file_format"
    assert [path.suffix for path in lying(stored)] == [".piece"]


def test_another_teams_upload_is_not_there(contributor: Person, stranger: Person, clients: Clients):
    own = clients(contributor)
    upload = begun(own, 3)
    part = own.uploads.parts.create(upload.id, data=b"abc")
    theirs = clients(stranger).uploads

    for ask in (
        lambda: theirs.parts.create(upload.id, data=b"abc"),
        lambda: theirs.complete(upload.id, part_ids=[part.id]),
        lambda: theirs.cancel(upload.id),
        lambda: theirs.cancel("upload_abcdefghijk"),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()
    assert own.uploads.complete(upload.id, part_ids=[part.id]).status == "completed"


def test_a_key_that_may_only_read_begins_no_upload(contributor: Person, clients: Clients):
    secret = cast.key(contributor.user, contributor.team, [Scope.READ])

    with pytest.raises(openai.PermissionDeniedError):
        begun(clients(Person(contributor.user, contributor.team, secret)))


def test_the_id_of_an_upload_is_no_id_of_a_file(contributor: Person, clients: Clients):
    client = clients(contributor)
    upload = begun(client, 3)
    part = client.uploads.parts.create(upload.id, data=b"abc")
    file = client.uploads.complete(upload.id, part_ids=[part.id]).file

    assert file is not None
    assert ids.decode(ids.UPLOAD, file.id) is None
