"""An artifact is served only if every byte is the published one."""

import shutil
from pathlib import Path

import pytest

from tests.fakes.tiny_model import Shelf
from trainer.server.faults import Fault
from trainer.server.store import Store


@pytest.fixture
def copied(shelf: Shelf, alpha: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shelf.path / alpha, tmp_path / alpha))


def refusal(directory: Path, name: str | None = None) -> str:
    with pytest.raises(Fault) as raised:
        Store(directory.parent).verify(name or directory.name)
    return raised.value.sentence


def test_a_published_artifact_is_verified(copied: Path) -> None:
    assert Store(copied.parent).verify(copied.name) == copied


def test_a_flipped_bit_is_noticed(copied: Path) -> None:
    weights = copied / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    assert "model.safetensors has changed since it was published" in refusal(copied)


def test_a_missing_file_is_named(copied: Path) -> None:
    (copied / "tokenizer.json").unlink()

    assert "tokenizer.json is missing" in refusal(copied)


def test_a_file_beside_the_manifest_is_refused(copied: Path) -> None:
    (copied / "modeling.py").write_text("raise SystemExit")

    assert "modeling.py is not in its manifest" in refusal(copied)


def test_a_link_is_not_followed(copied: Path, tmp_path: Path) -> None:
    elsewhere = (copied / "config.json").rename(tmp_path / "config.json")
    (copied / "config.json").symlink_to(elsewhere)

    assert "config.json has changed" in refusal(copied)


def test_a_manifest_under_another_name_is_refused(copied: Path) -> None:
    renamed = copied.rename(copied.parent / ("0" * 64))

    assert "another model's" in refusal(renamed)


def test_a_torn_manifest_is_refused(copied: Path) -> None:
    (copied / "manifest.json").write_text('{"files": [')

    assert "manifest cannot be read" in refusal(copied)


@pytest.mark.parametrize("name", ["", "..", "../models", "/etc", "A" * 64, "0" * 63, "0" * 64, "0" * 64 + "\n"])
def test_a_name_that_is_no_digest_of_the_store_is_unknown(copied: Path, name: str) -> None:
    with pytest.raises(Fault) as raised:
        Store(copied.parent).find(name)

    assert (raised.value.status, raised.value.code) == (404, "model_not_found")


def test_the_weights_are_counted_from_the_files_headers(copied: Path) -> None:
    assert Store(copied.parent).parameters(copied.name) == 90 * 32 * 2 + 2 * (32 * 32 * 3 + 3 * 32 * 64 + 2 * 32) + 32


def test_a_directory_being_written_is_not_listed(copied: Path) -> None:
    (copied.parent / "partial").mkdir()
    (copied.parent / ("1" * 64)).mkdir()

    assert [name for name, _ in Store(copied.parent).digests()] == [copied.name]


def test_a_store_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    assert Store(tmp_path / "models").digests() == []
