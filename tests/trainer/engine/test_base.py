import msgspec
import pytest
import torch

from tests.trainer.engine.conftest import BASE, demonstration_lines, prepare
from trainer.contract import StepMetrics
from trainer.engine import base, checkpoints, loading, sampling
from trainer.engine.faults import Fault
from trainer.engine.progress import Progress


def test_the_base_is_a_plain_directory_whose_manifest_holds(base_directory):
    names = {file.path for file in checkpoints.verified(base_directory / "model").files}

    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= names


def test_the_base_has_a_chat_template(tiny):
    _, tokenizer = loading.load(tiny)

    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )

    assert text == "<|user|>Hi<|assistant|>"


def test_digits_are_tokens_of_their_own(tiny):
    _, tokenizer = loading.load(tiny)

    assert len(tokenizer.encode("2024")) == 4


def test_any_text_survives_the_tokenizer(tiny):
    _, tokenizer = loading.load(tiny)
    text = '{"name": "Zoë", "größe": 3} 三 🎡\n'

    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_same_seed_builds_the_same_base(base_directory, tmp_path):
    directory = prepare(tmp_path, BASE, demonstrations=demonstration_lines())

    with Progress(directory, 1) as progress:
        again = base.build(BASE, directory, progress)

    assert again.digest == checkpoints.read_manifest(base_directory / "model").digest


def test_the_loss_falls(base_directory):
    lines = (base_directory / "metrics.jsonl").read_bytes().splitlines()
    losses = [msgspec.json.decode(line, type=StepMetrics).loss for line in lines]

    assert losses[-1] < losses[0]


def test_only_the_answer_is_learned(tiny):
    _, tokenizer = loading.load(tiny)
    demonstration = msgspec.convert(next(iter(demonstration_lines())), base.Demonstration)

    ids, labels = base._example(tokenizer, demonstration)

    prompt = sampling.encode(tokenizer, [demonstration.messages])[0]
    assert labels == [base.IGNORED] * len(prompt) + ids[len(prompt) :]


def test_an_end_token_closes_every_example(tiny):
    _, tokenizer = loading.load(tiny)
    demonstration = msgspec.convert(next(iter(demonstration_lines())), base.Demonstration)

    ids, _ = base._example(tokenizer, demonstration)

    assert ids[-1] == tokenizer.eos_token_id


def test_heads_that_do_not_divide_the_width_are_refused(tmp_path):
    spec = msgspec.structs.replace(BASE, hidden=30, heads=4)
    directory = prepare(tmp_path, spec, demonstrations=demonstration_lines())

    with pytest.raises(Fault, match="multiple of heads"), Progress(directory, 1) as progress:
        base.build(spec, directory, progress)


def test_the_base_is_stored_in_float32(tiny):
    model, _ = loading.load(tiny)

    assert model.dtype == torch.float32
