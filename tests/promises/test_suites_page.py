"""docs/suites.md against the code: the catalogue, the budget, and the addresses."""

import re
from pathlib import Path

from tests.promises.test_documents import table_rows
from trainer import catalogue
from trainer.evaluation.policy import GatePolicy

PAGE = (Path(__file__).parents[2] / "docs" / "suites.md").read_text()


def test_the_table_of_published_sets_is_the_catalogue():
    told = {cells[0].strip("`"): (cells[2], cells[3].strip("`")) for cells in table_rows(PAGE) if len(cells) == 4}

    assert told == {entry.name: (entry.licence, entry.grader["type"]) for entry in catalogue.entries().values()}


def test_the_budget_that_it_names_is_the_default():
    (named,) = re.findall(r"`look_budget` \((\d+) unless set", PAGE)

    assert int(named) == GatePolicy().look_budget
