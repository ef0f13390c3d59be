"""The reference pages are written out of the tables that the code obeys."""

import json

import pytest

from tasks.formats.codes import CODES
from tasks.graders import registry
from tasks.types import Row
from tasks.validation import validate
from tasks.views import examples
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text


@pytest.mark.parametrize("line", examples.ROWS.splitlines())
def test_every_sample_row_is_valid(line: str):
    assert isinstance(validate(json.loads(line), line=1), Row)


@pytest.mark.django_db
def test_every_code_has_its_entry(portal: Portal):
    page = text(browser(portal.stranger).get("/docs/errors"))

    assert [code for code in CODES if f'id="{code}"' not in page] == []


@pytest.mark.django_db
def test_every_graders_example_earns_full_score(portal: Portal):
    """A model is not asked for a page, and a machine without what a grader needs says so instead."""
    graders = browser(portal.stranger).get("/docs/graders").context["graders"]

    graded = {entry.type: entry.grade and (entry.grade.outcome, entry.grade.score) for entry in graders}
    assert {kind: grade for kind, grade in graded.items() if grade not in (("correct", 1.0), None)} == {}
    assert {kind for kind, grade in graded.items() if grade is None} <= _not_here()


def _not_here() -> set[str]:
    examples = {entry["type"]: entry["grader"] for entry in registry.describe()}
    return {kind for kind, grader in examples.items() if registry.asks_a_model(grader) or registry.unavailable(grader)}


@pytest.mark.django_db
def test_every_field_of_every_grader_is_shown_with_its_meaning(portal: Portal):
    graders = browser(portal.stranger).get("/docs/graders").context["graders"]

    silent = [f"{entry.type}.{field.name}" for entry in graders for field in entry.fields if not field.help]

    assert silent == []


@pytest.mark.django_db
def test_what_holds_for_all_graders_stands_before_them(portal: Portal):
    page = text(browser(portal.stranger).get("/docs/graders"))

    assert page.index("Fault decides the outcome.") < page.index('id="choice"')
