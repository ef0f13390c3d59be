"""docs/schedules.md against the code: fields, presets and outcomes."""

import re
from pathlib import Path

from flywheel.api.schedules import ScheduleChange
from trainer.forms import SCHEDULE_PRESETS
from trainer.models import Firing

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "schedules.md").read_text()


def test_every_field_that_can_be_changed_is_explained():
    table = PAGE.partition("| field |")[2].partition("\n\n")[0]

    assert set(re.findall(r"`(\w+)`", table)) >= set(ScheduleChange().fields)


def test_every_preset_stands_there_with_its_cron():
    rows = dict(re.findall(r"^\| ([A-Z][^|]+) \| `([^`]+)` \|", PAGE, re.MULTILINE))

    assert rows == {told: fields["cron"] for told, fields in SCHEDULE_PRESETS.values()}


def test_every_outcome_is_named():
    assert all(f"`{outcome}`" in PAGE for outcome in Firing.Outcome.values)
