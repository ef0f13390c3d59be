"""/ops/usage: what engines have spent, and the month that a team may spend."""

import pytest
from django.utils import timezone

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.models import Usage, UsageBudget

pytestmark = pytest.mark.django_db


@pytest.fixture
def spent(portal: Portal) -> Usage:
    return Usage.objects.create(
        team=portal.team, kind="run", work=1, attempt=1, began_at=timezone.now(), seconds=5400, steps=30, tokens=41_000
    )


def test_a_team_sees_its_own_hours_steps_and_tokens(portal: Portal, spent: Usage):
    page = text(browser(portal.contributor).get("/ops/usage"))

    assert all(figure in page for figure in ("1 h 30 min", "41,000", portal.team.slug))


def test_a_stranger_sees_nothing_of_it(portal: Portal, spent: Usage):
    page = text(browser(portal.stranger).get("/ops/usage"))

    assert (portal.team.slug in page, "41,000" in page) == (False, False)


def test_the_figures_can_be_had_as_csv(portal: Portal, spent: Usage):
    head, row = text(browser(portal.operator).get("/ops/usage?format=csv")).splitlines()

    assert head == "month,team,kind,works,attempts,seconds,slot_seconds,steps,tokens"
    assert row.endswith(f"{portal.team.slug},run,1,1,5400.0,5400.0,30,41000")


def test_an_operator_gives_a_team_its_month(portal: Portal, spent: Usage):
    browser(portal.operator).post("/ops/usage/budget", {"team": portal.team.slug, "minutes_per_month": "60"})

    assert UsageBudget.objects.get(team=portal.team).minutes_per_month == 60
    assert "spent" in text(browser(portal.contributor).get("/ops/usage"))


def test_an_empty_budget_is_no_limit(portal: Portal):
    client = browser(portal.operator)
    client.post("/ops/usage/budget", {"team": portal.team.slug, "minutes_per_month": "60"})

    client.post("/ops/usage/budget", {"team": portal.team.slug, "minutes_per_month": ""})

    assert not UsageBudget.objects.exists()


def test_a_team_does_not_give_itself_more(portal: Portal):
    browser(portal.contributor).post("/ops/usage/budget", {"team": portal.team.slug, "minutes_per_month": "60"})

    assert not UsageBudget.objects.exists()
