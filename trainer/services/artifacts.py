"""The store of model artifacts: DATA_DIR/models/<digest>, content-addressed, never changed."""

import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from django.conf import settings

from tasks.crash import crash_point
from tasks.errors import Conflict, Invalid, NotFound
from trainer import weights
from trainer.contract import Artifact, Manifest, manifest_digest

MANIFEST = "manifest.json"
WEIGHTS = ".safetensors"
INCOMING = ".incoming-"
PIECE_BYTES = 1 << 20
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


def made(make: Callable[[Path], object]) -> Manifest:
    """An artifact of what `make` publishes, with its manifest, as the directory that it is given."""
    with _incoming() as incoming:
        make(incoming / "model")
        manifest = msgspec.json.decode((incoming / "model" / MANIFEST).read_bytes(), type=Manifest)
        if not (target := path_of(manifest.digest)).is_dir():
            crash_point("adopt.before_publish")
            _publish(incoming / "model", target)
        return manifest


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


def manifest_of(digest: str, called: str) -> Manifest:
    """What the store holds under the digest, every file with its size; hashes are compared when contents are read.

    Raises NotFound or Invalid; `called` is the version's name, for people.
    """
    try:
        manifest = msgspec.json.decode((path_of(digest) / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise NotFound(
            "artifact_missing", f"The files of {called} are not on this machine: tell an operator."
        ) from None
    except msgspec.DecodeError:
        raise _damaged(MANIFEST) from None
    if not manifest.digest == manifest_digest(manifest.files) == digest:
        raise _damaged(MANIFEST)
    for file in manifest.files:
        path = _within(path_of(digest), file.path)
        if not path.is_file() or path.stat().st_size != file.bytes:
            raise _damaged(file.path)
    return manifest


def require_whole(digest: str, manifest: Manifest) -> None:
    """Raises Invalid where a file of the artifact is not what its manifest says."""
    for file in manifest.files:
        for _ in contents(digest, file):
            pass


def contents(digest: str, file: Artifact) -> Iterator[bytes]:
    """A file of the store, piece by piece. Raises Invalid at its end where the hash is another: who has written the
    pieces must not publish them."""
    path, seen = _within(path_of(digest), file.path), hashlib.sha256()
    try:
        source = path.open("rb")
    except FileNotFoundError:
        raise _damaged(file.path) from None
    with source:
        while piece := source.read(PIECE_BYTES):
            seen.update(piece)
            yield piece
    if seen.hexdigest() != file.sha256:
        raise _damaged(file.path)


def export(target: Path, files: Iterable[tuple[str, Iterable[bytes]]]) -> None:
    """Write (name, content) pairs as a directory that appears whole or not at all. What is there stays as it is."""
    if target.exists() or target.is_symlink():
        raise Conflict("export_exists", f"{target} is there already: name a directory that is not.")
    if not target.parent.is_dir():
        raise Invalid("export_nowhere", f"There is no directory {target.parent}: make it first.")
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    partial.mkdir()
    try:
        for name, pieces in files:
            path = _within(partial, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_durably(path, pieces)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_durably(path: Path, pieces: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _within(directory: Path, name: str) -> Path:
    path = directory / name
    if directory.resolve() not in path.resolve().parents:
        raise Invalid("artifact_path", f"The manifest names {name}, which lies outside of its directory.")
    return path


def _damaged(name: str) -> Invalid:
    return Invalid("artifact_damaged", f"{name} does not match its manifest: the file is damaged or missing.")


def size_of(manifest: Manifest) -> int:
    return sum(file.bytes for file in manifest.files)


def parameters_of(directory: Path) -> int:
    """Number of weights, read from the headers of the safetensors files; no tensor is loaded."""
    return sum(weights.parameters(path) for path in directory.glob("*" + WEIGHTS))


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
    copy = _within(incoming, file.path)
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source / file.path, copy)
    except FileNotFoundError:
        raise _damaged(file.path) from None
    if _describe(incoming, file.path).sha256 != file.sha256:
        raise _damaged(file.path)
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
