"""/ops/schedules: five fire times, and why the last one ran or did not."""

import pytest

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.models import Schedule

pytestmark = pytest.mark.django_db
FORM = {"cron": "30 4 * * *", "timezone": "UTC", "min_new_tasks": "10", "min_hours": "0"}


def test_the_next_five_fire_times_are_shown_in_its_time_zone(portal: Portal):
    page = browser(portal.operator).get("/ops/schedules")

    assert len(page.context["schedules"][0]["times"]) == 5
    assert "03:00" in text(page)


def test_the_last_decision_says_why(portal: Portal):
    page = text(browser(portal.operator).get("/ops/schedules"))

    assert "Last time it was skipped: 37 newly approved tasks; at least 100 are asked for." in page


def test_an_operator_makes_a_schedule(portal: Portal):
    browser(portal.operator).post("/ops/schedules/new", {**FORM, "recipe": portal.recipe.pk})

    assert Schedule.objects.filter(cron="30 4 * * *").exists()


def test_a_cron_time_that_never_comes_is_refused(portal: Portal):
    browser(portal.operator).post("/ops/schedules/new", {**FORM, "recipe": portal.recipe.pk, "cron": "61 * * * *"})

    assert not Schedule.objects.filter(cron="61 * * * *").exists()


def test_unticking_switches_it_off(portal: Portal):
    schedule = Schedule.objects.get()

    browser(portal.operator).post(f"/ops/schedules/{schedule.pk}/change", {**FORM, "recipe": portal.recipe.pk})

    schedule.refresh_from_db()
    assert schedule.enabled is False


def test_running_now_while_a_run_goes_on_is_refused_in_a_sentence(portal: Portal):
    schedule = Schedule.objects.get()
    back = {"Referer": "http://testserver/ops/schedules"}

    page = browser(portal.operator).post(f"/ops/schedules/{schedule.pk}/fire", headers=back, follow=True)

    assert "wait for it, pause or cancel it" in text(page)
