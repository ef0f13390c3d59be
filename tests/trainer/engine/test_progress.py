import time

import msgspec
import pytest

from tests.trainer.engine.conftest import BASE, prepare
from trainer.contract import Control, Heartbeat, Result, StepMetrics, encode
from trainer.engine import progress as progress_module
from trainer.engine.faults import Fenced
from trainer.engine.progress import Progress, peak_memory_bytes


@pytest.fixture(autouse=True)
def _fast_beats(monkeypatch):
    monkeypatch.setattr(progress_module, "BEAT_SECONDS", 0.02)


@pytest.fixture
def directory(tmp_path):
    return prepare(tmp_path, BASE)


def _until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _beat(directory):
    return msgspec.json.decode((directory / "heartbeat.json").read_bytes(), type=Heartbeat)


def test_a_heartbeat_is_there_at_once(directory):
    with Progress(directory, 1):
        assert _beat(directory).phase == "loading"


def test_the_heart_beats_while_the_engine_works(directory):
    with Progress(directory, 1) as progress:
        progress.step = 7

        _until(lambda: _beat(directory).step == 7)


def test_a_request_to_pause_is_heard(directory):
    with Progress(directory, 1) as progress:
        (directory / "control.json").write_bytes(encode(Control("pause")))

        _until(lambda: progress.stop == "pause")


def test_an_engine_whose_attempt_is_over_writes_nothing_more(directory):
    progress = Progress(directory, 1)
    prepare(directory, msgspec.structs.replace(BASE, attempt=2))

    with pytest.raises(Fenced):
        progress.report(StepMetrics(step=1, total_steps=2, at=0.0))

    assert not (directory / "metrics.jsonl").exists()


def test_a_fenced_engine_leaves_no_result(directory):
    progress = Progress(directory, 1)
    prepare(directory, msgspec.structs.replace(BASE, attempt=2))

    with pytest.raises(Fenced):
        progress.end(Result("succeeded", 1))

    assert not (directory / "result.json").exists()


def test_time_belongs_to_the_phase_it_was_spent_in(directory):
    progress = Progress(directory, 1)
    progress.enter("building")
    time.sleep(0.03)
    progress.enter("saving")

    assert progress.seconds["building"] >= 0.03


def test_the_peak_of_memory_is_that_of_a_python_process():
    assert 10_000_000 < peak_memory_bytes() < 100_000_000_000
