"""/: what a newcomer and an old hand see."""

import pytest

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text

pytestmark = pytest.mark.django_db


def test_a_newcomer_is_shown_three_steps_and_a_sample(portal: Portal):
    page = text(browser(portal.stranger).get("/"))

    assert "Three steps to a first turn" in page
    assert "What is 17 + 25?" in page


def test_somebody_with_uploads_is_not(portal: Portal):
    assert "Three steps" not in text(browser(portal.contributor).get("/"))


def test_the_newest_promotion_is_told_with_its_reason(portal: Portal):
    page = browser(portal.stranger).get("/")

    assert page.context["promotion"].report_id == portal.promoted.pk


def test_the_local_bases_headroom_is_said_to_be_by_construction(portal: Portal):
    assert "its headroom is by construction" in text(browser(portal.stranger).get("/"))


def test_nobody_reads_without_signing_in(portal: Portal, client):
    assert client.get("/")["Location"] == "/login?next=/"
