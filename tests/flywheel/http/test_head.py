"""HEAD is answered without a body: a web server would drop it, and warn."""

from typing import Any

import pytest
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import RequestFactory

from flywheel.http.head import without_body


def body_of(reply: Any) -> bytes:
    return b"".join(reply) if reply.streaming else reply.content


def asked(method: str, reply: Any) -> Any:
    return without_body(lambda _: reply)(RequestFactory().generic(method, "/"))


@pytest.mark.parametrize(
    "reply", [HttpResponse(b"told"), StreamingHttpResponse([b"to", b"ld"])], ids=["whole", "stream"]
)
def test_a_reply_to_head_has_no_body(reply: Any):
    assert body_of(asked("HEAD", reply)) == b""


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_replies_keep_theirs(method: str):
    assert body_of(asked(method, HttpResponse(b"told"))) == b"told"


def test_the_length_of_a_get_is_told():
    assert asked("HEAD", HttpResponse(b"told", headers={"Content-Length": "4"}))["Content-Length"] == "4"


def test_a_post_that_stands_for_a_head_keeps_what_its_length_says():
    def answer(request: HttpRequest) -> HttpResponse:
        request.method = "HEAD"
        return HttpResponse(b"told")

    assert without_body(answer)(RequestFactory().post("/")).content == b"told"  # type: ignore[attr-defined]


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "status"), [("/login", 200), ("/api/v1/status", 401), ("/nothing", 404)])
def test_every_address_answers_so(path: str, status: int):
    product = BaseHandler()  # Django's test client drops by itself what should not be there
    product.load_middleware()

    reply = product.get_response(RequestFactory().head(path))

    assert (reply.status_code, reply.content) == (status, b"")
