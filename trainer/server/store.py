"""The artifact store: one directory a model, named by its digest. No path ever comes from a client.

An artifact is believed once its manifest says what its name says and each file is what the manifest says.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from safetensors import SafetensorError, safe_open

from trainer import contract
from trainer.server.faults import Fault, unknown_model

DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Store:
    directory: Path

    def digests(self) -> list[tuple[str, int]]:
        """The models that there are, with the time (unix seconds) at which each was put here."""
        found = self.directory.iterdir() if self.directory.is_dir() else iter(())
        dated = [(path.name, self._created(path)) for path in found if DIGEST.match(path.name)]
        return sorted((name, created) for name, created in dated if created)

    def find(self, digest: str) -> Path:
        if not DIGEST.match(digest) or not self._created(self.directory / digest):
            raise unknown_model(digest)
        return self.directory / digest

    def parameters(self, digest: str) -> int:
        """Number of weights, read from the headers of the safetensors files."""
        try:
            return sum(_parameters(path) for path in sorted(self.find(digest).glob("*.safetensors")))
        except (SafetensorError, OSError) as error:
            raise corrupt(digest, "its weights cannot be read") from error

    def verify(self, digest: str) -> Path:
        """The model's directory, every byte of which was compared with the manifest."""
        directory = self.find(digest)
        try:
            manifest = msgspec.json.decode((directory / "manifest.json").read_bytes(), type=contract.Manifest)
        except msgspec.DecodeError as error:
            raise corrupt(digest, "its manifest cannot be read") from error
        if {manifest.digest, contract.manifest_digest(manifest.files)} != {digest}:
            raise corrupt(digest, "its manifest is another model's")
        listed = {file.path: file for file in manifest.files}
        present = set(_files(directory)) - {"manifest.json"}
        if listed.keys() != present:
            name = sorted(listed.keys() ^ present)[0]
            raise corrupt(digest, f"{name} is {'missing' if name in listed else 'not in its manifest'}")
        for name, file in listed.items():
            if _sha256(directory / name) != file.sha256:
                raise corrupt(digest, f"{name} has changed since it was published")
        return directory

    @staticmethod
    def _created(path: Path) -> int:
        try:
            return int((path / "manifest.json").stat().st_mtime)
        except OSError:
            return 0


def corrupt(digest: str, what: str) -> Fault:
    sentence = f"The model {digest[:12]}… is not served, because {what}. Restore its directory, or promote another."
    return Fault(500, "model_corrupt", sentence, param="model", headers={"x-should-retry": "false"})


def _files(directory: Path) -> Iterator[str]:
    """Names relative to the directory; a link counts as a file, which no manifest lists with the right content."""
    for path in directory.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(directory).as_posix()


def _sha256(path: Path) -> str:
    if path.is_symlink():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parameters(path: Path) -> int:
    with safe_open(path, framework="pt") as weights:
        shapes = (weights.get_slice(name).get_shape() for name in weights.keys())  # noqa: SIM118  (no mapping)
        return sum(_product(shape) for shape in shapes)


def _product(shape: list[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
