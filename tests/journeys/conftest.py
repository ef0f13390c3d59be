"""A platform without a worker: jobs run where they are called, and the tests turn supervision by hand."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flywheel.celery import app
from flywheel.samples.datasets import questions, row
from flywheel.samples.demonstrations import demonstrations
from flywheel.samples.families import Family
from tests.cast import Person, of_own_team, of_the_pool
from trainer.services import supervision

FAKE_ENGINE = Path(__file__).parents[1] / "fakes" / "engine.py"


@pytest.fixture
def platform(transactional_db: None, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DATA_DIR of an empty platform; the system team is there, as after a first migration."""
    settings.DATA_DIR = tmp_path / "data"
    settings.DATA_DIR.mkdir()
    monkeypatch.setitem(app.conf, "task_always_eager", True)
    return tmp_path


@pytest.fixture
def fake_engine(platform: Path, settings: Any) -> Callable[..., None]:
    knobs = platform / "knobs.json"
    settings.ENGINE_COMMAND = f"{sys.executable} {FAKE_ENGINE} --knobs {knobs}"

    def turn(**values: object) -> None:
        knobs.write_text(json.dumps(values))

    turn()
    return turn


@pytest.fixture
def contributor(platform: Path) -> Person:
    return of_own_team("ada")


@pytest.fixture
def reviewer(platform: Path) -> Person:
    return of_the_pool("rosa", "reviewer")


@pytest.fixture
def operator(platform: Path) -> Person:
    return of_the_pool("otto", "operator")


@pytest.fixture
def stranger(platform: Path) -> Person:
    return of_own_team("sam")


def sample_rows(family: Family, count: int, *, seed: int = 1) -> bytes:
    asked = questions(family, seed)
    return b"".join(json.dumps(row(next(asked))).encode() + b"\n" for _ in range(count))


def write_demonstrations(data_dir: Path, count: int) -> str:
    told = demonstrations(1)
    (data_dir / "demonstrations").mkdir()
    with (data_dir / "demonstrations" / "flawed.jsonl").open("w") as file:
        file.writelines(json.dumps(next(told)) + "\n" for _ in range(count))
    return "flawed.jsonl"


def settle(done: Callable[[], bool], seconds: float = 240) -> None:
    """Supervise, pass after pass, until it is done."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "nothing came of it in time"
        supervision.supervise()
        time.sleep(0.05)
