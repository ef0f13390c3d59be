"""kill -9 of the web server in the middle of a piece: what had arrived by then is never asked for again."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.models import PartialUpload, Upload
from tasks.services import resumable, uploads
from tests import world
from tests.cast import Person

pytestmark = pytest.mark.django_db(transaction=True)

PIECE = "application/offset+octet-stream"
BODY = world.rows(3000)
CUT = 8 * len(BODY) // 10


@contextmanager
def served(environment: dict[str, str], files: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """(port, master process) of gunicorn with one worker, in a group of its own: killed as a whole at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "flywheel.wsgi:application", "--bind", f"127.0.0.1:{port}"]
    command += ["--worker-class", "gthread", "--threads", "4", "--no-control-socket"]
    server = subprocess.Popen(command, env={**environment, "DATA_DIR": str(files.parent)}, start_new_session=True)
    try:
        _wait_for(lambda: _answers(port))
        yield port, server
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_for(done: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "nothing came of it in time"
        time.sleep(0.02)


@pytest.fixture
def files(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "files"
    return tmp_path / "files"


@pytest.fixture
def partial(contributor: Person, files: Path) -> PartialUpload:
    dataset = world.private_dataset(contributor)
    return resumable.begin(dataset, length=len(BODY), filename="sums.jsonl", actor=contributor.user)


def _headers(person: Person, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.secret}", "Tus-Resumable": "1.0.0", **more}


def _begin_to_send(port: int, person: Person, address: str, part: bytes) -> http.client.HTTPConnection:
    """A PATCH of the whole file of which only a part is sent."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("PATCH", address)
    about = {"Upload-Offset": "0", "Content-Type": PIECE, "Content-Length": str(len(BODY))}
    for name, value in _headers(person, **about).items():
        connection.putheader(name, value)
    connection.endheaders(part)
    return connection


def _ask(port: int, method: str, address: str, headers: dict[str, str], body: bytes | None = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, address, body, headers)
    reply = connection.getresponse()
    reply.read()
    connection.close()
    return reply


def test_an_upload_whose_server_is_killed_at_80_percent_goes_on_from_there(
    contributor: Person, partial: PartialUpload, server_environment: dict[str, str], files: Path
):
    address = f"/api/v1/uploads/resumable/{partial.pk}"
    with served(server_environment, files) as (port, server):
        connection = _begin_to_send(port, contributor, address, BODY[:CUT])
        _wait_for(lambda: resumable.offset(partial) > CUT - 262_144)
        os.killpg(server.pid, signal.SIGKILL)
        connection.close()
    kept = resumable.offset(partial)

    with served(server_environment, files) as (port, _):
        told = int(_ask(port, "HEAD", address, _headers(contributor)).headers["Upload-Offset"])
        about = _headers(contributor, **{"Upload-Offset": str(told), "Content-Type": PIECE})
        last = _ask(port, "PATCH", address, about, BODY[told:])

    assert (told, CUT - 262_144 < told <= CUT) == (kept, True)
    assert (last.status, last.headers["Upload-Offset"]) == (204, str(len(BODY)))
    assert uploads.stored_file(Upload.objects.get()).read_bytes() == BODY


def test_of_two_that_send_at_once_one_is_told_to_wait(
    contributor: Person, partial: PartialUpload, server_environment: dict[str, str], files: Path
):
    address = f"/api/v1/uploads/resumable/{partial.pk}"
    with served(server_environment, files) as (port, _):
        connection = _begin_to_send(port, contributor, address, BODY[:CUT])
        _wait_for(lambda: resumable.offset(partial) > 0)
        about = _headers(contributor, **{"Upload-Offset": str(resumable.offset(partial)), "Content-Type": PIECE})

        second = _ask(port, "PATCH", address, about, b"x")
        connection.send(BODY[CUT:])

        assert (second.status, connection.getresponse().status) == (423, 204)
