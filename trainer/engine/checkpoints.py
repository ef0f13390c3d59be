"""Publishing directories so that a reader sees all of one or nothing: write → fsync → manifest → atomic rename."""

import hashlib
import os
import shutil
from pathlib import Path

import msgspec

from tasks.crash import crash_point
from trainer.contract import Artifact, Manifest, encode, manifest_digest
from trainer.engine.faults import Fault

MANIFEST = "manifest.json"


def publish(partial: Path, final: Path, *, step: int = 0) -> Manifest:
    """Turn the finished directory `partial` into `final`, replacing what was there before."""
    files = [_artifact(partial, path) for path in sorted(partial.rglob("*")) if path.is_file()]
    manifest = Manifest(files=files, digest=manifest_digest(files), step=step)
    write_durably(partial / MANIFEST, encode(manifest))
    _sync_directories(partial)
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists():
        # rename() cannot replace a full directory. A kill between these lines leaves no `final`; the next attempt
        # resumes from the last checkpoint and publishes again.
        shutil.rmtree(final)
    crash_point("artifact.before_rename")
    partial.rename(final)
    _sync(final.parent)
    crash_point("artifact.after_rename")
    return manifest


def read_manifest(directory: Path) -> Manifest:
    return msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)


def verified(directory: Path) -> Manifest | None:
    """The manifest when every file is there with its size and hash, else None."""
    try:
        manifest = read_manifest(directory)
        whole = all(_artifact(directory, directory / file.path) == file for file in manifest.files)
    except (OSError, msgspec.DecodeError):
        return None
    return manifest if whole and manifest.digest == manifest_digest(manifest.files) else None


def require_space(directory: Path, needed_bytes: int) -> None:
    """Refuse before the write rather than in the middle of it."""
    free = shutil.disk_usage(directory).free
    if free < needed_bytes:
        raise Fault(
            "checkpoint",
            "disk_full",
            f"A checkpoint needs {needed_bytes / 1e6:.0f} MB, {free / 1e6:.0f} MB are free: make room and resume.",
        )


def write_durably(path: Path, content: bytes) -> None:
    """Replace `path` in one step and survive a power cut."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _artifact(directory: Path, path: Path) -> Artifact:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Artifact(
            path=path.relative_to(directory).as_posix(), bytes=os.fstat(file.fileno()).st_size, sha256=sha256
        )


def _sync_directories(root: Path) -> None:
    for path in (*root.rglob("*"), root):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def step_of(directory: Path) -> int:
    return int(directory.name.removeprefix("step-"))


def clear(directory: Path) -> None:
    """Drop what an earlier attempt left half-done."""
    shutil.rmtree(directory, ignore_errors=True)
