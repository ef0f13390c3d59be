"""The whole stack as processes. One stack serves the tests that only kill parts of it, in the order of the file."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from flywheel.embedded.children import answers_http
from flywheel.embedded.places import Places
from flywheel.embedded.process import is_alive, wait_until
from flywheel.embedded.services import WEB_PROBE
from flywheel.embedded.stack import Stack

REPOSITORY = Path(__file__).resolve().parents[3]
EMBEDDED = [sys.executable, "-m", "flywheel.embedded"]
PARTS = ["postgres", "broker", "model-server", "web", "worker", "beat"]
START_SECONDS = 180


@dataclass
class Running:
    process: "subprocess.Popen[bytes]"
    data: Path

    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.data / "stack" / "state.json").read_text()))

    def pid(self, part: str) -> int:
        return int(self.state()["children"][part]["pid"])

    def everything(self) -> list[psutil.Process]:
        parts = [psutil.Process(self.pid(part)) for part in PARTS]
        return [*parts, *(child for part in parts for child in part.children(recursive=True))]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


def _environment(data: Path) -> dict[str, str]:
    ours = {"DATABASE_URL", "REDIS_URL", "MODEL_SERVER_URL", "SECRET_KEY", "MODEL_SERVER_TOKEN", "WEB_PORT"}
    return {**{name: value for name, value in os.environ.items() if name not in ours}, "DATA_DIR": str(data)}


def _start(data: Path) -> Running:
    (data / "ready").unlink(missing_ok=True)
    command = [*EMBEDDED, "run", "--", "bash", "-c", f"env > {data}/told; touch {data}/ready; exec sleep 600"]
    running = Running(subprocess.Popen(command, cwd=REPOSITORY, env=_environment(data)), data)
    assert wait_until(
        lambda: (data / "ready").exists() or running.process.poll() is not None, timeout_seconds=START_SECONDS
    )
    assert running.process.poll() is None
    return running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = _start(tmp_path_factory.mktemp("stack"))
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.mark.parametrize("part", PARTS)
def test_any_part_that_is_killed_is_started_again(stack: Running, part: str):
    before = stack.pid(part)
    os.kill(before, signal.SIGKILL)

    assert wait_until(lambda: stack.pid(part) != before, timeout_seconds=60)
    assert wait_until(lambda: answers_http(stack.state()["web_url"] + WEB_PROBE), timeout_seconds=60)


def test_a_second_start_says_in_one_sentence_where_the_first_one_answers(stack: Running):
    second = subprocess.run(
        [*EMBEDDED, "up"], cwd=REPOSITORY, env=_environment(stack.data), capture_output=True, text=True
    )

    assert second.stderr.startswith(f"Already running at {stack.state()['web_url']} ")
    assert second.stderr.count("\n") == 1
    assert second.returncode == 0


def test_the_command_is_told_where_everything_is(stack: Running):
    told = dict(line.split("=", 1) for line in (stack.data / "told").read_text().splitlines() if "=" in line)

    addresses = {name: told[name.upper()] for name in ("database_url", "redis_url", "web_url", "model_server_url")}

    assert addresses == {name: stack.state()[name] for name in addresses}
    assert told["DATA_DIR"] == str(stack.data)
    assert told["MODEL_SERVER_TOKEN"] == (stack.data / "model_server_token").read_text()


def test_the_peak_memory_of_each_part_is_written_down(stack: Running):
    path = stack.data / "stack" / "memory.json"

    parts = json.loads(path.read_text())["parts"]

    assert set(PARTS) <= set(parts)
    assert all(part["peak_mib"] > 1 for part in parts.values())


def test_nothing_outlives_a_supervisor_that_is_killed_and_the_next_one_has_the_data(stack: Running):
    with psycopg.connect(stack.state()["database_url"], autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    processes = stack.everything()
    stack.process.kill()
    stack.process.wait()

    assert wait_until(lambda: not any(is_alive(process) for process in processes), timeout_seconds=30)
    stack.process = _start(stack.data).process
    with psycopg.connect(stack.state()["database_url"]) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_it_starts_again_after_everything_was_killed_at_once(stack: Running):
    for process in [psutil.Process(stack.process.pid), *stack.everything()]:
        if is_alive(process):
            process.kill()
    stack.process.wait()

    stack.process = _start(stack.data).process

    assert answers_http(stack.state()["web_url"] + WEB_PROBE)


def test_an_interrupt_stops_everything_and_leaves_no_state_behind(stack: Running):
    processes = stack.everything()

    stack.stop()

    assert not any(is_alive(process) for process in processes)
    assert not (stack.data / "stack" / "state.json").exists()


def test_the_exit_code_of_the_command_is_passed_on(tmp_path: Path):
    stack = Stack(Places(tmp_path))
    stack.env = dict(os.environ)

    assert stack.run_in_foreground(["bash", "-c", "exit 7"]) == 7


def test_a_folder_of_something_else_is_never_emptied(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")

    done = subprocess.run(
        [*EMBEDDED, "run", "--fresh", "--", "true"],
        cwd=REPOSITORY,
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "choose an empty folder" in done.stderr
    assert os.listdir(tmp_path) == ["thesis.txt"]
