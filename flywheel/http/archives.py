"""Directories as one download: a zip that is written while it is sent, so nothing is staged on disk or in memory."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from django.http import StreamingHttpResponse

CHUNK_BYTES = 1024 * 1024


class _Tube:
    """What zipfile writes, taken out again in pieces. It cannot seek, so zipfile puts sizes behind each file."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def attachment(directory: Path, name: str) -> StreamingHttpResponse:
    reply = StreamingHttpResponse(zipped(directory, name), content_type="application/zip")
    reply["Content-Disposition"] = f'attachment; filename="{name}.zip"'
    reply["X-Content-Type-Options"] = "nosniff"
    return reply


def zipped(directory: Path, folder: str) -> Iterator[bytes]:
    """The files under `folder`, stored and not compressed: weights do not shrink."""
    tube = _Tube()
    with zipfile.ZipFile(tube, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for path in sorted(path for path in directory.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{folder}/{path.relative_to(directory)}")
            with archive.open(entry, "w", force_zip64=True) as target, path.open("rb") as source:
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)
                    yield tube.take()
    yield tube.take()
