"""The session that the README shows, as it stands in its file: real requests, a fake engine and a fake model server."""

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from flywheel.samples import rft_session
from tests.cast import Person
from tests.fakes import model_server
from tests.journeys.conftest import settle, write_demonstrations
from trainer.models import ModelVersion, RunCheckpoint, TrainingRun
from trainer.services import lines, supervision


@pytest.fixture
def line(fake_engine: Callable[..., None], operator: Person, settings: Any) -> None:
    demonstrations = write_demonstrations(settings.DATA_DIR, 10)
    lines.create_shared("Shared", "shared", actor=operator.user, demonstrations=demonstrations, steps=1)
    settle(lambda: ModelVersion.objects.exists())


@pytest.fixture
def answering(settings: Any) -> Iterator[None]:
    with model_server.running() as fake:
        settings.MODEL_SERVER_URL, settings.MODEL_SERVER_TOKEN = fake.url, model_server.TOKEN
        yield


@pytest.fixture
def client(line: None, answering: None, contributor: Person, live_server: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live_server.url}/openai/v1", api_key=contributor.secret, max_retries=0)


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker does while the script waits."""

    def sleep(seconds: float) -> None:
        supervision.supervise()
        time.sleep(0.05)

    monkeypatch.setattr(rft_session, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))


def test_the_session_goes_from_two_files_to_a_model_that_answers(
    client: openai.OpenAI, supervised: None, capsys: pytest.CaptureFixture[str]
):
    rft_session.session(client, "champion", training=12, validation=3, epochs=2)

    told = capsys.readouterr().out
    run = TrainingRun.objects.get()
    assert "grader largest: valid" in told
    assert '{"answer": "35"} earns 0.2' in told
    assert "Step 2/2: training reward=" in told
    assert f"ft:champion:ada-team:largest:{run.pk:08x}:ckpt-step-" in told
    assert RunCheckpoint.objects.filter(run=run).exists()
    assert told.strip().endswith("0% right, of 3 rows never trained on")  # the fake repeats the question


def test_a_job_that_fails_ends_the_session_with_its_sentence(
    client: openai.OpenAI, supervised: None, fake_engine: Callable[..., None]
):
    fake_engine(fail="training")

    with pytest.raises(SystemExit, match="failed"):
        rft_session.session(client, "champion", training=12, validation=3, epochs=2)


def test_its_rows_are_told_apart_by_the_grader():
    for row in rft_session.rows(20, seed=3):
        assert row["largest"] == str(max(int(number) for number in row["numbers"]))
        assert row["messages"][0]["content"] == f"Max {' '.join(row['numbers'])}"
