"""Pages by id, exports that no spreadsheet runs."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from tasks.models import Team
from tasks.views import listing
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text

ROWS = [{"name": "=HYPERLINK(1)", "count": -3, "tags": ["a"]}]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_text_that_a_spreadsheet_would_run_gets_an_apostrophe(start: str):
    assert listing.harmless(f"{start}1+1") == f"'{start}1+1"


def test_a_number_stays_a_number():
    assert listing.harmless(-3) == -3


def test_a_csv_names_its_columns_and_is_an_attachment():
    reply = listing.exported(RequestFactory().get("/?format=csv"), ROWS, name="things")

    assert (text(reply).splitlines()[0], reply["Content-Disposition"]) == (
        "name,count,tags",
        'attachment; filename="things.csv"',
    )


def test_json_holds_the_rows_as_they_are():
    reply = listing.exported(RequestFactory().get("/?format=json"), ROWS, name="things")

    assert json.loads(text(reply)) == ROWS


def test_no_format_is_no_export():
    assert listing.exported(RequestFactory().get("/"), ROWS, name="things") is None


@pytest.mark.parametrize("given", [None, "", "x", "-1", "9" * 30, "1.5"])
def test_a_mistyped_number_filters_nothing(given: Any):
    assert listing.whole(given) is None


@pytest.mark.django_db
def test_the_second_page_goes_on_where_the_first_ended():
    for n in range(5):
        Team.objects.create(slug=f"team-{n}", name=f"Team {n}")
    rows = Team.objects.filter(is_system=False).order_by("-pk")

    first = listing.page_of(RequestFactory().get("/"), rows, size=3)
    second = listing.page_of(RequestFactory().get(f"/?before={first.before}"), rows, size=3)

    assert [t.name for t in (*first.rows, *second.rows)] == [f"Team {n}" for n in (4, 3, 2, 1, 0)]


@pytest.mark.django_db
def test_the_last_page_has_no_next():
    Team.objects.create(slug="one", name="One")

    assert listing.page_of(RequestFactory().get("/"), Team.objects.order_by("-pk"), size=50).before is None


@pytest.mark.parametrize("page", ["/review", "/datasets", "/submit", "/ops/queue", "/ops/recipes", "/ops/gates"])
@pytest.mark.django_db
def test_a_page_asks_for_no_more_rows_than_it_shows(page: str, portal: Portal):
    with CaptureQueriesContext(connection) as asked:
        assert browser(portal.operator).get(page, follow=True).status_code == 200

    assert [query["sql"] for query in asked if "LIMIT 10000" in query["sql"]] == []
