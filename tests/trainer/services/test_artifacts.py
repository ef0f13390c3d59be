"""The store of models: what leaves it is what its manifest says, or nothing."""

from pathlib import Path

import pytest

from tasks.errors import Conflict, Invalid, NotFound
from trainer.contract import Manifest
from trainer.services import artifacts


@pytest.fixture
def stored(settings: object, tmp_path: Path) -> Manifest:
    settings.DATA_DIR = tmp_path / "data"  # type: ignore[attr-defined]
    source = tmp_path / "source"
    source.mkdir()
    header = b'{"weight":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    (source / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"base")
    (source / "config.json").write_text("{}")
    (source / "tokenizer.json").write_text("{}")
    return artifacts.take_in(source)


def damage(manifest: Manifest, name: str, content: bytes) -> None:
    (artifacts.path_of(manifest.digest) / name).write_bytes(content)


def contents(manifest: Manifest) -> list[tuple[str, bytes]]:
    return [(file.path, b"".join(artifacts.contents(manifest.digest, file))) for file in manifest.files]


def test_the_manifest_of_a_whole_artifact_is_given(stored: Manifest):
    assert artifacts.manifest_of(stored.digest, "shared/v0") == stored


def test_an_artifact_that_is_elsewhere_is_named(stored: Manifest):
    with pytest.raises(NotFound, match="shared/v7 are not on this machine"):
        artifacts.manifest_of("0" * 64, "shared/v7")


def test_a_file_that_is_shorter_than_it_was_is_noticed_before_anything_is_read(stored: Manifest):
    damage(stored, "config.json", b"")

    with pytest.raises(Invalid, match=r"config\.json does not match its manifest"):
        artifacts.manifest_of(stored.digest, "shared/v0")


def test_a_flipped_bit_is_noticed_when_the_file_is_read(stored: Manifest):
    damage(stored, "config.json", b"{ ")

    with pytest.raises(Invalid, match=r"config\.json does not match its manifest"):
        contents(stored)


@pytest.mark.parametrize("manifest", [b"", b"{}", b'{"files": [], "digest": "0"}'])
def test_a_damaged_manifest_is_no_manifest(stored: Manifest, manifest: bytes):
    damage(stored, artifacts.MANIFEST, manifest)

    with pytest.raises(Invalid, match=r"manifest\.json does not match"):
        artifacts.manifest_of(stored.digest, "shared/v0")


def test_an_export_holds_what_it_was_given(stored: Manifest, tmp_path: Path):
    artifacts.export(tmp_path / "out", [("a/b.txt", [b"one ", b"two"])])

    assert (tmp_path / "out" / "a" / "b.txt").read_bytes() == b"one two"


def test_an_export_that_breaks_off_leaves_nothing(stored: Manifest, tmp_path: Path):
    def pieces() -> object:
        yield b"one"
        raise Invalid("artifact_damaged", "The file is damaged.")

    with pytest.raises(Invalid):
        artifacts.export(tmp_path / "out", [("a.txt", pieces())])  # type: ignore[list-item]

    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "source"]


@pytest.mark.parametrize("there", ["directory", "file", "dangling link"])
def test_an_export_overwrites_nothing(tmp_path: Path, there: str):
    target = tmp_path / "out"
    {
        "directory": target.mkdir,
        "file": target.touch,
        "dangling link": lambda: target.symlink_to(tmp_path / "nowhere"),
    }[there]()

    with pytest.raises(Conflict, match="is there already"):
        artifacts.export(target, [("a.txt", [b"one"])])


def test_an_export_needs_a_place(tmp_path: Path):
    with pytest.raises(Invalid, match="make it first"):
        artifacts.export(tmp_path / "no" / "out", [])


def test_no_name_leads_out_of_an_export(tmp_path: Path):
    with pytest.raises(Invalid, match="lies outside"):
        artifacts.export(tmp_path / "out", [("../beside.txt", [b"one"])])

    assert list(tmp_path.iterdir()) == []
