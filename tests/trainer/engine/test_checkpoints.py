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


def test_a_directory_without_a_manifest_does_not_count(tmp_path):
    (tmp_path / "step-9").mkdir()

    assert checkpoints.newest_verified(tmp_path) is None


def test_the_newest_counts_by_number_and_not_by_name(tmp_path):
    for step in (2, 10, 9):
        _publish(tmp_path, step)

    assert checkpoints.newest_verified(tmp_path)[0].name == "step-10"


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    for step in (2, 4):
        _publish(tmp_path, step)

    (tmp_path / "step-4" / "weights.bin").write_bytes(b"")

    assert checkpoints.newest_verified(tmp_path)[0].name == "step-2"


def test_two_checkpoints_are_kept(tmp_path):
    for step in (2, 4, 6):
        _publish(tmp_path, step)

    checkpoints.prune(tmp_path)

    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-4", "step-6"]


def test_a_damaged_checkpoint_does_not_push_out_a_sound_one(tmp_path):
    for step in (2, 4, 6):
        _publish(tmp_path, step)
    (tmp_path / "step-6" / "weights.bin").write_bytes(b"")

    checkpoints.prune(tmp_path)

    assert (tmp_path / "step-2").is_dir()


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
