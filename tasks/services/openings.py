"""How the rows of an import begin and end, kept beside its resume offset: what a kill must not make it forget.

Wrappers are proposed by the counts of a whole file, which no single attempt may have seen. Before a chunk is committed,
the counts up to its last line go into a file named by that line; the one of the line before goes after the commit. So
at any moment of a kill there is a file for the line that is stored, whichever of the two lines that is. A name comes
only to a file that is written whole. It is not flushed: what a power cut takes, a pruned cache or another machine is
not there, and whoever resumes counts the rows before the offset once more.
"""

import os
from pathlib import Path

import msgspec
from django.conf import settings

from tasks.dedup.wrappers import Lines


def write(upload_id: int, line: int, openings: Lines) -> None:
    path = _path(upload_id, line)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_bytes(msgspec.msgpack.encode(openings))
    draft.replace(path)


def read(upload_id: int, line: int) -> Lines | None:
    """Of the rows up to this line; None where that is not known."""
    if not line:
        return Lines()
    try:
        return msgspec.msgpack.decode(_path(upload_id, line).read_bytes(), type=Lines)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def forget(upload_id: int, *, but: int | None = None) -> None:
    """Of every line, but one."""
    kept = None if but is None else _path(upload_id, but)
    for path in _folder().glob(f"{upload_id}-*"):
        if path != kept:
            path.unlink(missing_ok=True)


def _folder() -> Path:
    return Path(settings.DATA_DIR) / "cache" / "openings"


def _path(upload_id: int, line: int) -> Path:
    return _folder() / f"{upload_id}-{line}.msgpack"
