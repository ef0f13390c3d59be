"""/wanted: anybody reads where tasks are wanted; nobody learns whose rows there are, or what is sealed."""

import json

import pytest
from django.test import Client

from tasks.models import Dataset, Task, Team
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.models import Line
from trainer.services import coverage

pytestmark = pytest.mark.django_db


def test_the_list_is_read_without_an_account(portal: Portal):
    page = Client().get("/wanted")

    assert page.status_code == 200
    assert "arithmetic" in text(page)


def test_a_stranger_sees_no_prompt_no_team_and_no_dataset(portal: Portal):
    pages = [text(Client().get(f"/wanted{query}")) for query in ("", "?format=json", "?format=csv")]

    names = [*Team.objects.values_list("name", flat=True), *Dataset.objects.values_list("name", flat=True)]
    hidden = [*names, *(task.prompt for task in Task.objects.all())]
    assert [one for one in hidden if any(one in page for page in pages)] == []


def test_every_domain_stands_in_the_order_of_the_rule(portal: Portal):
    page = Client().get("/wanted")

    rows = [row for _, row in page.context["rows"]]
    assert {row.have.domain for row in rows} == {"arithmetic", "maximum", "reverse"}
    assert rows == list(coverage.listed(portal.line).rows)
    assert page.context["finding"] in text(page)


def test_a_domain_tells_the_champions_rate_as_the_gate_reports_it(portal: Portal):
    page = Client().get("/wanted?format=json")

    rows = {row["domain"]: row for row in json.loads(text(page))}
    newest = portal.line.reports.exclude(verdict="INVALID").first().decision["rows"]
    told = next(row for row in newest if row["suite"] == "arithmetic")
    champion = portal.line.alias("champion").pk
    side = "candidate" if portal.line.reports.first().evaluation.candidate_id == champion else "champion"
    assert rows["arithmetic"]["rate"] == told[side]["mean"]


def test_a_filter_leaves_the_places_as_they_are(portal: Portal):
    client = Client()
    every = dict(client.get("/wanted").context["rows"])

    thin = client.get("/wanted?reason=thin+for+training").context["rows"]

    assert thin
    assert all(every[place] == row for place, row in thin)
    assert client.get("/wanted?reason=nearly+solved").context["rows"] == []


def test_a_wanted_domain_leads_to_the_upload_form_filled_in(portal: Portal):
    assert "/submit?domain=maximum" in text(Client().get("/wanted"))

    form = browser(portal.contributor).get("/submit?domain=maximum").context["form"]

    assert (form["domain"].value(), form["visibility"].value()) == ("maximum", "contributed")


def test_the_home_page_shows_the_three_most_wanted(portal: Portal):
    page = browser(portal.contributor).get("/")

    first = [row.have.domain for row in coverage.listed(portal.line).wanted[:3]]
    assert [row.have.domain for row in page.context["wanted"]] == first
    assert "Most wanted" in text(page)


def test_a_private_line_has_no_list(portal: Portal):
    expert = Line.objects.get(purpose="expert")

    assert browser(portal.contributor).get(f"/wanted?line={expert.slug}").status_code == 404


def test_before_there_is_a_shared_line_the_page_says_so(portal: Portal):
    Line.objects.update(purpose="expert")

    page = text(Client().get("/wanted"))

    assert "There is no shared model yet" in page


def test_a_visitor_is_offered_to_sign_in_and_no_page_that_they_may_not_open(portal: Portal):
    page = text(Client().get("/wanted"))

    assert 'href="/login"' in page
    assert 'href="/ops"' not in page
