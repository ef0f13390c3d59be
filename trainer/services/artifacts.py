"""The store of model artifacts: DATA_DIR/models/<digest>, content-addressed, never changed."""

import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from django.conf import settings

from tasks.crash import crash_point
from tasks.errors import Invalid
from trainer.contract import Artifact, Manifest, manifest_digest

MANIFEST = "manifest.json"
WEIGHTS = ".safetensors"
INCOMING = ".incoming-"
LEFT_OVER_SECONDS = 5.0  # a copy is locked a moment after its directory is made


def store() -> Path:
    return Path(settings.DATA_DIR) / "models"


def path_of(digest: str) -> Path:
    return store() / digest


def adopt(source: Path, manifest: Manifest) -> Path:
    """Copy a published directory into the store, verifying every hash. The same content twice is one entry."""
    target = path_of(manifest.digest)
    if target.is_dir():
        return target
    with _incoming() as incoming:
        for file in manifest.files:
            _copy_verified(source, incoming, file)
        (incoming / MANIFEST).write_bytes(msgspec.json.encode(manifest))
        crash_point("adopt.before_publish")
        return _publish(incoming, target)


def reap(older_than_seconds: float = LEFT_OVER_SECONDS) -> int:
    """Remove the copies whose process was killed; returns how many."""
    removed = 0
    for path in store().glob(INCOMING + "*"):
        with suppress(FileNotFoundError), _lock(path) as mine:  # gone: it has just been published
            if mine and time.time() - path.stat().st_mtime > older_than_seconds:
                shutil.rmtree(path)
                removed += 1
    return removed


def take_in(source: Path, *, names: Iterable[str] | None = None) -> Manifest:
    """Make an artifact of a causal LM directory that somebody else wrote: safetensors only, a tokenizer needed."""
    files = sorted(names if names is not None else (p.name for p in source.iterdir() if p.is_file()))
    wanted = [name for name in files if _belongs(name)]
    has_tokenizer = any(name in wanted for name in ("tokenizer.json", "tokenizer.model", "vocab.json"))
    if "config.json" not in wanted or not has_tokenizer or not any(name.endswith(WEIGHTS) for name in wanted):
        raise Invalid(
            "base_incomplete",
            f"{source} is no causal LM directory: it needs config.json, a tokenizer and weights as safetensors.",
            "location",
        )
    manifest = _manifest([_describe(source, name) for name in wanted])
    adopt(source, manifest)
    return manifest


def size_of(manifest: Manifest) -> int:
    return sum(file.bytes for file in manifest.files)


def parameters_of(directory: Path) -> int:
    """Number of weights, read from the headers of the safetensors files; no tensor is loaded."""
    return sum(_parameters_in(path) for path in directory.glob("*" + WEIGHTS))


def _parameters_in(path: Path) -> int:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > 100 * 2**20:
            raise Invalid("weights_unreadable", f"{path.name} is not a safetensors file: export the model again.")
        try:
            header = msgspec.json.decode(file.read(length))
        except msgspec.DecodeError:
            return 0
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            count = 1
            for extent in tensor["shape"]:
                count *= extent
            total += count
    return total


def _belongs(name: str) -> bool:
    """Weights as safetensors, configuration and tokenizer; never pickles, code or somebody's README."""
    return name.endswith((WEIGHTS, ".json", ".jinja", ".model", ".txt")) and name != MANIFEST


def _describe(source: Path, name: str) -> Artifact:
    path = source / name
    with path.open("rb") as file:
        return Artifact(path=name, bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _manifest(files: list[Artifact]) -> Manifest:
    return Manifest(files=files, digest=manifest_digest(files))


def _copy_verified(source: Path, incoming: Path, file: Artifact) -> None:
    origin, copy = source / file.path, incoming / file.path
    if copy.resolve().parent != incoming.resolve() and incoming.resolve() not in copy.resolve().parents:
        raise Invalid("artifact_path", f"The manifest names {file.path}, which lies outside of its directory.")
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(origin, copy)
    if _describe(incoming, file.path).sha256 != file.sha256:
        raise Invalid("artifact_damaged", f"{file.path} does not match its manifest: the file is damaged.")
    with copy.open("rb") as written:
        os.fsync(written.fileno())


@contextmanager
def _incoming() -> Iterator[Path]:
    """A directory for a copy, locked while its process lives, gone afterwards."""
    path = store() / f"{INCOMING}{uuid.uuid4().hex}"
    path.mkdir(parents=True)
    try:
        with _lock(path):
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _lock(directory: Path) -> Iterator[bool]:
    """Whether the lock is ours. The kernel drops it with the process, however that ends."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def _publish(incoming: Path, target: Path) -> Path:
    try:
        incoming.rename(target)
    except OSError:
        if not target.is_dir():  # somebody else published the same content first: that is the same artifact
            raise
    return target
