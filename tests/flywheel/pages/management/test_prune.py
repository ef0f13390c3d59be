import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.core.management import CommandError, call_command

from tasks.services import pruning
from trainer.services import pruning as model_side

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def data(settings: Any, tmp_path: Path) -> Path:
    settings.DATA_DIR = settings.BASE_DIR = tmp_path
    settings.MEDIA_ROOT = tmp_path / "files"
    return tmp_path


def _said(*options: str) -> str:
    out = StringIO()
    call_command("prune", *options, stdout=out)
    return out.getvalue()


def test_both_sides_are_pruned():
    told = json.loads(_said("--dry-run", "--json"))

    assert told["dry_run"] is True
    assert {"upload_files", "checkpoints"} <= set(told["kinds"])
    assert told["kinds"]["upload_files"] == {"days": 90, "count": 0, "bytes": 0, "failure": ""}


def test_people_read_a_table(settings: Any):
    settings.PRUNE_ROLLOUTS_DAYS = 0

    said = _said()

    assert "upload_files" in said
    assert any(line.startswith("rollouts") and line.endswith("for ever") for line in said.splitlines())


def test_a_fault_is_told_at_the_end(monkeypatch: Any):
    def broken(_: Any) -> Any:
        raise PermissionError(13, "Permission denied", "/data/runs/x")

    monkeypatch.setattr(model_side, "rules", lambda: [pruning.Rule("runs", 1, broken)])

    with pytest.raises(CommandError, match="/data/runs/x: Permission denied"):
        _said()


def test_no_kind_is_named_twice():
    kinds = [rule.kind for rule in [*pruning.rules(), *model_side.rules()]]

    assert len(kinds) == len(set(kinds))


def test_both_sides_are_pruned_once_a_day():
    jobs = {entry["task"] for entry in configured.CELERY_BEAT_SCHEDULE.values()}

    assert {"tasks.jobs.prune", "trainer.jobs.prune"} <= jobs
