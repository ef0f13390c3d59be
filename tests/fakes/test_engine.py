"""The fake engine keeps the contract that the real one keeps; other tests rest on that."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from trainer import contract
from trainer.runspec import RunSpec

ENGINE = Path(__file__).with_name("engine.py")
REPOSITORY = ENGINE.parents[2]
MODEL = contract.ModelRef(path="/nowhere", digest="0" * 64)


def run(directory: Path, spec: contract.Spec, *options: str, **knobs: object) -> contract.Result | None:
    directory.mkdir(exist_ok=True)
    (directory / "spec.json").write_bytes(contract.encode(spec))
    for name in ("demonstrations.jsonl", "train.jsonl"):
        (directory / name).write_text("{}\n")
    if knobs:
        (directory / "fake.json").write_text(json.dumps(knobs))
    subprocess.run(
        [sys.executable, str(ENGINE), *options, str(directory)], env={"PYTHONPATH": str(REPOSITORY)}, check=False
    )
    result = directory / "result.json"
    return msgspec.json.decode(result.read_bytes(), type=contract.Result) if result.exists() else None


def train(attempt: int = 1) -> contract.TrainSpec:
    return contract.TrainSpec(run="r", model=MODEL, recipe=RunSpec(steps=6), attempt=attempt)


def pass_rates(directory: Path, seed: int = 0, **knobs: object) -> dict[str, float]:
    directory.mkdir(exist_ok=True)
    items = [
        contract.EvalItem(f"{n:032x}", suite, "", [contract.ChatMessage("user", "?")], {}, {}, suite)
        for n, suite in enumerate(["adding", "reversing"] * 200)
    ]
    (directory / "items.jsonl").write_bytes(b"".join(contract.encode(item) + b"\n" for item in items))
    spec = contract.EvaluateSpec("e", {"champion": MODEL, "candidate": MODEL}, contract.Sampling(seed=seed))
    run(directory, spec, **knobs)
    lines = (directory / "scores.jsonl").read_bytes().splitlines()
    scores = [msgspec.json.decode(line, type=contract.Score) for line in lines]
    by_name: dict[str, list[float]] = {}
    for score in scores:
        by_name.setdefault(score.side, []).append(score.score)
        by_name.setdefault(f"{score.side} {score.suite}", []).append(score.score)
    return {name: sum(values) / len(values) for name, values in by_name.items()}


def test_a_training_run_writes_one_line_of_metrics_a_step(tmp_path: Path) -> None:
    run(tmp_path, train())

    lines = (tmp_path / "metrics.jsonl").read_bytes().splitlines()
    steps = [msgspec.json.decode(line, type=contract.StepMetrics).step for line in lines]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_the_published_models_manifest_carries_its_digest(tmp_path: Path) -> None:
    result = run(tmp_path, contract.BaseSpec(steps=2))

    manifest = msgspec.json.decode((tmp_path / "model" / "manifest.json").read_bytes(), type=contract.Manifest)
    assert result is not None
    assert result.model == manifest
    assert manifest.digest == contract.manifest_digest(manifest.files)


def test_the_candidate_passes_twice_as_often_as_the_champion(tmp_path: Path) -> None:
    rates = pass_rates(tmp_path)

    assert (rates["champion"], rates["candidate"]) == pytest.approx((0.3, 0.6), abs=0.05)


def test_a_suite_can_fall_while_another_rises(tmp_path: Path) -> None:
    rates = pass_rates(tmp_path, candidate={"*": 0.6, "reversing": 0.1})

    assert (rates["candidate adding"], rates["candidate reversing"]) == pytest.approx((0.6, 0.1), abs=0.06)


def test_the_same_seed_gives_the_same_scores(tmp_path: Path) -> None:
    pass_rates(tmp_path / "one", seed=7)
    pass_rates(tmp_path / "two", seed=7)

    assert (tmp_path / "one/scores.jsonl").read_bytes() == (tmp_path / "two/scores.jsonl").read_bytes()


def test_a_crash_leaves_no_result(tmp_path: Path) -> None:
    assert run(tmp_path, train(), crash_at=3) is None


def test_the_attempt_after_a_crash_goes_on_where_it_was(tmp_path: Path) -> None:
    run(tmp_path, train(), crash_at=3)

    result = run(tmp_path, train(attempt=2))

    assert result is not None
    assert (result.status, result.step) == ("succeeded", 6)


def test_it_can_be_told_to_fail_at_a_boundary(tmp_path: Path) -> None:
    result = run(tmp_path, train(), fail="grading")

    assert result is not None
    assert result.error is not None
    assert (result.status, result.error.boundary) == ("failed", "grading")


def test_knobs_may_come_from_a_file_named_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "knobs.json").write_text('{"fail": "data"}')

    result = run(tmp_path, train(), "--knobs", str(tmp_path / "knobs.json"))

    assert result is not None
    assert result.status == "failed"


def test_a_spent_budget_pauses_the_run_with_a_sentence(tmp_path: Path) -> None:
    result = run(tmp_path, contract.TrainSpec("r", MODEL, RunSpec(steps=6, max_steps=4)))

    assert result is not None
    assert result.ending is not None
    assert (result.status, result.step, result.ending.code) == ("paused", 4, "budget_steps")


def test_a_rollback_is_an_alarm_after_which_earlier_steps_come_again(tmp_path: Path) -> None:
    run(tmp_path, train(), alarms=[{"step": 4, "action": "rolled_back", "level": "stop", "back_to": 2}])

    lines = (tmp_path / "metrics.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 3, 4, 5, 6]
    assert msgspec.json.decode((tmp_path / "alarms.jsonl").read_bytes(), type=contract.Alarm).action == "rolled_back"


def test_an_alarm_that_stops_the_run_is_its_ending(tmp_path: Path) -> None:
    result = run(tmp_path, train(), alarms=[{"step": 4, "action": "stopped", "level": "stop"}])

    assert result is not None
    assert result.ending is not None
    assert (result.status, result.kept_step, result.ending.code) == ("succeeded", 4, "alarm")
