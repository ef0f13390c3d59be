"""docs/training.md: its table of knobs is the RunSpec's own, and every ending, budget and metric is explained."""

import re
from pathlib import Path

from tests.promises.test_documents import named, sections, table_rows
from trainer.presets import PRESETS
from trainer.runspec import knobs
from trainer.services.runs import BUDGETS
from trainer.views import findings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text()


def part(heading: str) -> str:
    return sections(PAGE, 2)[heading]


def test_the_table_of_knobs_is_that_of_the_code():
    expected = [
        [f"`{knob.name}`", str(knob.default), " ".join(filter(None, (knob.unit, knob.limits))), knob.says, knob.zero]
        for knob in knobs()
    ]

    assert list(table_rows(part("Every setting"))) == expected


def test_every_preset_is_described():
    assert set(PRESETS) <= named(part("Start"))


def test_every_budget_is_described():
    assert set(BUDGETS) <= named(part("Budgets and pausing"))


def test_every_ending_is_described():
    contract = (Path(__file__).resolve().parents[2] / "trainer" / "contract.py").read_text()
    codes = re.findall(r"code: str  # (completed \|[^\n]*)", contract)[0].split(" | ")

    assert set(codes) <= named(part("How a run ends"))


def test_every_chart_of_the_run_page_is_described():
    titles = {title for _, title, *_ in findings.CHARTS}

    described = {cells[0] for cells in table_rows(part("Read a run"))}
    assert titles == described
