"""/ops/models/<line>/v<n>/lineage: the tree, and the same as JSON."""

import json

import pytest

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text

pytestmark = pytest.mark.django_db
PAGE = "/ops/models/shared/v3/lineage"


def test_the_page_goes_from_the_version_to_the_base_with_teams_and_graders(portal: Portal):
    page = text(browser(portal.contributor).get(PAGE))

    told = ("shared/v3", "shared/v0", "Carla&#x27;s lab", "Puzzle club", "number (", "1 withdrawn since")
    assert [words for words in told if words not in page] == []


def test_other_teams_datasets_have_no_name_there(portal: Portal):
    mine, theirs = (text(browser(who).get(PAGE)) for who in (portal.contributor, portal.stranger))

    assert (portal.contributed.slug in mine, "word-puzzles" in mine) == (True, False)
    assert (portal.contributed.slug in theirs, "A dataset of Puzzle club" in theirs) == (False, True)


def test_the_lineage_leaves_as_json(portal: Portal):
    steps = json.loads(text(browser(portal.contributor).get(f"{PAGE}?format=json")))

    assert [step["name"] for step in steps] == ["shared/v3", "shared/v1", "shared/v0"]
    assert sum(credit["rows"] for credit in steps[0]["training"]["credits"]) == steps[0]["training"]["rows"]


def test_the_versions_page_says_where_it_comes_from(portal: Portal):
    page = text(browser(portal.contributor).get("/ops/models/shared/v3"))

    assert [words for words in ("Where it comes from", "of 2 teams", "The whole lineage") if words not in page] == []
