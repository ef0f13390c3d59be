"""How a run ends when something breaks: one sentence, the boundary named, the last good checkpoint kept."""

import json
import resource
import shutil
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.engine.conftest import prepare_training, run_engine, start_engine, train_spec
from trainer.contract import Alarm, ModelRef, Result
from trainer.engine import __main__ as engine_main
from trainer.engine import loading, updating
from trainer.engine.history import History


@pytest.fixture
def copy(tiny, tmp_path):
    """A base of one's own, to be spoilt."""
    shutil.copytree(tiny.path, tmp_path / "base")
    return ModelRef(path=str(tmp_path / "base"), digest="", name="a copy")


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Let the engine work in this process, and read what it left."""

    def work(spec, lines=None):
        directory = prepare_training(tmp_path / "run", spec, lines)
        engine_main.main(["engine", str(directory)])
        return msgspec.json.decode((directory / "result.json").read_bytes(), type=Result)

    return work


def _edited(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _exploding(model):
    """The same function by other weights: one multiplies by 1e30, the next divides by it, and gradients overflow."""
    path = Path(model.path, "model.safetensors")
    weights = load_file(path)
    weights["model.layers.0.self_attn.v_proj.weight"] *= 1e30
    weights["model.layers.0.self_attn.o_proj.weight"] *= 1e-30
    save_file(weights, path, metadata={"format": "pt"})


def test_a_loss_that_is_not_finite_ends_the_run_at_the_training_boundary(copy, work):
    _exploding(copy)

    result = work(train_spec(copy, validation_prompts=0))

    assert (result.status, result.error.boundary, result.error.code) == ("failed", "training", "not_finite")
    assert "lower the learning rate" in result.error.sentence


def test_the_alarm_about_a_loss_that_is_not_finite_can_be_read(copy, work, tmp_path):
    _exploding(copy)

    work(train_spec(copy, validation_prompts=0))

    lines = (tmp_path / "run" / "alarms.jsonl").read_bytes().splitlines()
    assert "not_finite" in {msgspec.json.decode(line, type=Alarm).kind for line in lines}


@pytest.mark.parametrize(
    "bug", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")]
)
def test_running_out_of_memory_says_which_knob_to_lower_and_keeps_the_checkpoint(
    tiny, work, tmp_path, monkeypatch, bug
):
    learn = updating.GroupTrainer._compute_loss

    def hungry(self, model, inputs):
        if self.state.global_step == 3:
            raise bug
        return learn(self, model, inputs)

    monkeypatch.setattr(updating.GroupTrainer, "_compute_loss", hungry)

    result = work(train_spec(tiny))

    assert (result.error.boundary, result.error.code) == ("training", "out_of_memory")
    assert "max_completion_tokens" in result.error.sentence
    assert [found.step for found in History(tmp_path / "run" / "checkpoints").standing()] == [2]


def test_a_disk_that_fills_while_a_checkpoint_is_written_keeps_the_one_before(tiny, tmp_path):
    """The kernel refuses every file above the limit: the weights fit under it, the optimiser's moments do not."""
    directory = prepare_training(tmp_path, train_spec(tiny, max_steps=2))
    assert run_engine(directory).status == "paused"
    prepare_training(tmp_path, train_spec(tiny, attempt=2))
    limit = (directory / "checkpoints" / "step-2" / "optimizer.pt").stat().st_size - 1000
    engine = start_engine(directory)
    resource.prlimit(engine.pid, resource.RLIMIT_FSIZE, (limit, limit))
    engine.wait()

    result = msgspec.json.decode((directory / "result.json").read_bytes(), type=Result)

    assert (result.error.boundary, result.error.code) == ("checkpoint", "disk_full")
    assert [found.step for found in History(directory / "checkpoints").standing()] == [2]
    assert not (directory / "checkpoints" / ".partial").exists()


def test_too_little_room_is_told_before_the_write(tiny, work, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))

    result = work(train_spec(tiny))

    assert (result.error.boundary, result.error.code) == ("checkpoint", "disk_full")


def test_a_grader_that_always_fails_is_told_at_the_grading_boundary(tiny, work):
    from tests.trainer.engine.conftest import prompt_line

    result = work(train_spec(tiny), [prompt_line(number, item={}) for number in range(40)])

    assert (result.error.boundary, result.error.code) == ("grading", "too_many_grading_errors")


def test_a_base_without_a_chat_template_is_told_at_the_model_boundary(copy, work):
    Path(copy.path, "chat_template.jinja").unlink()

    result = work(train_spec(copy))

    assert (result.error.boundary, result.error.code) == ("model", "chat_template_missing")


def test_a_tokenizer_with_more_tokens_than_the_embedding_is_told_at_the_model_boundary(copy, work):
    tokenizer = loading.load(copy)[1]
    tokenizer.add_tokens(["<extra>"])
    tokenizer.save_pretrained(copy.path)

    result = work(train_spec(copy))

    assert (result.error.boundary, result.error.code) == ("model", "tokenizer_mismatch")


def test_a_tokenizer_without_an_end_token_is_told_at_the_model_boundary(copy, work):
    _edited(Path(copy.path, "tokenizer_config.json"), eos_token=None)

    result = work(train_spec(copy))

    assert (result.error.boundary, result.error.code) == ("model", "end_token_missing")


def test_a_tokenizer_without_a_padding_token_pads_with_its_end_token(copy):
    _edited(Path(copy.path, "tokenizer_config.json"), pad_token=None)

    tokenizer = loading.load(copy)[1]

    assert tokenizer.pad_token_id == tokenizer.eos_token_id


def test_a_run_that_can_publish_nothing_says_so_and_leaves_no_model(copy, work, tmp_path):
    _exploding(copy)

    work(train_spec(copy, validation_prompts=0))

    assert not (tmp_path / "run" / "model").exists()
