"""Which grading programs these are. The same configuration grades otherwise where the code behind it is another."""

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

# What grades by itself or decides how text is read; the sandbox's own libraries are among them.
PACKAGES = (
    "math-verify",
    "sympy",
    "numpy",
    "scipy",
    "rapidfuzz",
    "nltk",
    "reasoning-gym",
    "if-verifiable",
    "jsonschema",
)
TASKS = Path(__file__).parents[1]
BESIDES = ("text.py", "types.py", "validation.py")  # what graders compare texts by


@cache
def release() -> str:
    """SHA-256 over the sources of the graders and of the sandbox, and the versions of what they grade with."""
    sources = [path for folder in ("graders", "sandbox") for path in (TASKS / folder).rglob("*.py")]
    return digest_of([*sources, *(TASKS / name for name in BESIDES)], PACKAGES)


def digest_of(sources: Iterable[Path], packages: Iterable[str]) -> str:
    """SHA-256 over the files, by name, and the installed versions of the packages."""
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for name in packages:
        digest.update(f"{name}={_version(name)}".encode() + b"\0")
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
