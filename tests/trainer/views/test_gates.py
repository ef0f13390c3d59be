"""/ops/gates: verdict and why first; sealed items only for those who may see them."""

import json

import pytest

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text

pytestmark = pytest.mark.django_db


def test_the_verdict_says_why_and_what_next(portal: Portal):
    page = text(browser(portal.operator).get(f"/ops/gates/{portal.held.pk}"))

    assert portal.held.sentence in page
    assert "change the mixture" in page


def test_flips_are_shown_to_the_pools_operators(portal: Portal):
    assert "Compute 20 + 47." in text(browser(portal.operator).get(f"/ops/gates/{portal.held.pk}"))


def test_a_contributor_sees_the_counts_of_flips_but_no_sealed_item(portal: Portal):
    page = text(browser(portal.contributor).get(f"/ops/gates/{portal.held.pk}"))

    assert ("Both right" in page, "Compute 20 + 47." in page) == (True, False)


def test_the_json_of_a_contributor_holds_no_flips(portal: Portal):
    body = json.loads(text(browser(portal.contributor).get(f"/ops/gates/{portal.held.pk}?format=json")))

    assert (body["verdict"], body["flips"]) == ("HOLD", [])


def test_every_suite_has_its_row_in_the_plot(portal: Portal):
    forest = browser(portal.operator).get(f"/ops/gates/{portal.promoted.pk}").context["forest"]

    assert [row.suite for row in forest.rows] == ["overall", "arithmetic", "maximum", "reverse"]


def test_a_verdict_in_the_address_filters_the_list(portal: Portal):
    reports = browser(portal.operator).get("/ops/gates?verdict=HOLD").context["page"].rows

    assert {report.verdict for report in reports} == {"HOLD"}


def test_what_the_answers_cost_is_shown(portal: Portal):
    page = text(browser(portal.operator).get(f"/ops/gates/{portal.promoted.pk}"))

    assert "tokens an answer: 1.05 times the champion" in page


def test_the_report_is_there_as_markdown_for_a_pull_request(portal: Portal):
    reply = browser(portal.contributor).get(f"/ops/gates/{portal.held.pk}?format=markdown")

    assert reply["Content-Type"].startswith("text/markdown")
    assert text(reply).startswith(f"# HOLD\n\n{portal.held.sentence}")
