"""Postgres refuses to run as root. This module finds a way for root to start it all the same.

1. A user namespace in which root is somebody else: nothing on disk changes its owner.
2. Where user namespaces are blocked (many containers): another uid that keeps one capability, so that it can still
   enter the folders above its data.
"""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from flywheel.embedded.refusals import EmbeddedError

NOBODY = 65534
_NAMESPACE = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--")
# --pdeathsig because a change of uid clears what the parent has set; INT is Postgres's fast shutdown.
_OTHER_UID = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
    "--pdeathsig=INT",
    "--",
)


def unprivileged_prefix() -> tuple[str, ...]:
    """What to put before a command that refuses root; empty for everybody else."""
    return () if os.geteuid() != 0 else _prefix_for_root()


@cache
def _prefix_for_root() -> tuple[str, ...]:
    for prefix in (_NAMESPACE, _OTHER_UID):
        if _works(prefix):
            return prefix
    raise EmbeddedError(
        "Postgres refuses to run as root, and neither user namespaces nor a change of uid are allowed here: "
        "start as an ordinary user, or set DATABASE_URL to a Postgres of yours."
    )


def _works(prefix: tuple[str, ...]) -> bool:
    try:
        done = subprocess.run([*prefix, sys.executable, "-I", "-S", "-c", "pass"], capture_output=True, timeout=30)
    except OSError:
        return False
    return done.returncode == 0


def hand_over(directory: Path, prefix: tuple[str, ...]) -> None:
    """Give a folder and all in it to the account that the prefix runs as, where it belongs to another."""
    if os.geteuid() != 0:
        return
    owner = NOBODY if prefix == _OTHER_UID else 0
    if directory.stat().st_uid == owner:
        return
    for folder, _, files in os.walk(directory):
        os.chown(folder, owner, owner)
        for name in files:
            os.chown(Path(folder, name), owner, owner, follow_symlinks=False)
