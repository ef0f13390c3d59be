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
    graders = browser(portal.stranger).get("/docs/graders").context["graders"]

    assert {grader["type"]: grader["grade"]["score"] for grader in graders} == dict.fromkeys(registry.types(), 1.0)
