"""Somebody else's server that takes webhooks, over real sockets: it answers what a test tells it to, and remembers."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Got:
    path: str
    headers: dict[str, str]  # names in small letters
    body: str

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """`answers`: statuses that are used up, the last one stays; "close" hangs up, a float is slept before 200."""

    origin: str = ""
    answers: list[Any] = field(default_factory=lambda: [200])
    says: str = "thanks"
    headers: dict[str, str] = field(default_factory=dict)
    got: list[Got] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"{self.origin}/news"

    def next(self) -> Any:
        with self.lock:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def running() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            with receiver.lock:
                receiver.got.append(Got(self.path, headers, body))
            answer = receiver.next()
            if answer == "close":
                self.close_connection = True
                return
            if isinstance(answer, float):
                time.sleep(answer)
            self._say(200 if isinstance(answer, float) else answer)

        def _say(self, status: int) -> None:
            raw = receiver.says.encode()
            try:
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)
            except OSError:
                """The platform has hung up, as it should on what is too slow."""

        def log_message(self, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    receiver.origin = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
