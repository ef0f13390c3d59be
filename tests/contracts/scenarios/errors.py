import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import openai

from tests.contracts.scenario import MODEL, SLOW, Context, method, refusal, refused

HELLO: Any = [{"role": "user", "content": "hello"}]
PATHS = (
    ("GET", "/files"),
    ("POST", "/files"),
    ("POST", "/uploads"),
    ("GET", "/fine_tuning/jobs"),
    ("POST", "/fine_tuning/jobs"),
    ("POST", "/fine_tuning/jobs/ftjob-x/cancel"),
    ("GET", "/fine_tuning/jobs/ftjob-x/events"),
    ("GET", "/fine_tuning/checkpoints/ft:a:b:c:d/permissions"),
    ("POST", "/fine_tuning/alpha/graders/run"),
    ("GET", "/models"),
    ("GET", "/models/ft:a:b:c:d"),
    ("POST", "/chat/completions"),
    ("GET", "/nothing/here"),
)


def _by_hand(it: Context, verb: str, path: str, key: str | None = None, body: bytes | None = None, **more: str) -> Any:
    """(status, headers, body): what no client would send."""
    address = urlsplit(it.base_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    connection.request(verb, address.path + path, body, {**headers, **more})
    reply = connection.getresponse()
    return reply.status, reply.headers, json.loads(reply.read() or b"null")


def a_wrong_key_is_refused_everywhere(it: Context) -> None:
    wrong = it.as_key("fw_wrong")

    for call in (
        wrong.models.list,
        wrong.files.list,
        wrong.fine_tuning.jobs.list,
        lambda: wrong.files.create(file=("x", b"x"), purpose="user_data"),
        lambda: wrong.uploads.cancel("upload_x"),
        lambda: wrong.chat.completions.create(model=MODEL, messages=HELLO),
        lambda: wrong.chat.completions.create(model=MODEL, messages=HELLO, stream=True),
        lambda: wrong.fine_tuning.jobs.create(model=MODEL, training_file="file-x", method=method()),
    ):
        refused(call, 401, "invalid_api_key")
    assert isinstance(refusal(wrong.models.list), openai.AuthenticationError)


def each_status_is_an_exception_of_its_own(it: Context) -> None:
    client, reader = it.client, it.with_scope("reader")

    for call, kind in (
        (lambda: client.models.retrieve("nobody"), openai.NotFoundError),
        (lambda: client.files.list(limit=0), openai.BadRequestError),
        (lambda: reader.files.delete("file-x"), openai.PermissionDeniedError),
        (lambda: client.fine_tuning.jobs.resume(it.finished().id), openai.ConflictError),
    ):
        assert isinstance(refusal(call), kind)


def without_a_key_every_path_is_closed(it: Context) -> None:
    for verb, path in PATHS:
        for key in (None, "", "sk-of-somebody-else"):
            status, headers, body = _by_hand(it, verb, path, key)
            assert (status, body["error"]["code"]) == (401, "invalid_api_key"), (verb, path, status, body)
            assert headers["x-request-id"]


def an_unknown_path_is_answered_in_the_envelope(it: Context) -> None:
    for path in ("/nothing", "/models/", "/files/", "/fine_tuning/jobs/x/explode", "/"):
        status, headers, body = _by_hand(it, "GET", path, it.own["key"])
        assert status in (404, 405), (path, status)
        assert body["error"].keys() == {"message", "type", "param", "code"}
        assert "location" not in headers
    refused(lambda: it.client.get("/nothing", cast_to=object), 404, "unknown_url")


def a_path_with_a_slash_at_its_end_is_no_redirect(it: Context) -> None:
    status, headers, _ = _by_hand(it, "GET", "/fine_tuning/jobs/", it.own["key"])

    assert status == 404
    assert "location" not in headers


def a_verb_that_a_path_does_not_have_is_refused(it: Context) -> None:
    status, _, body = _by_hand(it, "PATCH", "/files", it.own["key"])

    assert (status, body["error"]["type"]) == (405, "invalid_request_error")


def a_body_that_is_no_json_object_is_refused(it: Context) -> None:
    for body in (b"{", b"[1]", b"null", b'"x"', b"\xff\xfe", b'{"a": NaN}', b"[" * 20_000):
        for path in ("/chat/completions", "/fine_tuning/jobs", "/uploads", "/fine_tuning/alpha/graders/run"):
            told = _by_hand(it, "POST", path, it.own["key"], body, **{"Content-Type": "application/json"})
            assert told[0] == 400, (path, body[:20], told)
            assert told[2]["error"]["message"]


def an_empty_body_is_enough_for_a_verb(it: Context) -> None:
    """The clients send the verbs of a job without a body, or with an empty one."""
    job = it.job(seed=SLOW)

    for more in ({}, {"Content-Type": "application/json"}):
        status, _, body = _by_hand(it, "POST", f"/fine_tuning/jobs/{job.id}/cancel", it.own["key"], b"", **more)
        assert status in (200, 409), body
    assert it.until(job.id, "cancelled").status == "cancelled"


def a_body_that_is_too_large_is_refused_before_it_is_read(it: Context) -> None:
    status, _, body = _by_hand(it, "POST", "/chat/completions", it.own["key"], b"{}", **{"Content-Length": str(2**40)})

    assert (status, body["error"]["code"]) == (413, "body_too_large")


def a_file_that_is_too_large_is_refused_before_it_is_read(it: Context) -> None:
    form = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(600 * 2**20)}

    status, _, body = _by_hand(it, "POST", "/files", it.own["key"], b"--x\r\n", **form)

    assert status == 413, body


def a_form_where_json_belongs_and_json_where_a_form_belongs_are_refused(it: Context) -> None:
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    told = _by_hand(it, "POST", "/fine_tuning/jobs", it.own["key"], b"--x--\r\n", **form)
    assert told[0] in (400, 415), told

    told = _by_hand(it, "POST", "/files", it.own["key"], b"{}", **{"Content-Type": "application/json"})
    assert told[0] in (400, 415), told


def organization_and_project_are_taken_and_ignored(it: Context) -> None:
    client = it.as_key(it.own["key"], organization="org-x", project="proj_x")

    assert client.models.list().data


def every_reply_carries_a_request_id(it: Context) -> None:
    raw = it.client.models.with_raw_response.list()

    assert raw.headers["x-request-id"]
    assert raw.headers["content-type"].startswith("application/json")


def any_accept_header_gets_json(it: Context) -> None:
    for accept in ("application/binary", "text/html", "image/png", "nonsense"):
        assert _by_hand(it, "GET", "/models", it.own["key"], Accept=accept)[0] == 200
