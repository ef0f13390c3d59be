import json
import shutil
import signal
from pathlib import Path

import msgspec
import pytest
import torch
from msgspec.structs import replace
from pyarrow.parquet import read_table
from safetensors.torch import load_file

from tasks.sandbox import grading
from tests.trainer.engine.conftest import (
    prepare,
    prepare_training,
    prompt_line,
    run_engine,
    start_engine,
    train_spec,
)
from trainer import rewards
from trainer.contract import StepMetrics
from trainer.engine import checkpoints, grpo, rollouts
from trainer.engine.faults import Fault, Stopped
from trainer.engine.history import History
from trainer.engine.progress import Progress


def _train(directory, spec, lines=None):
    prepare_training(directory, spec, lines)
    with Progress(directory, spec.attempt) as progress:
        return grpo.train(spec, directory, progress)


def _metrics(directory):
    lines = (directory / "metrics.jsonl").read_bytes().splitlines()
    return {line.step: line for line in (msgspec.json.decode(raw, type=StepMetrics) for raw in lines)}


def _weights(directory):
    return load_file(directory / "model.safetensors")


def _newest(directory):
    return History(directory / "checkpoints").standing()[0].directory


def _same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained")
    return directory, _train(directory, train_spec(tiny))


def test_training_moves_the_weights(trained, tiny):
    assert not _same(_weights(trained[0] / "model"), _weights(Path(tiny.path)))


def test_the_divergence_from_the_start_is_reported(trained):
    assert trained[1].kl.mean > 0


def test_the_model_is_published_with_a_manifest_that_holds(trained):
    assert checkpoints.verified(trained[0] / "model") == trained[1].model


def test_every_step_is_reported_from_the_start_on(trained):
    assert sorted(_metrics(trained[0])) == [0, 1, 2, 3, 4]


def test_the_start_is_at_distance_zero_from_itself(trained):
    assert _metrics(trained[0])[0].kl.mean == 0


def test_divergence_and_validation_come_every_so_many_steps(trained):
    measured = [step for step, line in _metrics(trained[0]).items() if line.kl and line.validation_reward]

    assert measured == [0, 2, 4]


def test_rewards_are_told_apart_by_domain(trained):
    assert set(_metrics(trained[0])[1].reward_by_domain) == {"echo", "parrot"}


def test_some_rollouts_of_every_step_are_shown(trained):
    shown = [json.loads(line) for line in (trained[0] / "samples.jsonl").read_text().splitlines()]

    assert {rollout["step"] for rollout in shown} == {1, 2, 3, 4}


def test_all_rollouts_of_every_step_are_kept(trained):
    assert len(list((trained[0] / "rollouts").glob("*.parquet"))) == 4


def test_prompts_come_in_the_order_of_the_file(trained):
    import pyarrow.parquet

    keys = pyarrow.parquet.read_table(trained[0] / "rollouts" / "step-000001.parquet").column("key").to_pylist()

    assert keys[:16:4] == [prompt_line(number)["key"] for number in range(4)]


def test_learning_rate_zero_gives_back_the_starting_weights(tiny, tmp_path):
    _train(tmp_path, train_spec(tiny, learning_rate=0.0, steps=2))

    assert _same(_weights(tmp_path / "model"), _weights(Path(tiny.path)))


def test_no_steps_give_back_the_starting_weights(tiny, tmp_path):
    _train(tmp_path, train_spec(tiny, steps=0))

    assert _same(_weights(tmp_path / "model"), _weights(Path(tiny.path)))


def test_a_low_rank_adapter_is_merged_into_a_plain_model(tiny, tmp_path):
    _train(tmp_path, train_spec(tiny, lora_rank=2, steps=2))

    assert _weights(tmp_path / "model").keys() == _weights(Path(tiny.path)).keys()


def test_a_low_rank_run_measures_its_distance_without_a_second_model(tiny, tmp_path):
    assert _train(tmp_path, train_spec(tiny, lora_rank=2, steps=2)).kl.mean > 0


def test_the_penalty_on_divergence_needs_no_other_setting(tiny, tmp_path):
    assert _train(tmp_path, train_spec(tiny, beta=0.1, steps=2)).step == 2


def test_fewer_rows_than_a_run_needs_are_repeated(tiny, tmp_path):
    assert _train(tmp_path, train_spec(tiny, steps=3), [prompt_line(1), prompt_line(2)]).step == 3


def test_a_grader_of_the_run_replaces_the_graders_of_the_rows(tiny, tmp_path):
    nothing = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "never", "operation": "eq"}

    _train(tmp_path, train_spec(tiny, grader=nothing, steps=1))

    assert _metrics(tmp_path)[1].reward_mean == 0


def test_too_many_grading_errors_fail_the_run_at_the_grading_boundary(tiny, tmp_path):
    with pytest.raises(Fault) as caught:
        _train(tmp_path, train_spec(tiny), [prompt_line(n, item={}) for n in range(40)])

    assert caught.value.record.boundary == "grading"
    assert "The last: The number grader (invalid_variable_error): " in caught.value.record.sentence


@pytest.mark.parametrize("body", ["raise ValueError('no')", "while True: pass"], ids=["raises", "never ends"])
def test_a_program_that_fails_on_every_completion_stops_the_run(tiny, tmp_path, monkeypatch, body):
    monkeypatch.setattr(grading, "START_SECONDS", 1.0)
    program = {"type": "python", "source": f"def grade(sample, item):\n    {body}\n", "seconds": 0.2}

    with pytest.raises(Fault) as caught:
        _train(tmp_path, train_spec(tiny, grader=program, steps=1, prompts_per_step=1))

    assert "The python grader (python_grader_runtime_error): " in caught.value.record.sentence


def test_ungradable_rollouts_are_counted_and_not_scored_zero(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(rewards, "ERROR_BUDGET", 1.0)
    lines = [prompt_line(n, item={} if n % 2 else {"reference": 7}) for n in range(40)]

    _train(tmp_path, train_spec(tiny, steps=1, refill_rounds=0), lines)

    assert _metrics(tmp_path)[1].grader_error_share == 0.5
    assert set(_metrics(tmp_path)[1].reward_by_domain) == {"parrot"}


def test_a_pause_leaves_a_checkpoint_that_verifies(tiny, tmp_path, monkeypatch):
    directory = prepare_training(tmp_path, train_spec(tiny, save_every=100))
    with Progress(directory, 1) as progress:
        monkeypatch.setattr(progress, "show", lambda _: setattr(progress, "stop", "pause"))
        with pytest.raises(Stopped):
            grpo.train(train_spec(tiny, save_every=100), directory, progress)

    assert _newest(directory).name == "step-1"


@pytest.mark.parametrize(
    ("budget", "code"),
    [
        ({"max_minutes": 1e-6}, "budget_minutes"),
        ({"max_steps": 1}, "budget_steps"),
        ({"max_tokens": 1}, "budget_tokens"),
    ],
)
def test_a_spent_budget_pauses_the_run_at_a_checkpoint(tiny, tmp_path, budget, code):
    with pytest.raises(Stopped) as caught:
        _train(tmp_path, train_spec(tiny, **budget))

    assert caught.value.ending.code == code
    assert _newest(tmp_path).name == "step-1"


ANSWER = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": ANSWER}}
FIRST = {"type": "python", "source": "def grade(sample, item):\n    return float(sample['output_json']['n'] == 1)"}


def _held(tiny, **recipe):
    """A token limit that every answer of the format fits into, blanks and all."""
    recipe = {"steps": 1, "max_completion_tokens": 96, "validation_prompts": 4, "probe_prompts": 4, **recipe}
    return replace(train_spec(tiny, grader=FIRST, **recipe), response_format=FORMAT)


@pytest.fixture(scope="module")
def held(tiny, tmp_path_factory):
    directory = tmp_path_factory.mktemp("held")
    _train(directory, _held(tiny, steps=2))
    return directory


def test_every_rollout_of_a_run_with_a_format_is_of_the_format(held):
    said = [line["completion"] for file in rollouts.files(held / "rollouts") for line in read_table(file).to_pylist()]

    assert len(said) >= 32
    assert {json.loads(completion)["n"] for completion in said} == {1, 2}


def test_a_format_opens_no_gap_between_sampler_and_update(held):
    assert [_metrics(held)[step].sampler_gap < 1e-4 for step in (1, 2)] == [True, True]


def test_a_format_clips_nothing_before_the_first_update(held):
    assert _metrics(held)[1].clip_share == 0


def test_validation_answers_are_held_to_the_format_too(held):
    """An answer that were not would be ungradable: the grader reads its JSON."""
    assert [_metrics(held)[step].validation_reward.n for step in (0, 2)] == [4, 4]


def test_two_updates_of_a_step_learn_from_a_format_without_a_gap(tiny, tmp_path):
    _train(tmp_path, _held(tiny, updates_per_step=2))

    assert _metrics(tmp_path)[1].sampler_gap < 1e-4


def test_a_schema_that_cannot_be_used_fails_the_run_as_its_spec(tiny, tmp_path):
    spec = replace(
        _held(tiny), response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"not": {}}}}
    )

    with pytest.raises(Fault) as raised:
        _train(tmp_path, spec)

    assert (raised.value.record.boundary, raised.value.record.code) == ("spec", "unusable_response_format")


def test_a_format_with_vllm_is_refused_before_anything_is_loaded(tiny, tmp_path):
    with pytest.raises(Fault) as raised:
        _train(tmp_path, _held(tiny, vllm="colocate"))

    assert raised.value.record.code == "response_format_with_vllm"


def test_a_prompt_that_leaves_no_room_fails_before_training(tiny, tmp_path):
    with pytest.raises(Fault, match="exceeds the model's"):
        _train(tmp_path, train_spec(tiny, max_completion_tokens=512))


STEPS = 40


@pytest.fixture(scope="module")
def uninterrupted(tiny, tmp_path_factory):
    directory = prepare_training(tmp_path_factory.mktemp("uninterrupted"), train_spec(tiny, steps=STEPS, save_every=4))
    assert run_engine(directory).status == "succeeded"
    return directory


def test_a_killed_run_resumes_to_bit_identical_weights(uninterrupted, tiny, tmp_path):
    spec = train_spec(tiny, steps=STEPS, save_every=4)
    prepare_training(tmp_path, spec)
    killed = start_engine(tmp_path, FLYWHEEL_CRASH_AT="artifact.before_rename:3").wait()

    prepare(tmp_path, msgspec.structs.replace(spec, attempt=2))
    result = run_engine(tmp_path)

    assert killed == -signal.SIGKILL
    assert min(step for step, line in _metrics(tmp_path).items() if line.attempt == 2) == 5
    assert (result.status, result.attempt, result.step) == ("succeeded", 2, STEPS)
    assert checkpoints.read_manifest(tmp_path / "model") == checkpoints.read_manifest(uninterrupted / "model")


def test_a_resumed_run_does_not_begin_again(uninterrupted, tiny, tmp_path):
    """From the last checkpoint of a finished run, of which the newest is damaged: only its last steps are repeated."""
    shutil.copytree(uninterrupted, tmp_path, dirs_exist_ok=True)
    newest = _newest(tmp_path)
    (newest / "optimizer.pt").write_bytes(b"damaged")
    (tmp_path / "metrics.jsonl").unlink()

    prepare(tmp_path, train_spec(tiny, steps=STEPS, save_every=4, attempt=2))
    result = run_engine(tmp_path)

    assert min(_metrics(tmp_path)) == STEPS - 1
    assert result.model == checkpoints.read_manifest(uninterrupted / "model")
