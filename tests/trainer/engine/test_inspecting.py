import json
import signal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet
import pytest

from tests.trainer.engine.conftest import prepare_training, prompt_line, run_engine, start_engine, train_spec
from trainer import hacking
from trainer.contract import Report, StepMetrics
from trainer.engine import grpo, inspecting
from trainer.engine.progress import Progress

ANY_DIGIT = {"type": "regex", "pattern": "[0-9]"}


def _train(directory: Path, spec: Any, lines: Any = None) -> Path:
    prepare_training(directory, spec, lines)
    with Progress(directory, spec.attempt) as progress:
        grpo.train(spec, directory, progress)
    return directory


def _report(directory: Path) -> Report:
    return msgspec.json.decode((directory / "report.json").read_bytes(), type=Report)


def _checks(directory: Path) -> dict[str, Any]:
    return {check.name: check for check in _report(directory).checks}


def _rollouts(directory: Path) -> list[dict[str, Any]]:
    files = sorted((directory / "rollouts").glob("step-*.parquet"))
    return [line for path in files for line in pyarrow.parquet.read_table(path).to_pylist()]


@pytest.fixture(scope="module")
def trained(tiny: Any, tmp_path_factory: Any) -> Path:
    spec = msgspec.structs.replace(train_spec(tiny), second_grader=ANY_DIGIT)
    return _train(tmp_path_factory.mktemp("inspected"), spec)


@pytest.fixture(scope="module")
def hackable(tiny: Any, tmp_path_factory: Any) -> Path:
    """By a grader that accepts any digit."""
    return _train(tmp_path_factory.mktemp("hackable"), train_spec(tiny, steps=2, grader=ANY_DIGIT))


def test_a_run_ends_with_every_check(trained: Path):
    assert set(_checks(trained)) == set(hacking.TITLES)


def test_rows_of_training_and_validation_are_asked(trained: Path):
    assert _report(trained).rows == 40 + 8


@pytest.mark.parametrize("name", ["constant", "empty", "spray", "other_reference", "only_thought"])
def test_a_sound_grader_passes(trained: Path, name: str):
    assert _checks(trained)[name].holds is True


def test_the_answers_are_those_of_the_weights_that_were_kept(trained: Path):
    manifest = json.loads((trained / "model" / "manifest.json").read_text())

    assert _report(trained).step == manifest["step"]


def test_a_second_grader_is_compared(trained: Path):
    assert _checks(trained)["second_grader"].n > 0


def test_start_and_end_are_read_from_the_rollouts(trained: Path):
    assert _checks(trained)["length"].value is not None


@pytest.mark.parametrize("name", ["echo", "spray", "other_reference"])
def test_a_grader_that_accepts_any_digit_is_flagged_by_a_run_that_succeeds(hackable: Path, name: str):
    assert _checks(hackable)[name].holds is False


def test_an_inspection_that_breaks_says_so_and_keeps_the_model(tiny: Any, tmp_path: Path, monkeypatch: Any):
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(hacking, "inspect", broken)

    _train(tmp_path, train_spec(tiny, steps=1))

    assert _report(tmp_path).fault.startswith("The inspection broke: RuntimeError: out of luck")
    assert (tmp_path / "model" / "manifest.json").is_file()


def test_answers_behind_the_kept_step_are_not_looked_at(trained: Path):
    early, late = inspecting._said(trained / "rollouts", 1)

    assert early == late


def test_the_command_writes_the_report_before_its_result(tiny: Any, tmp_path: Path):
    prepare_training(tmp_path, train_spec(tiny, steps=1))

    result = run_engine(tmp_path)

    assert (result.status, _report(tmp_path).fault) == ("succeeded", "")


@pytest.fixture(scope="module")
def control(tiny: Any, tmp_path_factory: Any) -> Path:
    return _train(tmp_path_factory.mktemp("control"), train_spec(tiny, steps=3, random_rewards=True))


def test_a_control_run_is_paid_by_a_coin(control: Path):
    lines = _rollouts(control)
    heads = sum(line["reward"] for line in lines) / len(lines)

    assert ({line["reward"] for line in lines}, 0.25 < heads < 0.75) == ({0.0, 1.0}, True)


def test_what_the_grader_says_is_kept_beside_the_coin(control: Path):
    assert all(line["reason"].startswith("A coin decided; the grader says: ") for line in _rollouts(control))


def test_its_validation_keeps_the_graders(control: Path, trained: Path):
    first, other = (
        msgspec.json.decode((directory / "metrics.jsonl").read_bytes().splitlines()[0], type=StepMetrics)
        for directory in (control, trained)
    )

    assert first.validation_reward == other.validation_reward


def test_the_same_seed_tosses_the_same(control: Path, tiny: Any, tmp_path: Path):
    again = _train(tmp_path, train_spec(tiny, steps=3, random_rewards=True))

    assert _rollouts(again) == _rollouts(control)


def test_a_run_killed_before_its_report_writes_it_when_it_goes_on(tiny: Any, tmp_path: Path):
    prepare_training(tmp_path, train_spec(tiny, steps=1))
    killed = start_engine(tmp_path, FLYWHEEL_CRASH_AT="report.before_write").wait()
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()

    result = run_engine(tmp_path)

    assert (killed, result.status, _report(tmp_path).fault) == (-signal.SIGKILL, "succeeded", "")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == weights


def test_rows_without_a_reference_leave_what_needs_one_unchecked(tiny: Any, tmp_path: Path):
    lines = [prompt_line(n, item={}, grader=ANY_DIGIT) for n in range(12)]

    directory = _train(tmp_path, train_spec(tiny, steps=1, validation_prompts=0), lines)

    assert _checks(directory)["other_reference"].holds is None
