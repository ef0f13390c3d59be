"""manage.py reproduce VERSION: what it prints, how it ends, what it leaves."""

import os
import signal
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.trainer.services.conftest import contributor, fill, knobs, line, operator, team, unbuilt_line
from tests.trainer.services.test_reproducing import expert
from trainer.management.commands import reproduce
from trainer.models import Line, ModelVersion
from trainer.services.reproducing import Outcome, Report

__all__ = ["contributor", "expert", "fill", "knobs", "line", "operator", "team", "unbuilt_line"]


@pytest.fixture
def taken_in(line: Line) -> Line:
    """A base that is compared by its hashes: no engine works."""
    line.base_build.source = "directory"
    line.base_build.save()
    return line


def said(*arguments: Any) -> str:
    out = StringIO()
    call_command("reproduce", *map(str, arguments), stdout=out)
    return out.getvalue()


def test_a_version_that_comes_out_the_same_ends_well(taken_in: Line):
    assert said("shared/v0").endswith("shared/v0 was reproduced.\n")


def test_a_version_that_comes_out_otherwise_ends_in_an_error(expert: ModelVersion):
    with pytest.raises(CommandError, match=rf"^{expert.name} was not reproduced\.$"):
        said(expert.name, "--from", expert.name)


def test_what_is_trusted_counts_as_well(taken_in: Line, expert: ModelVersion):
    zero = f"{expert.line.slug}/v0"

    assert f"{zero} was reproduced." in said(zero, "--from", zero)


def test_an_unknown_version_is_named(line: Line):
    with pytest.raises(CommandError, match="There is no version shared/v7"):
        said("shared/v7")


def test_what_the_engines_write_is_kept_where_it_is_asked_for(expert: ModelVersion, tmp_path: Path):
    with pytest.raises(CommandError):
        said(expert.name, "--from", expert.name, "--keep", tmp_path / "kept")

    assert (tmp_path / "kept" / expert.name.replace("/", "-") / "model" / "manifest.json").is_file()


def test_nothing_is_kept_where_nobody_asked(expert: ModelVersion, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(reproduce.tempfile, "tempdir", str(tmp_path))

    with pytest.raises(CommandError):
        said(expert.name, "--from", expert.name)

    assert list(tmp_path.glob("reproduce-*")) == []


def test_a_directory_that_is_there_is_not_written_to(taken_in: Line, tmp_path: Path):
    with pytest.raises(CommandError, match="Name a directory that is not there"):
        said("shared/v0", "--keep", tmp_path)


def test_a_terminated_reproduction_says_so_and_leaves_nothing(
    expert: ModelVersion, knobs: Callable[..., None], tmp_path: Path, monkeypatch: Any
):
    knobs(seconds=60)
    monkeypatch.setattr(reproduce.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(reproduce.Command, "_say", lambda self, words: os.kill(os.getpid(), signal.SIGTERM))

    with pytest.raises(CommandError, match="Interrupted: the engine was ended, and nothing was changed"):
        said(expert.name, "--from", expert.name)

    assert list(tmp_path.glob("reproduce-*")) == []


BEFORE = {"torch": "2.13.0", "processor": "Some CPU", "threads": "2", "vectors": "AVX2"}


def report(outcome: Outcome = Outcome.SAME, **more: Any) -> Report:
    return Report("shared/v1", outcome, "A sentence.", "a" * 64, **{"now": "b" * 64, **more})


def test_the_table_has_a_line_for_each_version():
    lines = reproduce.table([report(), report(Outcome.TRUSTED, now="")]).splitlines()

    assert [line.split()[:4] for line in lines] == [
        ["version", "outcome", "digest", "then"],
        ["shared/v1", "same", "a" * 12, "b" * 12],
        ["shared/v1", "trusted", "a" * 12, "–"],
        ["A", "sentence."],
    ]


def test_what_was_noticed_stands_below_its_version():
    table = reproduce.table([report(Outcome.DIFFERS, notes=("The setting seed was 5 and is 6.",))])

    assert [line.strip() for line in table.splitlines()[2:]] == ["A sentence.", "The setting seed was 5 and is 6."]


def test_an_environment_that_has_moved_is_marked():
    told = reproduce.environments([report(environment_then=BEFORE, environment_now={**BEFORE, "vectors": "AVX512"})])

    assert [line.split() for line in told.splitlines() if "differs" in line] == [
        ["vectors", "AVX2", "AVX512", "←", "differs"]
    ]


def test_versions_of_one_environment_share_its_lines():
    told = reproduce.environments([report(environment_then=BEFORE, environment_now=BEFORE)] * 3)

    assert told.count("environment") == 1


def test_an_environment_that_nobody_recorded_is_said_to_be_so():
    told = reproduce.environments([report(environment_now=BEFORE)])

    assert "not recorded" in told
    assert "differs" not in told
