"""Named crash points: FLYWHEEL_CRASH_AT=import.after_chunk kills this process there with SIGKILL, import.after_chunk:3
at the third passing. How tests show that a kill at any place loses nothing; without the variable nothing happens.

FLYWHEEL_CRASH_ONCE names a file: the first process that gets there makes it and dies, later ones pass."""

import os
import signal
from collections import Counter

VARIABLE = "FLYWHEEL_CRASH_AT"
ONCE = "FLYWHEEL_CRASH_ONCE"
_passed: Counter[str] = Counter()


def crash_point(name: str) -> None:
    wanted, _, passing = os.environ.get(VARIABLE, "").partition(":")
    if name != wanted:
        return
    _passed[name] += 1
    if _passed[name] == int(passing or 1) and _is_first():
        os.kill(os.getpid(), signal.SIGKILL)


def _is_first() -> bool:
    if not (path := os.environ.get(ONCE, "")):
        return True
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
