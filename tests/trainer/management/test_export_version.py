"""manage.py export_version NAME DIR."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.trainer.services.conftest import fill, knobs, line, operator, team, unbuilt_line
from trainer.models import Line
from trainer.services import artifacts

__all__ = ["fill", "knobs", "line", "operator", "team", "unbuilt_line"]


def test_a_version_is_written_to_a_directory(line: Line, tmp_path: Path):
    out = StringIO()

    call_command("export_version", "shared/v0", str(tmp_path / "out"), stdout=out)

    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert line.versions.get().digest in out.getvalue()


def test_what_is_there_is_not_overwritten(line: Line, tmp_path: Path):
    (tmp_path / "out").mkdir()

    with pytest.raises(CommandError, match="is there already"):
        call_command("export_version", "shared/v0", str(tmp_path / "out"))


def test_a_damaged_artifact_is_refused_in_one_sentence(line: Line, tmp_path: Path):
    path = artifacts.path_of(line.versions.get().digest) / "config.json"
    path.write_text("{ ")

    with pytest.raises(
        CommandError, match=r"^config.json does not match its manifest: the file is damaged or missing.$"
    ):
        call_command("export_version", "shared/v0", str(tmp_path / "out"))


def test_a_place_that_cannot_be_written_is_told(line: Line, tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(CommandError, match="make it first"):
        call_command("export_version", "shared/v0", str(tmp_path / "file" / "out"))
