"""Where files lie: those on their way under incoming/, whole ones under their team and their hash."""

from pathlib import Path

from django.conf import settings

from tasks.models import Upload


def stored_file(upload: Upload) -> Path:
    return Path(settings.MEDIA_ROOT) / upload.storage_key


def incoming() -> Path:
    folder = Path(settings.MEDIA_ROOT) / "incoming"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
