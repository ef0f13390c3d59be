"""One live server for all scenarios, as a user runs it, and each major of the client in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest

from flywheel.embedded.process import die_with_parent, wait_until
from tests.contracts.setting import MAJORS

REPOSITORY = Path(__file__).resolve().parents[2]
FAKE_ENGINE = REPOSITORY / "tests" / "fakes" / "engine.py"
START_SECONDS, STOP_SECONDS = 240, 90
_OURS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "MODEL_SERVER_URL", "MODEL_SERVER_TOKEN", "WEB_PORT")


def python_of(major: str) -> Path:
    """The interpreter of a major's environment (make clients)."""
    return REPOSITORY / ".venv" / f"openai-{major}" / "bin" / "python"


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A whole stack on a folder of its own; the file that says where it is and who has which key."""
    folder = tmp_path_factory.mktemp("contracts")
    given = {name: value for name, value in os.environ.items() if name not in _OURS}
    environment = {
        **given,
        "DATA_DIR": str(folder / "data"),
        "ENGINE_COMMAND": f"{sys.executable} {FAKE_ENGINE} --knobs {folder / 'knobs.json'}",
        "ENGINE_SLOTS": "6",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "flywheel.embedded", "run", "--fresh", "--"]
    command += [sys.executable, "-m", "tests.contracts.setting", str(folder)]
    with (folder / "output.txt").open("ab") as output:
        stack = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output, preexec_fn=die_with_parent(SIGTERM)
        )
    told = folder / "told.json"
    try:
        wait_until(lambda: told.exists() or stack.poll() is not None, timeout_seconds=START_SECONDS, every_seconds=0.2)
        assert told.exists(), (folder / "output.txt").read_text()[-3000:]
        yield told
    finally:
        stack.terminate()
        stack.wait(STOP_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


class Runner:
    """A client's process. It has its questions from the start and works on them while others are asked."""

    def __init__(self, major: str, told: Path, names: list[str]) -> None:
        self._outcomes: dict[str, dict[str, Any]] = {}
        self._process = subprocess.Popen(
            [str(python_of(major)), "-m", "tests.contracts.runner", str(told), major],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent(SIGKILL),
        )
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{name}\n" for name in names))
        self._process.stdin.close()

    def outcome(self, name: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        while name not in self._outcomes:
            line = self._process.stdout.readline()
            assert line, f"the client's process ended with status {self._process.wait()} before {name}"
            told = json.loads(line)
            self._outcomes[told["name"]] = told
        return self._outcomes[name]

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="session")
def runners(live: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Runner]]:
    """By major, each with the scenarios that this run of the tests has chosen."""
    asked: dict[str, list[str]] = {major: [] for major in MAJORS}
    for item in request.session.items:
        if (chosen := getattr(item, "callspec", None)) and {"major", "scenario"} <= chosen.params.keys():
            asked[chosen.params["major"]].append(chosen.params["scenario"])
    found = {major: Runner(major, live, names) for major, names in asked.items() if names}
    yield found
    for runner in found.values():
        runner.end()
