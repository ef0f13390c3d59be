import shutil
from pathlib import Path

import msgspec
import pytest
import torch

from trainer.contract import ModelRef
from trainer.engine import checkpoints, loading
from trainer.engine.faults import Fault


@pytest.fixture
def copy(tiny, tmp_path):
    shutil.copytree(tiny.path, tmp_path / "model")
    return ModelRef(path=str(tmp_path / "model"), digest="", name="a copy")


def test_a_published_model_loads_and_publishes_the_same_weights_again(tiny, tmp_path):
    loading.publish(*loading.load(tiny), tmp_path / "model")

    assert (tmp_path / "model/model.safetensors").read_bytes() == Path(tiny.path, "model.safetensors").read_bytes()


def test_a_model_without_a_chat_template_is_refused(copy):
    (Path(copy.path) / "chat_template.jinja").unlink()

    with pytest.raises(Fault, match="a copy has no chat template"):
        loading.load(copy)


def test_weights_that_are_not_safetensors_are_refused(copy):
    (Path(copy.path) / "model.safetensors").rename(Path(copy.path) / "pytorch_model.bin")

    with pytest.raises(Fault, match="no safetensors"):
        loading.load(copy)


def test_a_model_that_changed_since_it_was_registered_is_refused(tiny, copy):
    with (Path(copy.path) / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x00")

    with pytest.raises(Fault, match="its files changed"):
        loading.load(msgspec.structs.replace(copy, digest=tiny.digest))


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(Fault, match="is not at"):
        loading.load(ModelRef(path=str(tmp_path / "nowhere"), digest=""))


def test_a_hub_model_without_a_revision_is_refused():
    with pytest.raises(Fault, match="pinned revision"):
        loading.load(ModelRef(path="some/model", digest=""))


def test_nan_in_the_weights_is_never_published(tiny, tmp_path):
    model, tokenizer = loading.load(tiny)
    model.model.norm.weight.data[0] = torch.nan

    with pytest.raises(Fault, match=r"model.norm.weight"):
        loading.publish(model, tokenizer, tmp_path / "model")


def test_a_broken_configuration_is_one_sentence(copy):
    (Path(copy.path) / "config.json").write_text("{")

    with pytest.raises(Fault, match="cannot be loaded"):
        loading.load(copy)


def test_the_manifest_of_a_published_model_verifies(tiny):
    assert checkpoints.verified(Path(tiny.path)) is not None
