"""A live server with a fake engine, a model that everybody starts from, and people with the official client."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from flywheel.celery import app
from tests import cast
from tests.cast import Person
from tests.trainer.services.settling import settle
from trainer.models import Alias, Line, ModelVersion
from trainer.services import artifacts
from trainer.states import LinePurpose

Clients = Callable[..., openai.OpenAI]
FAKE_ENGINE = Path(__file__).parents[2] / "fakes" / "engine.py"
EXACT = {
    "type": "string_check",
    "name": "same",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "operation": "eq",
}


@pytest.fixture
def jobs_run(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Background jobs run where they are called; the engine is fake and has these knobs."""
    knobs = tmp_path / "knobs.json"
    knobs.write_text("{}")
    settings.ENGINE_COMMAND = f"{sys.executable} {FAKE_ENGINE} --knobs {knobs}"
    settings.DATA_DIR = tmp_path / "data"
    monkeypatch.setitem(app.conf, "task_always_eager", True)
    return lambda **values: knobs.write_text(json.dumps(values)) and None


@pytest.fixture
def contributor(transactional_db: None) -> Person:
    return cast.of_own_team("carla")


@pytest.fixture
def stranger(transactional_db: None) -> Person:
    return cast.of_own_team("sven")


@pytest.fixture
def stored(settings: Any, tmp_path: Path) -> Path:
    """Where files lie."""
    settings.MEDIA_ROOT = tmp_path / "files"
    return tmp_path / "files"


@pytest.fixture
def base(transactional_db: None, jobs_run: Callable[..., None], tmp_path: Path) -> ModelVersion:
    """The shared line's first champion."""
    source = tmp_path / "base"
    source.mkdir()
    header = b'{"weight":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    (source / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"abcd")
    (source / "config.json").write_text("{}")
    (source / "tokenizer.json").write_text("{}")
    manifest = artifacts.take_in(source)
    operator = cast.of_the_pool("olga", "operator")
    line = Line.objects.create(team=operator.team, slug="shared", name="Shared", purpose=LinePurpose.SHARED)
    version = ModelVersion.objects.create(
        line=line, number=0, digest=manifest.digest, origin="built locally", parameters=4, bytes=4
    )
    for name in ("champion", "anchor"):
        Alias.objects.create(line=line, name=name, version=version)
    return version


@pytest.fixture
def clients(live_server: Any) -> Clients:
    def client(person: Person, **options: Any) -> openai.OpenAI:
        given = {"api_key": person.secret, "max_retries": 0, **options}
        return openai.OpenAI(base_url=f"{live_server.url}/openai/v1", **given)

    return client


def jsonl(rows: list[Any]) -> bytes:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()


def rows(count: int, *, start: int = 0) -> list[Any]:
    return [
        {"messages": [{"role": "user", "content": f"What comes after {n}?"}], "answer": str(n + 1)}
        for n in range(start, start + count)
    ]


def until(done: Callable[[], bool]) -> None:
    settle(done)
