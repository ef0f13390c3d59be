from pathlib import Path

import pytest

from trainer.engine import checkpoints
from trainer.engine.faults import Fault


def _publish(root: Path, step: int, content: bytes = b"weights") -> Path:
    partial = root / ".partial"
    (partial / "inner").mkdir(parents=True)
    (partial / "weights.bin").write_bytes(content)
    (partial / "inner" / "state.json").write_text("{}")
    checkpoints.publish(partial, root / f"step-{step}", step=step)
    return root / f"step-{step}"


def test_a_published_directory_verifies(tmp_path):
    assert checkpoints.verified(_publish(tmp_path, 2)).step == 2


def test_the_same_content_has_the_same_digest(tmp_path):
    first, second = _publish(tmp_path / "a", 1), _publish(tmp_path / "b", 1)

    assert checkpoints.read_manifest(first).digest == checkpoints.read_manifest(second).digest


def test_other_content_has_another_digest(tmp_path):
    first, second = _publish(tmp_path / "a", 1), _publish(tmp_path / "b", 1, b"Weights")

    assert checkpoints.read_manifest(first).digest != checkpoints.read_manifest(second).digest


def test_a_flipped_bit_is_found(tmp_path):
    directory = _publish(tmp_path, 1)

    (directory / "weights.bin").write_bytes(b"veights")

    assert checkpoints.verified(directory) is None


def test_a_truncated_file_is_found(tmp_path):
    directory = _publish(tmp_path, 1)

    (directory / "weights.bin").write_bytes(b"weigh")

    assert checkpoints.verified(directory) is None


def test_a_missing_file_is_found(tmp_path):
    directory = _publish(tmp_path, 1)

    (directory / "weights.bin").unlink()

    assert checkpoints.verified(directory) is None


def test_a_directory_without_a_manifest_does_not_verify(tmp_path):
    (tmp_path / "step-9").mkdir()

    assert checkpoints.verified(tmp_path / "step-9") is None


def test_a_checkpoint_s_step_is_a_number(tmp_path):
    assert sorted([tmp_path / "step-10", tmp_path / "step-9"], key=checkpoints.step_of)[0].name == "step-9"


def test_publishing_replaces_what_was_there(tmp_path):
    _publish(tmp_path, 2, b"old")

    directory = _publish(tmp_path, 2, b"new")

    assert (directory / "weights.bin").read_bytes() == b"new"


def test_nothing_unfinished_stays_behind(tmp_path):
    _publish(tmp_path, 2)

    assert [path.name for path in tmp_path.iterdir()] == ["step-2"]


def test_a_full_disk_is_refused_before_the_write(tmp_path):
    with pytest.raises(Fault, match="make room"):
        checkpoints.require_space(tmp_path, 10**18)
