import http.server
import signal
import subprocess
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from flywheel.embedded import children
from flywheel.embedded.children import Child, answers_http
from flywheel.embedded.process import wait_until


def _child(tmp_path: Path, *command: str, **more: object) -> Child:
    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command, start_new_session=True)

    return Child("one", start, tmp_path / "log", lambda: True, **more)  # type: ignore[arg-type]


def test_a_dead_child_is_started_again(tmp_path: Path):
    child = _child(tmp_path, "sleep", "60")
    child.launch()
    assert child.process is not None
    child.process.kill()
    child.process.wait()

    revived = child.revive()

    assert (revived, child.is_alive(), child.restarts) == (True, True, 1)
    child.ask_to_stop()
    child.finish_stopping()


def test_a_living_child_is_left_alone(tmp_path: Path):
    child = _child(tmp_path, "sleep", "60")
    child.launch()

    assert child.revive() is False
    child.ask_to_stop()
    child.finish_stopping()


def test_the_pause_doubles_with_each_death_in_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = [1000.0]
    monkeypatch.setattr(children.time, "monotonic", lambda: clock[0])
    child = _child(tmp_path, "false")
    child.launch()
    pauses = []
    for _ in range(8):
        assert child.process is not None
        child.process.wait()
        clock[0] = max(clock[0], child.not_before)
        child.revive()
        pauses.append(round(child.not_before - clock[0], 1))

    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_a_child_that_had_settled_starts_again_without_a_long_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = [1000.0]
    monkeypatch.setattr(children.time, "monotonic", lambda: clock[0])
    child = _child(tmp_path, "true")
    child.deaths_in_a_row = 6
    child.launch()
    assert child.process is not None
    child.process.wait()
    clock[0] += children.SETTLED_SECONDS + 1

    child.revive()

    assert child.deaths_in_a_row == 1


def test_a_child_that_ignores_the_request_is_killed_after_its_grace(tmp_path: Path):
    deaf = tmp_path / "deaf"
    script = f"trap '' TERM; touch {deaf}; while :; do sleep 0.1; done"
    child = _child(tmp_path, "bash", "-c", script, grace_seconds=0.5)
    child.launch()
    assert wait_until(deaf.exists, timeout_seconds=30)

    child.ask_to_stop()
    child.finish_stopping()

    assert child.process is not None
    assert child.process.returncode == -signal.SIGKILL


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "healthy"),
    [(HTTPStatus.OK, True), (HTTPStatus.UNAUTHORIZED, True), (HTTPStatus.INTERNAL_SERVER_ERROR, False)],
)
def test_a_refusal_is_a_sign_of_life_and_a_server_error_is_not(server: str, status: int, healthy: bool):
    assert answers_http(f"{server}/{int(status)}") is healthy


def test_nobody_listening_is_not_healthy():
    assert answers_http("http://127.0.0.1:9/") is False
