"""Datasets by id, at a hub of our own on the loopback: what is listed, what is fetched, and what is refused."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tasks.errors import Busy, Invalid, NotFound, TooLarge
from tasks.formats import hub, source

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROWS = b'{"prompt": "2 + 2?", "reference": 4}\n'
FILES = {"data/train.jsonl": ROWS, "README.md": b"# About", "load.py": b"raise SystemExit", "dataset_infos.json": b"{}"}


class Hub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/datasets/ada/sums"):
            siblings = [{"rfilename": name, "size": len(data)} for name, data in FILES.items()]
            about = {"id": "ada/sums", "sha": COMMIT, "siblings": siblings, "cardData": {"license": "mit"}, "tags": []}
            self._answer(200, json.dumps(about).encode())
        elif path.startswith("/api/datasets/ada/prose"):
            self._answer(200, json.dumps({"id": "ada/prose", "sha": COMMIT, "siblings": [], "tags": []}).encode())
        elif path.startswith("/api/datasets/ada/broken"):
            self._answer(503, b"")
        elif path == f"/datasets/ada/sums/resolve/{COMMIT}/data/train.jsonl":
            self._answer(200, FILES["data/train.jsonl"])
        else:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    yield address
    server.shutdown()
    server.server_close()


def test_a_dataset_names_its_commit_and_the_files_that_can_be_read():
    found = hub.look_up("ada/sums")

    assert (found.revision, found.licence) == (COMMIT, "mit")
    assert [(file.path, file.size) for file in found.files] == [("data/train.jsonl", len(ROWS))]


def test_a_file_is_fetched_and_can_be_read(tmp_path):
    path = hub.download(hub.look_up("ada/sums").files[0], tmp_path, max_bytes=1000)

    assert path.read_bytes() == ROWS
    assert source.detect(path, path.name).dialect == "native"


@pytest.mark.parametrize("told", [len(ROWS), 1])
def test_a_file_that_is_too_large_is_refused_whatever_its_size_was_said_to_be(tmp_path, told):
    file = hub.look_up("ada/sums").files[0]

    with pytest.raises(TooLarge):
        hub.download(hub.HubFile(file.path, told, file.url), tmp_path, max_bytes=10)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["ada/none", "ada/prose"])
def test_what_is_not_there_is_told(name):
    with pytest.raises(NotFound) as refusal:
        hub.look_up(name)

    assert name in refusal.value.sentence


@pytest.mark.parametrize("name", ["../etc", "a/b/c", "", "ada/sums?x", "http://127.0.0.1/x"])
def test_a_name_that_is_none_is_never_asked_for(name):
    with pytest.raises(Invalid):
        hub.look_up(name)


def test_a_hub_in_trouble_is_told():
    with pytest.raises(Busy) as refusal:
        hub.look_up("ada/broken")

    assert "503" in refusal.value.sentence


def test_where_no_hub_is_reachable_the_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(Busy) as refusal:
        hub.look_up("ada/sums")

    assert "No hub is reachable" in refusal.value.sentence
