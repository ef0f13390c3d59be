from pathlib import Path

import pytest

from tests.trainer.engine.conftest import prepare_training, train_spec
from trainer.contract import Artifact, ModelRef
from trainer.engine import checkpoints, grpo
from trainer.engine.progress import Progress
from trainer.launchers import merging
from trainer.launchers.protocol import LauncherError, path_of_checkpoint


@pytest.fixture(scope="module")
def adapted(tiny: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The directory of a run with LoRA, and the step that it published in the end."""
    directory, spec = tmp_path_factory.mktemp("adapted"), train_spec(tiny, lora_rank=2, steps=4)
    prepare_training(directory, spec)
    with Progress(directory, spec.attempt) as progress:
        trained = grpo.train(spec, directory, progress)
    return directory, trained.kept_step


def of_the_model(directory: Path) -> list[Artifact]:
    """All files but config.json, in which training leaves use_cache off."""
    return [file for file in checkpoints.read_manifest(directory).files if file.path != "config.json"]


def test_a_merged_checkpoint_is_what_the_run_publishes_of_the_same_step(adapted, tiny: ModelRef, tmp_path: Path):
    directory, kept = adapted

    merging.merge(Path(tiny.path), path_of_checkpoint(directory, kept), tmp_path / "model")

    assert checkpoints.verified(tmp_path / "model") is not None
    assert of_the_model(tmp_path / "model") == of_the_model(directory / "model")


def test_what_is_no_adapter_is_refused_with_its_reason(tiny: ModelRef, tmp_path: Path):
    (adapter := tmp_path / "adapter").mkdir()
    (adapter / "adapter_config.json").write_text("{}")

    with pytest.raises(LauncherError, match=r"^The adapter could not be merged: \S.* \S"):
        merging.merge(Path(tiny.path), adapter, tmp_path / "model")

    assert not (tmp_path / "model").exists()
