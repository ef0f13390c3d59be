"""/datasets: counts, the grader tried out, versions."""

import json

import pytest

from tasks.models import Dataset, Task
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text

pytestmark = pytest.mark.django_db


def address(dataset: Dataset, verb: str = "") -> str:
    return f"/datasets/{dataset.team.slug}/{dataset.slug}{verb}"


def test_the_page_counts_tasks_by_state(portal: Portal):
    page = text(browser(portal.contributor).get(address(portal.contributed)))

    approved = Task.objects.filter(memberships__dataset=portal.contributed, state="approved").distinct().count()
    assert f"{approved} of " in page


def test_a_state_in_the_address_filters_the_rows(portal: Portal):
    reply = browser(portal.contributor).get(f"{address(portal.contributed)}?state=conflict")

    assert {member.task.state for member in reply.context["page"].rows} == {"conflict"}


def test_a_reply_can_be_graded_without_storing_anything(portal: Portal):
    query = {"grader": '{"type": "number"}', "item": '{"reference": 42}', "completion": "It is 42."}

    grade = browser(portal.contributor).get(address(portal.private), query).context["grade"]

    assert (grade.outcome, grade.score) == ("correct", 1.0)


def test_rows_that_waited_are_told_when_the_grader_is_set(portal: Portal):
    client = browser(portal.contributor)

    reply = client.post(address(portal.private, "/grader"), {"grader": '{"type": "number"}'}, follow=True)

    assert "5 rows that waited for one are being checked now." in text(reply)


def test_freezing_twice_says_that_nothing_changed(portal: Portal):
    client = browser(portal.contributor)
    client.post(address(portal.private, "/freeze"))

    reply = client.post(address(portal.private, "/freeze"), follow=True)

    assert "Nothing has changed since version 1" in text(reply)


def test_the_rows_can_be_had_as_json(portal: Portal):
    rows = json.loads(
        text(browser(portal.contributor).get(f"{address(portal.private)}?format=json&state=needs_grader"))
    )

    assert {row["state"] for row in rows} == {"needs_grader"}


@pytest.mark.parametrize("path", ["", "/train"])
def test_a_stranger_gets_404(portal: Portal, path: str):
    assert browser(portal.stranger).get(address(portal.private, path)).status_code == 404
