"""Single posts, against real sockets on this machine."""

import pytest

from tasks import wire
from tasks.posting import post
from tasks.wire import Limits, WireError
from tests.fakes import receiver
from tests.fakes.receiver import Receiver


@pytest.fixture
def other():
    with receiver.running() as running:
        yield running


def allowed(other: Receiver) -> frozenset[str]:
    return frozenset({wire.origin_of(other.origin)})


def refusal(url: str) -> str:
    with pytest.raises(WireError) as caught:
        post(url, b"{}", {}, allowed_origins=frozenset({"http://127.0.0.1:1"}))
    return caught.value.code


def test_body_and_headers_arrive_as_they_are(other: Receiver):
    post(other.url, "ä".encode(), {"webhook-id": "msg_1"}, allowed_origins=allowed(other))

    (got,) = other.got
    assert (got.path, got.body, got.id) == ("/news", "ä", "msg_1")


@pytest.mark.parametrize("status", [204, 302, 404, 500])
def test_any_answer_is_an_answer(status: int, other: Receiver):
    other.answers, other.says = [status], ""

    assert post(other.url, b"{}", {}, allowed_origins=allowed(other)).status == status


def test_no_more_of_an_answer_is_kept_than_its_beginning(other: Receiver):
    other.says = "x" * 1_000_000

    answer = post(other.url, b"{}", {}, allowed_origins=allowed(other), limits=Limits(reply_bytes=100))

    assert answer.text == "x" * 100


def test_what_comes_compressed_is_not_unpacked(other: Receiver):
    other.headers = {"Content-Encoding": "gzip"}

    assert post(other.url, b"{}", {}, allowed_origins=allowed(other)).text == ""


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://192.0.43.8/news", "not_https"),
        ("https://127.0.0.1/news", "address_refused"),
        ("https://169.254.169.254/latest", "address_refused"),
        ("https://[::1]/news", "address_refused"),
        ("nonsense", "bad_address"),
    ],
)
def test_an_address_that_is_not_public_https_is_refused(url: str, code: str):
    assert refusal(url) == code


def test_a_public_place_is_not_refused_beforehand():
    wire.check("https://hooks.example/x", resolve=lambda host, port: ["93.184.216.34"])


def test_one_private_place_of_several_is_enough_to_be_refused_beforehand():
    with pytest.raises(WireError, match="not a public address"):
        wire.check("https://hooks.example/x", resolve=lambda host, port: ["93.184.216.34", "10.0.0.1"])


def test_a_name_that_nobody_knows_yet_is_not_refused_beforehand():
    def unknown(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    wire.check("https://hooks.example/x", resolve=unknown)
