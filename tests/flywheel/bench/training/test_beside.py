"""The peers of the training bench do their work: each is given a small model, and what it writes is looked at."""

import json
from functools import partial
from pathlib import Path

import msgspec
import pytest

from flywheel.bench.training import arms, jobs, subject
from tests.fakes.tiny_model import make_model, make_tokenizer
from trainer.contract import EvaluateSpec, Sampling, decode_spec, encode

ROWS = subject.items(1, 8, subject.TRAINING)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("model")
    tokenizer = make_tokenizer()
    tokenizer.eos_token = tokenizer.pad_token  # TRL wants one
    for part in (make_model(len(tokenizer), seed=1, end_token=tokenizer.eos_token_id), tokenizer):
        part.save_pretrained(directory)
    return str(directory)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(jobs, "HOME", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("home")
def test_bare_trl_trains_on_our_prompts_and_keeps_its_weights(model: str):
    how = {"num_generations": 2, "max_completion_length": 4, "per_device_train_batch_size": 4, "max_steps": 5}
    job = arms.trl("trl", model, 1, ROWS, learning_rate=1e-3, **how, **arms.PLAIN)

    (directory,) = jobs.perform([job])

    assert [(point.step, point.completions) for point in jobs.trained_beside(directory)] == [
        (step, 4 * step) for step in range(6)
    ]
    assert list(jobs.kept(directory)) == [5]


@pytest.mark.usefixtures("home")
def test_the_plain_loop_answers_and_grades_every_item(model: str):
    files = subject.scoring({"start": model}, count=6)
    spec = decode_spec(files["spec.json"])
    assert isinstance(spec, EvaluateSpec)
    short = msgspec.structs.replace(spec, sampling=Sampling(answers_per_item=2, max_completion_tokens=4))
    job = jobs.Job("plain", {**files, "spec.json": encode(short)}, partial(jobs.script, "plain_generate.py"))

    (directory,) = jobs.perform([job])

    assert json.loads((directory / "right.json").read_text())["answers"] == 12
    assert jobs.result_of(directory).seconds["evaluating"] > 0
