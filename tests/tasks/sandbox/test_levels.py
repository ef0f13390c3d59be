import json
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.sandbox import levels, selfcheck
from tasks.sandbox.protocol import Level, Unavailable
from tasks.sandbox.selfcheck import Finding, Report

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def undecided(monkeypatch: pytest.MonkeyPatch):
    """No choice has been made yet, and what is chosen here is forgotten."""
    monkeypatch.setattr(levels, "_choice", None)


def found(held: bool) -> tuple[Finding, ...]:
    return (Finding("network", "reach a port", held),)


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch):
    """What the self-check says of each level, and which levels it was asked about."""
    given: dict[Level, Report] = {}
    asked: list[Level] = []

    def check(level: Level, *, thorough: bool) -> Report:
        asked.append(level)
        return given[level]

    monkeypatch.setattr(selfcheck, "check", check)
    monkeypatch.delenv("SANDBOX_LEVELS", raising=False)
    given["asked"] = asked
    return given


def test_the_first_level_that_holds_is_used(reports):
    reports[Level.NAMESPACES] = Report(Level.NAMESPACES, found(True))

    assert levels.best() is Level.NAMESPACES


def test_a_level_that_was_broken_out_of_is_passed_over(reports):
    reports[Level.NAMESPACES] = Report(Level.NAMESPACES, found(False))
    reports[Level.LANDLOCK] = Report(Level.LANDLOCK, found(True))

    assert levels.best() is Level.LANDLOCK


def test_with_none_that_holds_the_sentence_names_what_failed_and_what_to_do(reports):
    reports[Level.NAMESPACES] = Report(Level.NAMESPACES, refused="unshare: Operation not permitted")
    reports[Level.LANDLOCK] = Report(Level.LANDLOCK, found(False))

    with pytest.raises(Unavailable) as refusal:
        levels.best()

    assert "namespaces: unshare: Operation not permitted; landlock: does not hold against network" in str(refusal.value)
    assert "allow unprivileged user namespaces" in str(refusal.value)


def test_a_choice_is_kept(reports):
    reports[Level.NAMESPACES] = Report(Level.NAMESPACES, found(True))

    levels.best()
    levels.best()

    assert reports["asked"] == [Level.NAMESPACES]


def test_after_an_hour_the_levels_are_tried_again(reports, monkeypatch: pytest.MonkeyPatch):
    reports[Level.NAMESPACES] = Report(Level.NAMESPACES, found(True))
    levels.best()
    later = levels.time.monotonic() + 3601
    monkeypatch.setattr(levels.time, "monotonic", lambda: later)

    levels.best()

    assert len(reports["asked"]) == 2


def test_an_operator_may_choose_the_levels(reports, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SANDBOX_LEVELS", "landlock")
    reports[Level.LANDLOCK] = Report(Level.LANDLOCK, found(True))

    assert levels.best() is Level.LANDLOCK


def test_our_own_level_without_confinement_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SANDBOX_LEVELS", "plain")

    with pytest.raises(Unavailable, match="'plain', which is no level"):
        levels.best()


def test_the_self_check_never_runs_a_probe_without_confinement():
    report = selfcheck.check(Level.PLAIN)

    assert report.refused
    assert not report.findings


def test_every_level_that_can_be_started_here_holds(level: Level):
    report = selfcheck.check(level)

    assert report.escaped == ()


# As in a container under Docker's default profile: no new namespaces, no mounts, and clone3 is a call that the kernel
# seems not to know, so that the C library starts threads by clone.
CONTAINER = """
import ctypes, errno, os, sys
sys.path.insert(0, ".")
from tasks.sandbox import kernel, seccomp
program = [(0x20, 0, 0, 0)]
for number in ((272, 308, 165, 155) if os.uname().machine == "x86_64" else (97, 268, 40, 41)):
    program += [(0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | errno.EPERM)]
program += [(0x15, 0, 1, 435), (0x06, 0, 0, 0x50000 | errno.ENOSYS)]
program.append((0x06, 0, 0, 0x7FFF0000))
packed = (ctypes.c_uint64 * len(program))(*map(seccomp._packed, program))
header = seccomp._Program(len(program), ctypes.addressof(packed))
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
kernel.prctl(kernel.PR_SET_SECCOMP, kernel.SECCOMP_MODE_FILTER, ctypes.addressof(header))
os.execv(sys.executable, [sys.executable, "manage.py", "sandbox_check", "--json"])
"""


def test_a_container_without_namespaces_gets_another_level_or_none():
    done = subprocess.run([sys.executable, "-c", CONTAINER], cwd=REPOSITORY, capture_output=True, text=True, check=True)

    told = json.loads(done.stdout)
    assert told["chosen"] != "namespaces"
    assert told["levels"][0]["refused"].endswith("unshare: Operation not permitted")
