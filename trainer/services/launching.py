"""The launcher that the settings name, and the directories that engines work in."""

import shlex
import uuid
from pathlib import Path

from django.conf import settings

from tasks.graders.judges import Judges
from trainer.launchers.local import LocalLauncher


def launcher(judges: Judges | None = None) -> LocalLauncher:
    """Local processes; ENGINE_COMMAND replaces `python -m trainer.engine` (its last argument is the run directory).

    `judges`: those that an engine submitted here may ask.
    """
    environment = {"ENGINE_THREADS": str(settings.ENGINE_THREADS)} if settings.ENGINE_THREADS else {}
    if command := shlex.split(settings.ENGINE_COMMAND):
        return LocalLauncher(engine_command=tuple(command), environment=environment, judges=judges)
    return LocalLauncher(environment=environment, judges=judges)


def new_directory(kind: str) -> str:
    """A name for a run directory; the directory itself is made when its inputs are written."""
    return f"{kind}-{uuid.uuid4().hex}"


def path_of(directory: str) -> Path:
    return Path(settings.DATA_DIR) / "runs" / directory
