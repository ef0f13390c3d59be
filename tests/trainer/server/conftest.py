"""The real server as a process, with tiny models in its store."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

from tests.fakes.tiny_model import Shelf

REPOSITORY = Path(__file__).resolve().parents[3]
TOKEN = "token-of-the-tests"


@dataclass
class Running:
    process: subprocess.Popen[str]
    url: str
    log: list[str]

    def client(self, token: str = TOKEN, retries: int = 0) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=token, max_retries=retries, timeout=120)

    def post(self, body: object, token: str = TOKEN) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=120)

    def health(self) -> dict:
        return httpx.get(f"{self.url}/health", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30).json()


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    path = tmp_path_factory.mktemp("models")
    yield Shelf(path)
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def alpha(shelf: Shelf) -> str:
    return shelf.add(seed=1)


@pytest.fixture(scope="session")
def beta(shelf: Shelf) -> str:
    return shelf.add(seed=2)


@pytest.fixture(scope="session")
def speller(shelf: Shelf) -> str:
    """It knows every byte, and an end token."""
    return shelf.add(seed=3, end_token=0, vocabulary=320)


@pytest.fixture(scope="session")
def start_server() -> Iterator[Callable[..., Running]]:
    """Starts the real server on a free port. What is still running at the end is killed."""
    started: list[Running] = []

    def start(store: Path, *flags: str, token: str | None = TOKEN) -> Running:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MODEL_SERVER_")}
        environment |= {"MODEL_SERVER_TOKEN": token} if token else {}
        command = [sys.executable, "-m", "trainer.server", "--models", str(store), "--port", "0", "--threads", "1"]
        process = subprocess.Popen(
            [*command, "--device", "cpu", *flags],
            cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        log: list[str] = []
        address = threading.Event()
        threading.Thread(target=_read, args=(process, log, address), daemon=True).start()
        assert address.wait(120), "".join(log)
        found = [match[1] for line in log if (match := re.search(r"on (http://\S+)", line))]
        assert found, "".join(log)
        started.append(Running(process, found[0], log))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGKILL)
            running.process.wait()


def _read(process: subprocess.Popen[str], log: list[str], address: threading.Event) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        log.append(line)
        if "Application startup complete" in line:
            address.set()
    address.set()


@pytest.fixture(scope="session")
def server(shelf: Shelf, alpha: str, beta: str, start_server: Callable[..., Running]) -> Running:
    return start_server(shelf.path, "--max-models", "2")
