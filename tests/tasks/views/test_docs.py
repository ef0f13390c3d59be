"""The reference pages are written out of the tables that the code obeys."""

import json
import re
from html import unescape
from pathlib import Path

import pytest
from django.conf import settings

from tasks.formats.codes import CODES
from tasks.graders import registry
from tasks.types import Row
from tasks.validation import validate
from tasks.views import catalogue, examples
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text


@pytest.mark.parametrize("line", examples.ROWS.splitlines())
def test_every_sample_row_is_valid(line: str):
    assert isinstance(validate(json.loads(line), line=1), Row)


@pytest.mark.django_db
def test_the_page_of_formats_is_the_document_from_its_first_line_to_its_last(portal: Portal):
    document = (Path(settings.BASE_DIR) / "docs" / "formats.md").read_text().partition("\n")[2]

    page = browser(portal.stranger).get("/docs/formats").content.decode()

    assert letters(unescape(shown(page))) == letters(plain(document))


def shown(page: str) -> str:
    """What of the page is made of the document."""
    panels = re.findall(r'<section class="panel prose".*?</section>', page, re.DOTALL)
    return re.sub(r"<[^>]+>", " ", " ".join(panels))


def plain(markdown: str) -> str:
    """The text without its signs."""
    text = re.sub(r"^```.*$|^\|[-|]+\|$|^#+ |^(?:-|\d+\.) ", " ", markdown, flags=re.MULTILINE)
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)


def letters(text: str) -> str:
    """Without blanks, and without what is a sign of Markdown in one place and stands for itself in another."""
    return re.sub(r"[\s|*`#\\]+", "", text)


@pytest.mark.django_db
def test_every_place_of_the_page_to_which_it_links_is_there(portal: Portal):
    page = browser(portal.stranger).get("/docs/formats").content.decode()

    wanted = set(re.findall(r'href="#([\w-]+)"', page))

    assert {"the-mapping", "limits"} <= wanted <= set(re.findall(r'id="([\w-]+)"', page))


@pytest.mark.django_db
def test_every_code_has_its_entry(portal: Portal):
    page = text(browser(portal.stranger).get("/docs/errors"))

    assert [code for code in CODES if f'id="{code}"' not in page] == []


@pytest.mark.django_db
def test_an_example_earns_full_score_or_says_why_it_was_not_graded(portal: Portal):
    entries = browser(portal.stranger).get("/docs/graders").context["graders"]

    grades = {entry.type: (entry.grade.outcome, entry.grade.score) for entry in entries if entry.grade}
    assert {kind: grade for kind, grade in grades.items() if grade != ("correct", 1.0)} == {}
    assert [entry.type for entry in entries if not entry.grade and not entry.not_graded] == []
    assert {"choice", "number", "json_match"} <= set(grades)


@pytest.mark.django_db
def test_no_model_is_asked_for_a_page(portal: Portal):
    entries = browser(portal.stranger).get("/docs/graders").context["graders"]

    graded = {entry.type for entry in entries if entry.grade}
    assert graded & {entry.type for entry in entries if registry.asks_a_model(entry.grader)} == set()


@pytest.mark.django_db
def test_a_page_is_not_held_up_by_its_examples(portal: Portal, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(catalogue, "PATIENCE_SECONDS", -1.0)
    monkeypatch.setattr(catalogue, "_graded", {})

    page = text(browser(portal.stranger).get("/docs/graders"))

    assert "Open the page again." in page


@pytest.mark.django_db
def test_every_field_of_every_grader_is_shown_with_its_meaning(portal: Portal):
    graders = browser(portal.stranger).get("/docs/graders").context["graders"]

    silent = [f"{entry.type}.{field.name}" for entry in graders for field in entry.fields if not field.help]

    assert silent == []


@pytest.mark.django_db
def test_what_holds_for_all_graders_stands_before_them(portal: Portal):
    page = text(browser(portal.stranger).get("/docs/graders"))

    assert page.index("Fault decides the outcome.") < page.index('id="choice"')
