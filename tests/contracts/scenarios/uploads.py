import hashlib
from typing import Any

from tests.contracts import documented
from tests.contracts.scenario import Context, jsonl, refused, rows

BODY = jsonl(rows(6))


def _begun(it: Context, size: int = len(BODY), **more: Any) -> Any:
    asked = {"filename": "parts.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune", **more}
    return it.client.uploads.create(bytes=size, **asked)


def _part(it: Context, upload: Any, data: bytes) -> str:
    return it.client.uploads.parts.create(upload.id, data=data).id


def parts_become_a_file_in_the_order_that_is_said(it: Context) -> None:
    upload = documented.whole(_begun(it), documented.UPLOAD)
    second, first = _part(it, upload, BODY[100:]), _part(it, upload, BODY[:100])

    done = it.client.uploads.complete(upload.id, part_ids=[first, second], md5=hashlib.md5(BODY).hexdigest())

    assert (upload.object, upload.status, upload.file, upload.bytes) == ("upload", "pending", None, len(BODY))
    assert upload.id.startswith("upload_")
    assert upload.expires_at - upload.created_at == 3600
    documented.whole(done, documented.UPLOAD)
    documented.whole(done.file, documented.FILE)
    assert (done.status, done.file.bytes, done.file.filename) == ("completed", len(BODY), "parts.jsonl")
    assert it.client.files.content(done.file.id).read() == BODY


def a_part_is_told_with_every_field(it: Context) -> None:
    upload = _begun(it)

    part = documented.whole(it.client.uploads.parts.create(upload.id, data=BODY), documented.PART)

    assert (part.object, part.upload_id) == ("upload.part", upload.id)
    assert part.id.startswith("part_")


def a_cancelled_upload_takes_no_part_and_no_end(it: Context) -> None:
    upload = _begun(it)
    part = _part(it, upload, BODY)

    cancelled = documented.whole(it.client.uploads.cancel(upload.id), documented.UPLOAD)

    assert (cancelled.status, cancelled.file) == ("cancelled", None)
    with it.lossy() as (client, relay):
        refused(lambda: client.uploads.complete(upload.id, part_ids=[part]), 400)
        refused(lambda: client.uploads.parts.create(upload.id, data=BODY), 400)
    assert len(relay.heard) == 2  # neither was tried again


def a_completed_upload_cannot_be_cancelled(it: Context) -> None:
    upload = _begun(it)
    it.client.uploads.complete(upload.id, part_ids=[_part(it, upload, BODY)])

    with it.lossy() as (client, relay):
        refused(lambda: client.uploads.cancel(upload.id), 400)

    assert len(relay.heard) == 1


def what_does_not_make_up_the_whole_is_refused(it: Context) -> None:
    upload = _begun(it)
    part = _part(it, upload, BODY[:-1])
    complete = it.client.uploads.complete

    refused(lambda: complete(upload.id, part_ids=[part]), 400)
    refused(lambda: complete(upload.id, part_ids=["part_nothing"]), 400, param="part_ids")
    rest = _part(it, upload, BODY[-1:])
    refused(lambda: complete(upload.id, part_ids=[part, rest], md5="0" * 32), 400, param="md5")
    assert complete(upload.id, part_ids=[part, rest]).status == "completed"


def an_upload_that_could_not_become_a_file_is_refused_at_once(it: Context) -> None:
    refused(lambda: _begun(it, 9 * 2**30), 413, param="bytes")
    refused(lambda: _begun(it, purpose="holiday"), 400, "invalid_purpose", "purpose")
    refused(lambda: _begun(it, 0), 400, param="bytes")


def another_teams_upload_is_not_there(it: Context) -> None:
    upload, stranger = _begun(it), it.stranger.uploads

    refused(lambda: stranger.parts.create(upload.id, data=b"x"), 404, "not_found", "upload_id")
    refused(lambda: stranger.complete(upload.id, part_ids=[]), 404, "not_found", "upload_id")
    refused(lambda: stranger.cancel(upload.id), 404, "not_found", "upload_id")


def a_key_that_only_reads_begins_no_upload(it: Context) -> None:
    reader = it.with_scope("reader").uploads
    call = lambda: reader.create(bytes=1, filename="x", mime_type="text/plain", purpose="user_data")  # noqa: E731

    refused(call, 403)


def lost_replies_make_nothing_twice(it: Context) -> None:
    """Of the beginning, of a part and of the end: the file is made once, of each part once."""
    name = it.unique("lost.jsonl")

    with it.lossy("/uploads") as (client, relay):
        upload = client.uploads.create(bytes=len(BODY), filename=name, mime_type="t", purpose="fine-tune")
    place = f"/uploads/{upload.id}"
    with it.lossy(f"{place}/parts", f"{place}/complete") as (client, later):
        part = client.uploads.parts.create(upload.id, data=BODY)
        done = client.uploads.complete(upload.id, part_ids=[part.id])

    assert [one.retry for one in [*relay.heard, *later.heard]] == [0, 1] * 3
    assert done.status == "completed"
    assert [file.id for file in it.loose.files.list() if file.filename == name] == [done.file.id]


def a_lost_reply_to_a_cancellation_is_told_again(it: Context) -> None:
    upload = _begun(it)

    with it.lossy(f"/uploads/{upload.id}/cancel") as (client, relay):
        assert client.uploads.cancel(upload.id).status == "cancelled"

    assert len(relay.heard) == 2


def a_large_file_is_sent_in_parts_by_the_client_itself(it: Context) -> None:
    done = it.client.uploads.upload_file_chunked(
        file=BODY, filename="chunked.jsonl", bytes=len(BODY), mime_type="text/jsonl", purpose="fine-tune", part_size=99
    )

    assert done.status == "completed"
    assert it.client.files.content(done.file.id).read() == BODY
