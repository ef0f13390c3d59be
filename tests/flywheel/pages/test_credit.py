"""What a dataset's rows did: on its own page, on a page of versions, and at home in one sentence."""

import json

import pytest

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text

pytestmark = pytest.mark.django_db


def address(portal: Portal) -> str:
    return f"/datasets/{portal.team.slug}/{portal.contributed.slug}"


def test_the_datasets_page_tells_what_it_did(portal: Portal):
    page = text(browser(portal.contributor).get(address(portal)))

    assert "of its tasks were in shared/v3; on its 138 held-out tasks the score went from" in page
    assert "is no proof that its rows were the cause" in page


def test_a_dataset_that_nothing_was_measured_of_says_when_it_will_be(portal: Portal):
    page = text(browser(portal.contributor).get(f"/datasets/{portal.team.slug}/{portal.private.slug}"))

    assert "the same rows are asked before and after" in page


def test_all_versions_stand_on_a_page_of_their_own(portal: Portal):
    page = browser(portal.contributor).get(f"{address(portal)}/credit")

    assert [row.suite for row in page.context["forest"].rows] == ["v3", "v2", "v1"]
    assert [entry.claim for entry, _ in page.context["shown"]] == ["better", "no difference shown", "better"]


def test_versions_are_filtered_by_what_can_be_said(portal: Portal):
    page = browser(portal.contributor).get(f"{address(portal)}/credit?claim=no+difference+shown")

    assert [entry.report.evaluation.candidate.number for entry, _ in page.context["shown"]] == [2]


def test_the_versions_can_be_had_as_a_file(portal: Portal):
    rows = json.loads(text(browser(portal.contributor).get(f"{address(portal)}/credit?format=json")))

    assert [(row["version"], row["verdict"], row["items"]) for row in rows][-1] == ("shared/v1", "PROMOTE", 138)


def test_another_teams_dataset_tells_nothing(portal: Portal):
    assert browser(portal.stranger).get(f"{address(portal)}/credit").status_code == 404


def test_at_home_a_contributor_reads_what_their_tasks_did(portal: Portal):
    page = text(browser(portal.contributor).get("/"))

    assert "of your tasks were in shared/v1; on your 138 held-out tasks the score went from" in page


def test_at_home_who_contributed_nothing_reads_nothing_of_it(portal: Portal):
    assert "What your tasks did" not in text(browser(portal.stranger).get("/"))
