"""A judge on the OpenAI wire over real sockets: it answers what a test tells it to, and remembers what it was asked."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tasks.graders.judges import Endpoint, Judges


@dataclass
class Reply:
    """One HTTP answer. `content` is what the judge says; `body` replaces the whole JSON, `raw` the very bytes."""

    content: Any = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    refusal: str | None = None
    finish_reason: str = "stop"
    usage: dict[str, Any] | None = field(default_factory=lambda: {"prompt_tokens": 11, "completion_tokens": 7})
    body: Any = None
    raw: bytes | None = None
    after_seconds: float = 0.0

    def bytes(self) -> bytes:
        if self.raw is not None:
            return self.raw
        if self.body is not None:
            return json.dumps(self.body).encode()
        said = self.content if isinstance(self.content, str) else json.dumps(self.content)
        message = {"role": "assistant", "content": None if self.refusal else said, "refusal": self.refusal}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return json.dumps({"object": "chat.completion", "choices": [choice], "usage": self.usage}).encode()


def error(status: int, code: str = "", message: str = "", param: str | None = None, **more: Any) -> Reply:
    envelope = {"error": {"message": message, "type": "error", "param": param, "code": code}}
    return Reply(status=status, body=envelope, **more)


def score(number: Any, conclusion: str = "Well reasoned.") -> Reply:
    return Reply({"steps": [{"description": "Compare", "conclusion": conclusion}], "result": number})


@dataclass
class FakeJudge:
    """`answers`: one function of the request's body, or a list that is used up; the last one stays."""

    url: str = ""
    answers: Callable[[dict[str, Any]], Reply] | list[Reply] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, body: dict[str, Any]) -> Reply:
        if callable(self.answers):
            return self.answers(body)
        with self.lock:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def judges(self, **settings: Any) -> Judges:
        """A configuration in which this server judges for every model."""
        endpoint = Endpoint(url=f"{self.url}/v1", api_key="the key")
        return Judges({"*": endpoint}, **{"seconds": 20.0, "pause_seconds": 0.001, **settings})


def last_text(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


@contextmanager
def running() -> Iterator[FakeJudge]:
    fake = FakeJudge()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with fake.lock:
                fake.asked.append(body)
                fake.tokens.append(self.headers.get("Authorization", ""))
                fake.at_once += 1
                fake.most_at_once = max(fake.most_at_once, fake.at_once)
            try:
                reply = fake.next(body)
                time.sleep(reply.after_seconds)
            finally:
                with fake.lock:
                    fake.at_once -= 1  # before it is sent: whoever has it may ask again at once
            self._send(reply)

        def _send(self, reply: Reply) -> None:
            raw = reply.bytes()
            try:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)
            except OSError:
                """The client has hung up, as it should on what is too slow or too long."""

        def log_message(self, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
