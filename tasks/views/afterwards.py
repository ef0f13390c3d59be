"""What became of an upload's rows after their import: corrected, asked about again, replaced by a later file."""

from typing import Any

from tasks.models import Upload
from tasks.services import appeals, rejections, replacing
from tasks.services.settling import SETTLED
from tasks.states import UploadMode, UploadState

MOST = 50


def of(upload: Upload) -> dict[str, Any]:
    taken = rejections.corrected(upload) if upload.state == UploadState.IMPORTED else {}
    return {
        "taken_over": list(taken.items())[:MOST],
        "taken_over_count": len(taken),
        "row_appeals": appeals.of_upload(upload)[:MOST],
        "may_ask": appeals.askable(upload).exists(),
        "leaving": _leaving(upload),
        "has_left": upload.counts.get("gone", 0),
    }


def _leaving(upload: Upload) -> int:
    """Rows of earlier files that will leave for this one, as far as its import has come."""
    if upload.mode != UploadMode.REPLACE or SETTLED in upload.counts:
        return 0
    return replacing.count(upload)
