"""A relay between client and server that loses replies: the server has done its work, the client never hears of it."""

import socket
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

WAIT_SECONDS = 60
PIECE = 1 << 16
END = b"\r\n\r\n"  # of a head


@dataclass(frozen=True)
class Heard:
    method: str
    path: str  # below the base, without its query
    retry: int  # x-stainless-retry-count
    status: int
    should_retry: str


@dataclass
class Relay:
    """`lose`: how many replies to a path (below the base) are lost, the first ones."""

    upstream: str
    lose: dict[str, int] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)

    def __enter__(self) -> "Relay":
        address = urlsplit(self.upstream)
        self._target, self._prefix = (address.hostname or "", address.port or 80), address.path
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._lost: Counter[str] = Counter()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.getsockname()[1]}{self._prefix}"

    def asked(self, path: str) -> list[Heard]:
        return [one for one in self.heard if one.path == path]

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """One request a connection."""
        with connection, suppress(OSError):
            first, fields, body = _request(connection)
            verb, target, _ = first.split(" ")
            path = target.partition("?")[0].removeprefix(self._prefix)
            with socket.create_connection(self._target, timeout=WAIT_SECONDS) as server:
                server.sendall(_written(first, {**fields, "connection": "close"}) + body)
                reply = b"".join(iter(lambda: server.recv(PIECE), b""))
            answer, about = _head(reply.partition(END)[0])
            count = int(fields.get("x-stainless-retry-count", "0"))
            self.heard.append(Heard(verb, path, count, int(answer.split(" ")[1]), about.get("x-should-retry", "")))
            if self._lost[path] < self.lose.get(path, 0):
                self._lost[path] += 1
                return
            connection.sendall(reply)


def _request(connection: socket.socket) -> tuple[str, dict[str, str], bytes]:
    """(first line, fields, body as it came)."""
    connection.settimeout(WAIT_SECONDS)
    read = b""
    while END not in read:
        read += _more(connection)
    head, _, body = read.partition(END)
    first, fields = _head(head)
    if fields.get("transfer-encoding", "").lower() == "chunked":
        while not body.endswith(b"0" + END):
            body += _more(connection)
    while len(body) < int(fields.get("content-length", "0")):
        body += _more(connection)
    return first, fields, body


def _head(raw: bytes) -> tuple[str, dict[str, str]]:
    """(first line, fields by their names in lower case)."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    return first, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _written(first: str, fields: dict[str, str]) -> bytes:
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in fields.items())]).encode("latin-1") + END


def _more(connection: socket.socket) -> bytes:
    if not (piece := connection.recv(PIECE)):
        raise ConnectionError("the client has left")
    return piece
