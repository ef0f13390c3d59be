import fcntl
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from tests.trainer.engine.conftest import (
    BASE,
    REPOSITORY,
    demonstration_lines,
    prepare,
    prepare_training,
    run_engine,
    start_engine,
    train_spec,
)
from trainer.contract import Control, Result, encode
from trainer.engine import __main__ as engine_main
from trainer.engine import checkpoints
from trainer.engine.history import History
from trainer.engine.progress import FENCED


@pytest.fixture
def long_run(tiny, tmp_path):
    return prepare_training(tmp_path, train_spec(tiny, steps=100_000, save_every=1000, measure_every=1000))


def _result(directory):
    return msgspec.json.decode((directory / "result.json").read_bytes(), type=Result)


def _loaded_by_the_engine(directory, module):
    """Whether an engine that has worked on the directory has imported the module, in an interpreter of its own."""
    code = "import sys; from trainer.engine.__main__ import main; main(sys.argv[:2]); print(sys.argv[2] in sys.modules)"
    command = [sys.executable, "-c", code, str(directory), module]
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return said.strip().splitlines()[-1] == "True"


def _until(condition, engine):
    while not condition():
        assert engine.poll() is None
        time.sleep(0.02)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    directory = prepare(tmp_path_factory.mktemp("built"), BASE, demonstrations=demonstration_lines())
    return directory, run_engine(directory)


def test_a_base_is_built_from_the_command_line(built):
    directory, result = built

    assert (result.status, result.model) == ("succeeded", checkpoints.verified(directory / "model"))


def test_the_result_says_what_it_was_made_with(built):
    _, result = built

    assert {"engine", "torch", "transformers", "trl", "processor", "threads"} <= set(result.environment)
    assert result.environment["threads"] == "1"


def test_the_result_says_how_long_the_work_took(built):
    assert built[1].seconds["building"] > 0


def test_the_result_says_how_large_the_engine_was(built):
    assert built[1].peak_memory_bytes > 50_000_000


def test_a_directory_without_a_spec_fails_at_the_spec_boundary(tmp_path):
    engine_main.main(["engine", str(tmp_path)])

    assert _result(tmp_path).error.code == "spec_missing"


def test_a_malformed_spec_names_the_field(tmp_path):
    (tmp_path / "spec.json").write_text('{"kind":"base","steps":"many","attempt":3}')

    status = engine_main.main(["engine", str(tmp_path)])

    assert status == 1
    assert _result(tmp_path).attempt == 3
    assert "$.steps" in _result(tmp_path).error.sentence


def test_a_malformed_spec_needs_no_torch(tmp_path):
    (tmp_path / "spec.json").write_text("{}")

    assert not _loaded_by_the_engine(tmp_path, "torch")


def test_judges_that_cannot_be_read_are_told_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGES", "gpt")

    status = start_engine(tmp_path).wait()

    assert status == 2
    assert (tmp_path / "engine.log").read_text().startswith("JUDGES must be a JSON object")


def test_the_engine_loads_no_django(tiny, tmp_path):
    prepare_training(tmp_path, train_spec(tiny, steps=1))

    assert not _loaded_by_the_engine(tmp_path, "django")
    assert _result(tmp_path).status == "succeeded"


def test_a_missing_file_is_one_sentence(tmp_path):
    result = run_engine(prepare(tmp_path, BASE))

    assert result.error.sentence == "demonstrations.jsonl is missing in the run directory."


def test_a_wrong_command_writes_nothing(tmp_path):
    assert engine_main.main(["engine", str(tmp_path / "nowhere")]) == 2


def test_a_directory_that_another_engine_holds_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_main, "LOCK_PATIENCE_SECONDS", 0.1)
    prepare(tmp_path, BASE)
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)

        status = engine_main.main(["engine", str(tmp_path)])

    assert status == engine_main.LOCKED
    assert not (tmp_path / "result.json").exists()


def test_a_termination_hands_the_run_back_with_a_checkpoint(long_run):
    engine = start_engine(long_run)
    _until((long_run / "samples.jsonl").exists, engine)

    engine.send_signal(signal.SIGTERM)

    assert engine.wait(timeout=60) == 0
    assert _result(long_run).status == "handed_back"
    assert History(long_run / "checkpoints").standing()[0].step == _result(long_run).step


def test_a_request_to_pause_is_obeyed_once(long_run):
    engine = start_engine(long_run)
    _until((long_run / "samples.jsonl").exists, engine)

    (long_run / "control.json").write_bytes(encode(Control("pause")))

    assert engine.wait(timeout=60) == 0
    assert _result(long_run).status == "paused"
    assert not (long_run / "control.json").exists()


def test_an_engine_leaves_when_another_attempt_takes_over(long_run, tiny):
    engine = start_engine(long_run)
    _until((long_run / "samples.jsonl").exists, engine)

    prepare(long_run, train_spec(tiny, attempt=2))

    assert engine.wait(timeout=60) == FENCED
    assert not (long_run / "result.json").exists()
