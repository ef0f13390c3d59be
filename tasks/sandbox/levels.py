"""Which level this process uses: the best that held when it was tried, at first use and again after an hour."""

import os
import sys
import threading
import time
from dataclasses import dataclass

from tasks.sandbox import selfcheck
from tasks.sandbox.protocol import Level, Unavailable

VARIABLE = "SANDBOX_LEVELS"
OFFERED = (Level.NAMESPACES, Level.LANDLOCK)  # from best on
_HELD_SECONDS = 3600.0
_REFUSED_SECONDS = 60.0  # a machine that was only too busy gets another try soon

_REMEDY = (
    "Python and code graders need a sandbox: run on Linux and allow unprivileged user namespaces"
    " (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0),"
    " or a kernel with Landlock (5.13 or newer)"
)


@dataclass(frozen=True, slots=True)
class _Choice:
    wanted: tuple[Level, ...]
    level: Level | None
    sentence: str
    good_until: float  # monotonic seconds


_lock = threading.Lock()
_choice: _Choice | None = None


def wanted() -> tuple[Level, ...]:
    """The levels to try, in order: those of SANDBOX_LEVELS (a list with commas, or `none`), else all there are."""
    given = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    if not given:
        return OFFERED
    unknown = [name for name in given if name not in {*OFFERED, "none"}]
    if unknown:
        known = ", ".join((*OFFERED, "none"))
        raise Unavailable(f"{VARIABLE} names '{unknown[0]}', which is no level of the sandbox: use {known}.")
    return tuple(Level(name) for name in given if name != "none")


def best() -> Level:
    """Raises Unavailable with a sentence that says what to do."""
    global _choice
    levels = wanted()
    with _lock:
        if _choice is None or _choice.wanted != levels or time.monotonic() >= _choice.good_until:
            _choice = _choose(levels)
        if _choice.level is None:
            raise Unavailable(_choice.sentence)
        return _choice.level


def _choose(levels: tuple[Level, ...]) -> _Choice:
    now = time.monotonic()
    if not levels:
        sentence = f"The sandbox is switched off ({VARIABLE}=none): python and code graders are refused."
        return _Choice(levels, None, sentence, now + _HELD_SECONDS)
    if sys.platform != "linux":
        return _Choice(levels, None, f"{_REMEDY}.", now + _HELD_SECONDS)
    reasons = []
    for level in levels:
        report = selfcheck.check(level, thorough=False)
        if report.holds:
            return _Choice(levels, level, "", now + _HELD_SECONDS)
        reasons.append(f"{level}: {report.refused or 'does not hold against ' + ', '.join(report.escaped)}")
    return _Choice(levels, None, f"{_REMEDY}. Tried here: {'; '.join(reasons)}.", now + _REFUSED_SECONDS)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
