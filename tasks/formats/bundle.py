"""Several files as one zip that is written while it is sent. The same files give the same bytes."""

import zipfile
from collections.abc import Iterable, Iterator

from tasks.formats.rejected import Tube

SMALL = (".parquet", ".gz", ".safetensors")  # do not shrink


def write(files: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[bytes]:
    """`files`: (name, content), each taken when the one before is written."""
    tube = Tube()
    with zipfile.ZipFile(tube, "w", zipfile.ZIP_STORED) as archive:
        for name, pieces in files:
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(SMALL) else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w", force_zip64=True) as target:
                for piece in pieces:
                    target.write(piece)
                    if ready := tube.take():
                        yield ready
            yield tube.take()
    yield tube.take()
