"""Starting and ending: what is refused at the door, and what is left behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.fakes.tiny_model import Shelf
from tests.trainer.server.conftest import REPOSITORY, TOKEN, Running
from trainer.server.__main__ import is_loopback, parse_arguments


def start_in_vain(*flags: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MODEL_SERVER_")}
    command = [sys.executable, "-m", "trainer.server", *flags]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_without_a_token_it_does_not_listen_beyond_loopback(host: str) -> None:
    refused = start_in_vain("--host", host, "--port", "0")

    assert refused.returncode == 1
    assert "Set MODEL_SERVER_TOKEN" in refused.stderr


def test_a_port_in_use_is_told_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = start_in_vain("--port", str(taken.getsockname()[1]))

    assert refused.stderr.startswith("Port ")
    assert "Choose another with --port" in refused.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "0.0.0.0", "::", "localhost.example.org"])
def test_every_other_address_needs_one(host: str) -> None:
    assert not is_loopback(host)


def test_flags_may_come_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_SERVER_PORT", "9001")
    monkeypatch.setenv("MODEL_SERVER_MAX_MODELS", "7")

    arguments = parse_arguments([])

    assert (arguments.port, arguments.max_models) == (9001, 7)


def test_models_are_looked_for_in_the_data_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MODEL_SERVER_MODELS", raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))

    assert parse_arguments([]).models == tmp_path / "models"


def test_nonsense_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_SERVER_PORT", "eight")

    with pytest.raises(SystemExit):
        parse_arguments([])


def test_sigterm_lets_an_answer_finish_and_ends_cleanly(
    start_server: Callable[..., Running], shelf: Shelf, alpha: str
) -> None:
    server = start_server(shelf.path)
    body = {"model": alpha, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 500, "stream": True}
    headers = {"Authorization": f"Bearer {TOKEN}"}

    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=60) as reply:
        lines = reply.iter_lines()
        next(lines)
        server.process.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]

    assert rest[-1] == "data: [DONE]"
    assert server.process.wait(60) == 0


def test_killed_it_leaves_nothing_behind(start_server: Callable[..., Running], tmp_path: Path) -> None:
    server = start_server(tmp_path)
    children = psutil.Process(server.process.pid).children()

    server.process.send_signal(signal.SIGKILL)
    server.process.wait()

    assert (children, list(tmp_path.iterdir())) == ([], [])
    with socket.create_server(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))):
        pass  # its port is free again
