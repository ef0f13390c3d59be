"""A model server without a model: the real wire format (trainer.server), answers that repeat the question."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from trainer.server import chat, replies
from trainer.server.faults import Fault

TOKEN = "for-tests-only"


@dataclass
class FakeModelServer:
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)  # digests whose files it does not have
    breaks_after: int | None = None  # pieces of a stream


@contextmanager
def running() -> Iterator[FakeModelServer]:
    fake = FakeModelServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._json(200, {"object": "list", "data": []})

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            fake.asked.append(json.loads(raw))
            fake.tokens.append(self.headers.get("Authorization", ""))
            try:
                ask = chat.parse(raw, max_choices=8, max_tokens=100)
                if ask.model in fake.missing:
                    raise Fault(404, "model_not_found", f"There is no {ask.model}.", param="model")
            except Fault as fault:
                self._json(fault.status, fault.envelope())
                return
            words = str(ask.messages[-1]["content"]).split(" ")
            if ask.stream:
                self._stream(ask, words)
            else:
                self._json(200, replies.Reply(ask).whole([" ".join(words)] * ask.n, ["stop"] * ask.n, 3, len(words)))

        def _stream(self, ask: chat.Ask, words: list[str]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            reply = replies.Reply(ask)
            self.wfile.write(reply.opening(0))
            for count, word in enumerate(words):
                if count == fake.breaks_after:
                    return
                self.wfile.write(reply.piece(0, word))
            self.wfile.write(reply.closing(0, "stop"))
            if ask.include_usage:
                self.wfile.write(reply.usage(3, len(words)))
            self.wfile.write(replies.DONE)

        def _json(self, status: int, body: Any) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

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
