"""Adapters merged into whole models, by a process of the engine on this machine."""

import os
import subprocess
import sys
from pathlib import Path

from trainer.launchers.local import PASSED_ON, REPOSITORY
from trainer.launchers.payload import ENVIRONMENT
from trainer.launchers.protocol import LauncherError

MERGE_SECONDS = 600.0  # as long as a client waits for its answer


def merge(start: Path, checkpoint: Path, target: Path) -> None:
    """Write the model `start` with the adapter in `checkpoint` as the directory `target`. Raises LauncherError.

    On the processor, whatever the machine has: its accelerators are busy with answers or with training.
    """
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "trainer.engine.merging", str(start), str(checkpoint), str(target)],
            cwd=REPOSITORY,
            env={"LANG": "C.UTF-8", **passed_on, **ENVIRONMENT, "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=MERGE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LauncherError(f"Merging the adapter took more than {MERGE_SECONDS:.0f} seconds: it was ended.") from None
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise LauncherError(f"The adapter could not be merged: {' '.join(last)[:300] or 'the process was ended'}")
