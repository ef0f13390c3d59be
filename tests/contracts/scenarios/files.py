from tests.contracts import documented
from tests.contracts.scenario import Context, jsonl, refused, rows


def a_file_is_told_with_every_field(it: Context) -> None:
    body = jsonl(rows(3))

    file = documented.whole(it.client.files.create(file=("a.jsonl", body), purpose="fine-tune"), documented.FILE)

    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(body), "a.jsonl", "fine-tune")
    assert file.id.startswith("file-")
    assert file.status in ("uploaded", "processed")
    assert documented.sent(it.client.files.retrieve(file.id)).keys() == documented.sent(file).keys()


def a_file_comes_back_as_it_was_sent(it: Context) -> None:
    body = bytes(range(256)) * 9
    file = it.client.files.create(file=("odd name é.bin", body), purpose="user_data")

    content = it.client.files.content(file.id)

    assert content.read() == body
    assert file.filename == "odd name é.bin"


def a_file_is_waited_for_and_read_in_pieces(it: Context) -> None:
    """By two helpers of the client."""
    body = jsonl(rows(5))
    file = it.client.files.create(file=("pieces.jsonl", body), purpose="fine-tune")

    ready = it.client.files.wait_for_processing(file.id, poll_interval=0.1, max_wait_seconds=60)
    with it.client.files.with_streaming_response.content(file.id) as reply:
        pieces = list(reply.iter_bytes(100))

    assert ready.status == "processed"
    assert b"".join(pieces) == body
    assert len(pieces) > 1


def every_purpose_is_kept(it: Context) -> None:
    for purpose in ("assistants", "batch", "fine-tune", "vision", "user_data", "evals"):
        body = jsonl([{"item": {"a": 1}}]) if purpose == "evals" else jsonl(rows(1))
        assert it.loose.files.create(file=("x.jsonl", body), purpose=purpose).purpose == purpose


def a_file_lives_as_long_as_it_is_asked_to(it: Context) -> None:
    expiry = {"anchor": "created_at", "seconds": 3600}

    file = it.client.files.create(
        file=("x.bin", b"x"), purpose="user_data", extra_body={"expires_after": expiry}
    )  # 1.x has no such parameter in its first years

    assert abs(file.expires_at - file.created_at - 3600) <= 1


def files_are_listed_to_the_end_in_both_orders(it: Context) -> None:
    made = [it.file(name=f"page-{number}.txt", purpose="assistants") for number in range(5)]

    newest = [file.id for file in it.client.files.list(limit=2, purpose="assistants")]
    oldest = [file.id for file in it.client.files.list(limit=2, purpose="assistants", order="asc")]
    page = it.client.files.list(limit=2, purpose="assistants")

    assert [one for one in newest if one in made] == made[::-1]
    assert oldest == newest[::-1]
    assert page.has_more
    assert (page.object, len(page.data)) == ("list", 2)
    documented.whole(page.data[0], documented.FILE)


def a_deleted_file_is_gone(it: Context) -> None:
    file = it.file(purpose="user_data", name="gone.bin")

    deleted = documented.whole(it.client.files.delete(file), documented.DELETED)

    assert (deleted.id, deleted.object, deleted.deleted) == (file, "file", True)
    refused(lambda: it.client.files.retrieve(file), 404)
    refused(lambda: it.client.files.delete(file), 404)


def another_teams_file_is_not_there(it: Context) -> None:
    file = it.file(name="secret.jsonl")

    for call in (it.stranger.files.retrieve, it.stranger.files.content, it.stranger.files.delete):
        refused(lambda call=call: call(file), 404, "not_found", "file_id")
    assert file not in [one.id for one in it.stranger.files.list()]
    assert it.client.files.retrieve(file).id == file


def a_key_that_only_reads_keeps_no_file(it: Context) -> None:
    reader = it.with_scope("reader")
    file = it.file(name="read.jsonl")

    assert reader.files.retrieve(file).id == file
    refused(lambda: reader.files.create(file=("x.bin", b"x"), purpose="user_data"), 403)
    refused(lambda: reader.files.delete(file), 403)


def what_no_file_can_be_is_refused_by_its_field(it: Context) -> None:
    create = it.client.files.create

    refused(lambda: create(file=("x", b"x"), purpose="holiday"), 400, "invalid_purpose", "purpose")
    refused(lambda: it.client.files.list(limit=0), 400, param="limit")
    refused(lambda: it.client.files.list(after="file-nothing"), 400, param="after")
    refused(lambda: it.client.files.list(order="sideways"), 400, param="order")  # type: ignore[arg-type]
    refused(lambda: it.client.files.retrieve("file-nothing"), 404, "not_found", "file_id")


def a_lost_reply_makes_no_second_file(it: Context) -> None:
    name = it.unique("once.bin")

    with it.lossy("/files") as (client, relay):
        file = client.files.create(file=(name, b"once"), purpose="user_data")

    assert [one.retry for one in relay.asked("/files")] == [0, 1]
    assert [one.id for one in it.loose.files.list() if one.filename == name] == [file.id]


def a_lost_reply_to_a_deletion_is_told_again(it: Context) -> None:
    file = it.file(name="lost.bin", purpose="user_data")

    with it.lossy(f"/files/{file}") as (client, relay):
        deleted = client.files.delete(file)

    assert deleted.deleted
    assert [one.status for one in relay.heard] == [200, 200]
