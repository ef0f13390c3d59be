import subprocess
import sys

import msgspec
import pyarrow.parquet
import pytest

from tests.trainer.engine.conftest import REPOSITORY, prepare_training, train_spec
from trainer.contract import Result, StepMetrics
from trainer.engine import ranks
from trainer.engine.history import History

TWO = ("--cpu", "--num_machines", "1", "--num_processes", "2", "--mixed_precision", "no", "--dynamo_backend", "no")


@pytest.fixture(scope="module")
def by_two(tiny, tmp_path_factory):
    """A run of two processes on this machine's processor, as `accelerate launch` starts one for each GPU."""
    directory = prepare_training(tmp_path_factory.mktemp("by_two"), train_spec(tiny, updates_per_step=2))
    launch = [sys.executable, "-m", "accelerate.commands.launch", *TWO, "--main_process_port", "0"]
    with (directory / "engine.log").open("wb") as log:
        subprocess.run(
            [*launch, "--module", "trainer.engine", str(directory)], cwd=REPOSITORY, stdout=log, stderr=log, timeout=300
        )
    return directory


def _result(directory):
    return msgspec.json.decode((directory / "result.json").read_bytes(), type=Result)


def test_two_processes_train_one_model(by_two):
    result = _result(by_two)

    assert (result.status, result.step) == ("succeeded", 4), (by_two / "engine.log").read_text()


def test_each_step_is_reported_by_one_process_only(by_two):
    steps = [
        msgspec.json.decode(line, type=StepMetrics).step
        for line in (by_two / "metrics.jsonl").read_bytes().splitlines()
    ]

    assert steps == [0, 1, 2, 3, 4]


def test_the_rollouts_of_a_step_are_those_of_all_processes(by_two):
    table = pyarrow.parquet.read_table(by_two / "rollouts" / "step-000001.parquet")

    assert table.num_rows >= 16


def test_the_checkpoints_of_two_processes_are_sound(by_two):
    assert [found.step for found in History(by_two / "checkpoints").standing()] == [4, 2]


def test_a_process_alone_is_the_first(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)

    assert ranks.first()


def test_a_process_alone_is_told_its_own_value(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    assert ranks.told_by_first("mine") == "mine"
