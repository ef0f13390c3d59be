"""Postgres refuses to run as root. This module finds a way for root to start it all the same.

1. A user namespace in which root is somebody else: nothing on disk changes its owner.
2. Where user namespaces are blocked (many containers): another uid that keeps one capability, so that it can still
   enter the folders above its data and above its own binaries (/root is closed to others on many machines).
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
# no_setuid_fixup because access(2), by which initdb looks for its programs, otherwise disregards the capabilities of
# every uid but root's.
_OTHER_UID = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
    "--securebits=+no_setuid_fixup",
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
        "Postgres refuses to run as root, and neither user namespaces nor a change of uid are allowed here, or neither "
        f"reaches {sys.prefix}: start as an ordinary user, or set DATABASE_URL to a Postgres of yours."
    )


def _works(prefix: tuple[str, ...]) -> bool:
    """Whether what is started behind the prefix reaches the folder in which the binaries are installed."""
    command = [*prefix, "test", "-x", sys.prefix]
    try:
        done = subprocess.run(command, capture_output=True, timeout=30)
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
