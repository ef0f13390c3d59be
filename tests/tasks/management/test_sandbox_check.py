import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tasks.sandbox import selfcheck
from tasks.sandbox.protocol import Level
from tasks.sandbox.selfcheck import Finding, Report

REPOSITORY = Path(__file__).resolve().parents[3]


def command(*options: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "manage.py", "sandbox_check", *options],
        cwd=REPOSITORY,
        env={**os.environ, "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def one_escape(monkeypatch: pytest.MonkeyPatch):
    """A machine on which the first level can be broken out of."""

    def check(level: Level) -> Report:
        held = level is not Level.NAMESPACES
        return Report(level, (Finding("network", "reach a port", held), Finding("files", "read a file", True)))

    monkeypatch.setattr(selfcheck, "check", check)
    monkeypatch.delenv("SANDBOX_LEVELS", raising=False)


def test_it_needs_no_database():
    done = command()

    assert done.returncode == 0, done.stderr
    assert "Level in use: " in done.stdout


def test_as_json_every_probe_of_every_level_is_told():
    told = json.loads(command("--json").stdout)

    names = {finding["probe"] for report in told["levels"] for finding in report["findings"]}
    assert {"network", "unix_sockets", "secrets_of_processes", "tracing", "forged_answers", "next_grade"} <= names


def test_an_escape_is_printed_and_is_a_failure(one_escape, capsys: pytest.CaptureFixture):
    with pytest.raises(CommandError, match="Broken out of: namespaces"):
        call_command("sandbox_check")

    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["network", "ESCAPED", "held"]
    assert lines[-1] == "Level in use: landlock"


def test_switched_off_it_says_so_and_is_no_failure():
    done = command(SANDBOX_LEVELS="none")

    assert done.returncode == 0
    assert "SANDBOX_LEVELS=none" in done.stdout


def test_an_unknown_level_is_refused():
    assert "use namespaces, landlock, none" in command(SANDBOX_LEVELS="docker").stderr
