"""docs/openai-graders.md against the code: fields, flags, and an example that earns what the page says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from flywheel.openai_compat.grader_replies import FLAGS
from flywheel.openai_compat.grader_shapes import FOREIGN, ours
from flywheel.samples.extraction import rows
from tasks.graders import registry
from tests.promises.test_documents import blocks, named, sections, table_rows

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openai-graders.md"
PARTS = sections(DOCUMENT.read_text(), 2)
FIELDS = {row[0].strip("`"): named(row[1]) for row in table_rows(PARTS["What is accepted"])}
OWN = {"python": {"seconds"}, "multi": {"score_units"}}  # of ours, which the page names beside the table
GRADER, ROW = (json.loads(block) for block in blocks(DOCUMENT, "json"))
SAMPLES = [(row[0].strip("`"), float(row[1])) for row in table_rows(PARTS["Example: fields out of prose"])]


def test_every_type_of_openais_is_on_the_page():
    assert set(FIELDS) == FOREIGN


@pytest.mark.parametrize("kind", sorted(FOREIGN))
def test_the_fields_of_a_type_are_those_it_accepts(kind: str):
    accepted = set(registry.modules()[kind].Config.__struct_fields__)

    assert FIELDS[kind] == accepted - {"name", "pass_threshold"} - OWN.get(kind, set())
    assert OWN.get(kind, set()) <= accepted & named(PARTS["What is accepted"])


def test_every_type_of_ours_is_on_the_page():
    assert set(registry.types()) - FOREIGN <= named(PARTS["What is accepted"])


def test_every_flag_is_explained_and_no_other():
    told = {row[0].strip("`") for row in table_rows(PARTS["What a run answers"])}

    assert told == set(FLAGS)


def test_the_example_is_the_one_in_the_files():
    assert rows.grader() == GRADER
    assert re.search(re.escape(rows.ASKED), ROW["messages"][0]["content"])


@pytest.mark.parametrize(("sample", "reward"), SAMPLES)
def test_a_sample_of_the_page_earns_what_it_says(sample: str, reward: float):
    item: dict[str, Any] = {name: value for name, value in ROW.items() if name != "messages"}

    assert round(registry.grade(ours(GRADER), sample, item).score, 4) == reward
