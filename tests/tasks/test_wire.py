"""The outgoing client, against real sockets on this machine."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tasks import wire
from tasks.wire import Limits, Wire, WireError

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """A server of one answer; yields its origin."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def do_POST(self) -> None:
            self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer(self)

        def log_message(self, *args: Any) -> None:
            """Silent."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_address[1]}"
    finally:
        running.shutdown()
        running.server_close()


def says(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        handler.send_response(status)
        for name, text in (headers or {}).items():
            handler.send_header(name, text)
        handler.send_header("Content-Length", str(len(raw)))
        handler.end_headers()
        handler.wfile.write(raw)

    return answer


def own(origin: str, **kwargs: Any) -> Wire:
    """A client of a server that the operator allows."""
    return Wire(base_url=f"{origin}/v1", allowed_origins=frozenset({wire.origin_of(origin)}), **kwargs)


def refusal(ask: Callable[[], Any]) -> WireError:
    with pytest.raises(WireError) as caught:
        ask()
    return caught.value


def test_a_completion_comes_back_as_the_server_sent_it():
    with server(says({"object": "chat.completion"})) as origin:
        assert own(origin).chat({"model": "m"}) == {"object": "chat.completion"}


def test_the_body_and_the_token_are_sent_to_chat_completions():
    seen: dict[str, Any] = {}

    def answer(handler: Any) -> None:
        seen.update(path=handler.path, token=handler.headers["Authorization"], body=json.loads(handler.body))
        says({})(handler)

    with server(answer) as origin:
        own(origin, token="secret").chat({"model": "m"})

    assert seen == {"path": "/v1/chat/completions", "token": "Bearer secret", "body": {"model": "m"}}


def test_the_token_is_not_in_the_representation():
    assert "secret" not in repr(Wire(base_url="https://judge.example/v1", token="secret"))


def test_a_refusal_carries_the_status_and_the_body_of_the_other_side():
    with server(says({"error": {"code": "bad"}}, status=400)) as origin:
        error = refusal(lambda: own(origin).chat({}))

    assert (error.code, error.status, error.body) == ("refused", 400, {"error": {"code": "bad"}})
    assert error.should_retry


def test_a_refusal_says_whether_it_would_be_the_same_again():
    with server(says({}, status=504, headers={"x-should-retry": "false"})) as origin:
        assert not refusal(lambda: own(origin).chat({})).should_retry


def test_stream_chunks_arrive_one_by_one_until_done():
    lines = b'data: {"n": 1}\n\n: a comment\n\ndata: {"n": 2}\n\ndata: [DONE]\n\n'
    with server(says(lines)) as origin:
        assert list(own(origin).chat_stream({})) == [{"n": 1}, {"n": 2}]


def test_a_stream_without_an_end_is_an_error_after_its_chunks():
    with server(says(b'data: {"n": 1}\n\n')) as origin:
        chunks = own(origin).chat_stream({})
        assert next(chunks) == {"n": 1}
        assert refusal(lambda: next(chunks)).code == "cut_off"


def begun(*pieces: bytes, then: Callable[[], object] = lambda: None) -> Answer:
    """More is announced than comes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(piece)
        handler.wfile.flush()
        then()

    return answer


def test_a_server_that_dies_in_the_middle_of_a_stream_has_cut_it_off():
    with server(begun(b'data: {"n": 1}\n\n')) as origin:
        chunks = own(origin).chat_stream({})
        assert next(chunks) == {"n": 1}
        assert refusal(lambda: next(chunks)).code == "cut_off"


def test_a_server_that_falls_silent_in_the_middle_of_a_stream_times_out():
    with server(begun(b'data: {"n": 1}\n\n', then=lambda: time.sleep(1))) as origin:
        chunks = own(origin, limits=Limits(silence_seconds=0.2)).chat_stream({})
        assert next(chunks) == {"n": 1}
        assert refusal(lambda: next(chunks)).code == "timeout"


@pytest.mark.parametrize("text", ["数えて", "lone \ud800 surrogate"])
def test_every_text_arrives_as_it_was(text: str):
    bodies: list[bytes] = []

    def answer(handler: Any) -> None:
        bodies.append(handler.body)
        says({})(handler)

    with server(answer) as origin:
        own(origin).chat({"content": text})

    assert json.loads(bodies[0]) == {"content": text}
    assert len(bodies[0]) < 45


def test_a_stream_ends_with_the_error_that_the_server_reports_half_way():
    with server(says(b'data: {"n": 1}\n\ndata: {"error": {"code": "x"}}\n\n')) as origin:
        assert list(own(origin).chat_stream({})) == [{"n": 1}, {"error": {"code": "x"}}]


def test_a_refused_stream_raises_before_the_first_chunk():
    with server(says({"error": {}}, status=429)) as origin:
        assert refusal(lambda: own(origin).chat_stream({})).status == 429


def test_a_closed_port_is_unreachable():
    with server(says({})) as origin:
        pass

    assert refusal(lambda: own(origin).chat({})).code == "unreachable"


def test_a_redirect_is_never_followed():
    followed: list[str] = []

    def answer(handler: Any) -> None:
        followed.append(handler.path)
        says({}, status=302, headers={"Location": "/elsewhere"})(handler)

    with server(answer) as origin:
        error = refusal(lambda: own(origin).chat({}))

    assert (error.code, followed) == ("redirected", ["/v1/chat/completions"])


def test_an_oversized_reply_is_cut_off():
    with server(says(b"[" + b"1," * 100_000)) as origin:
        assert refusal(lambda: own(origin, limits=Limits(reply_bytes=1000)).chat({})).code == "reply_too_large"


def test_an_oversized_refusal_is_cut_off_too():
    with server(says(b"x" * 100_000, status=500)) as origin:
        assert refusal(lambda: own(origin, limits=Limits(reply_bytes=1000)).chat({})).code == "reply_too_large"


def test_a_compressed_reply_is_not_unpacked():
    with server(says(b"\x1f\x8b", headers={"Content-Encoding": "gzip"})) as origin:
        assert refusal(lambda: own(origin).chat({})).code == "compressed"


def test_an_oversized_request_is_not_sent():
    asked: list[str] = []
    with server(lambda handler: asked.append("")) as origin:
        error = refusal(lambda: own(origin, limits=Limits(request_bytes=10)).chat({"model": "m" * 10}))

    assert (error.code, asked) == ("request_too_large", [])


def test_a_silent_server_times_out():
    with server(lambda handler: time.sleep(1)) as origin:
        assert refusal(lambda: own(origin, limits=Limits(silence_seconds=0.1)).chat({})).code == "timeout"


def test_a_dripping_server_runs_into_the_total_time():
    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(50):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return
            time.sleep(0.02)

    with server(drip) as origin:
        assert refusal(lambda: own(origin, limits=Limits(total_seconds=0.1)).chat({})).code == "timeout"


def test_a_reply_that_is_no_object_is_unreadable():
    with server(says([1])) as origin:
        assert refusal(lambda: own(origin).chat({})).code == "unreadable"


def test_plain_http_is_refused_where_it_is_not_allowed_by_configuration():
    assert refusal(lambda: Wire(base_url="http://judge.example/v1").chat({})).code == "not_https"


@pytest.mark.parametrize("url", ["https://", "judge", "https://host:port/v1", "https://[::1/v1"])
def test_what_is_no_address_is_refused(url: str):
    assert refusal(lambda: Wire(base_url=url).chat({})).code == "bad_address"


PRIVATE = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.3.4",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "::1",
    "fe80::1%eth0",
    "fd00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "2002:7f00:1::",
    "64:ff9b::7f00:1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_inwards_is_refused(address: str):
    judge = Wire(base_url="https://judge.example/v1", resolve=lambda host, port: [address])

    assert refusal(lambda: judge.chat({})).code == "address_refused"


def test_one_private_address_among_public_ones_is_enough_to_refuse():
    judge = Wire(base_url="https://judge.example/v1", resolve=lambda host, port: ["93.184.216.34", "10.0.0.1"])

    assert refusal(lambda: judge.chat({})).code == "address_refused"


@pytest.mark.parametrize("url", ["https://127.0.0.1/v1", "https://[::1]/v1", "https://2130706433/v1"])
def test_an_address_written_as_a_number_is_refused_as_well(url: str):
    assert refusal(lambda: Wire(base_url=url).chat({})).code == "address_refused"


def test_an_origin_is_allowed_with_its_port_only():
    with server(says({})) as origin:
        other = Wire(base_url=f"{origin}/v1", allowed_origins=frozenset({"http://127.0.0.1:1"}))

        assert refusal(lambda: other.chat({})).code == "not_https"


def test_the_name_is_looked_up_once_and_that_address_is_connected_to():
    """DNS rebinding: a second look-up would answer with another address."""
    answers = iter([["127.0.0.1"], ["203.0.113.1"]])
    with server(says({"here": True})) as origin:
        port = origin.rsplit(":", 1)[1]
        named = f"http://model-server.example:{port}"
        client = own(named, resolve=lambda host, port: next(answers))

        assert client.chat({}) == {"here": True}
        assert next(answers) == ["203.0.113.1"]


def test_a_public_address_is_connected_to_by_number(monkeypatch: pytest.MonkeyPatch):
    connected: list[str] = []

    def connect(self: Any, host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        connected.append(host)
        raise wire.httpcore.ConnectError("stop here")

    monkeypatch.setattr(wire.httpcore.SyncBackend, "connect_tcp", connect)
    judge = Wire(base_url="https://judge.example/v1", resolve=lambda host, port: ["93.184.216.34"])

    assert refusal(lambda: judge.chat({})).code == "unreachable"
    assert connected == ["93.184.216.34"]


def test_a_name_that_does_not_resolve_is_unreachable():
    def unknown(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    assert refusal(lambda: Wire(base_url="https://judge.example/v1", resolve=unknown).chat({})).code == "unreachable"


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with server(says({})) as origin:
        assert own(origin).chat({}) == {}


def test_a_server_that_dribbles_its_headers_is_cut_off():
    def dribble(handler: BaseHTTPRequestHandler) -> None:
        for piece in range(600):
            try:
                handler.wfile.write(b"HTTP/1.1 200 OK\r\n" if piece == 0 else b"x")
            except OSError:
                return
            time.sleep(0.02)

    with server(dribble) as origin:
        assert refusal(lambda: own(origin, limits=Limits(total_seconds=0.3)).chat({})).code == "timeout"


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("7", 7), ("0.5", 0.5), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("soon", None), ("-1", None), ("9" * 50, None)],
)
def test_a_refusal_says_how_long_to_wait(told: str, seconds: float | None):
    with server(says({}, status=429, headers={"Retry-After": told})) as origin:
        assert refusal(lambda: own(origin).chat({})).retry_after_seconds == seconds


def test_a_refusal_without_a_time_to_wait_names_none():
    with server(says({}, status=429)) as origin:
        assert refusal(lambda: own(origin).chat({})).retry_after_seconds is None


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_nests_without_end_is_no_answer(status: int):
    with server(says(b"[" * 100_000, status=status)) as origin:
        assert refusal(lambda: own(origin).chat({})).code == ("unreadable" if status == 200 else "refused")
