"""/ops/schedules: when the next turn begins, why the last one did or did not, and what would be before it is saved."""

import csv
import io
import json
from datetime import UTC, datetime, time
from typing import Any

import pytest

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.models import Firing, Schedule, TrainingRun

pytestmark = pytest.mark.django_db
FORM = {"cron": "30 4 * * *", "timezone": "UTC", "min_new_tasks": "10", "min_hours": "0"}
QUIET = {"quiet_from": "22:00", "quiet_to": "06:00"}


@pytest.fixture
def schedule(portal: Portal) -> Schedule:
    return Schedule.objects.get(cron="0 3 * * 1-5")


@pytest.fixture
def form(portal: Portal) -> dict[str, Any]:
    return {**FORM, "recipe": portal.recipe.pk}


def page_of(portal: Portal, schedule: Schedule, query: str = "") -> Any:
    return browser(portal.operator).get(f"/ops/schedules/{schedule.pk}{query}")


# The list


def test_every_schedule_says_when_it_fires_next_and_what_it_waits_for(portal: Portal, schedule: Schedule):
    page = text(browser(portal.operator).get("/ops/schedules"))

    assert "Next fire time in " in page
    assert "Last time it was skipped: 37 newly approved tasks; at least 100 are asked for." in page


def test_the_list_is_filtered_and_counted_by_state(portal: Portal, schedule: Schedule):
    Schedule.objects.filter(pk=schedule.pk).update(enabled=False)

    page = browser(portal.operator).get("/ops/schedules?state=paused")

    assert [entry["schedule"].cron for entry in page.context["schedules"]] == ["0 3 * * 0", schedule.cron]
    assert dict(page.context["states"]) == {"on": 1, "paused": 2}
    assert "No run begins by itself until it goes on." in text(page)


def test_the_list_leaves_as_a_file(portal: Portal, schedule: Schedule):
    Schedule.objects.filter(pk=schedule.pk).update(quiet_from=time(22), quiet_to=time(6))

    told = json.loads(text(browser(portal.operator).get("/ops/schedules?format=json&line=shared")))

    assert {"cron": "0 3 * * 1-5", "quiet": "22:00 to 06:00, every day", "enabled": True}.items() <= told[-1].items()


def test_the_list_of_a_newcomer_teaches_by_presets_where_they_may_make_one(portal: Portal):
    Schedule.objects.all().delete()

    page = text(browser(portal.operator).get("/ops/schedules"))

    assert "/ops/schedules/new?preset=soon" in page


# A new one


def test_an_operator_makes_a_schedule(portal: Portal, form: dict[str, Any]):
    page = browser(portal.operator).post("/ops/schedules/new", {**form, **QUIET, "quiet_days": ["5", "6"]}, follow=True)

    made = Schedule.objects.get(cron="30 4 * * *")
    assert (made.quiet_from, made.quiet_to, made.quiet_days) == (time(22), time(6), [5, 6])
    assert "The schedule is made, and it is on." in text(page)


def test_a_preset_fills_the_form_without_a_script(portal: Portal):
    page = browser(portal.operator).get("/ops/schedules/new?preset=soon")

    form = page.context["form"]
    assert (form["cron"].value(), form["min_new_tasks"].value()) == ("*/15 * * * *", 500)


def test_a_preview_shows_five_fire_times_with_quiet_hours_and_saves_nothing(portal: Portal, form: dict[str, Any]):
    before = Schedule.objects.count()

    page = browser(portal.operator).post("/ops/schedules/new", {**form, **QUIET, "do": "preview"})

    told = text(page)
    assert len(page.context["preview"]["coming"]) == 5
    assert "04:30 → 06:00, quiet until then" in told
    assert "Every fire time lies in the quiet hours, so each turn is put off to their end at 06:00." in told
    assert 'value="30 4 * * *"' in told
    assert Schedule.objects.count() == before


@pytest.mark.parametrize("do", ["preview", "save"])
@pytest.mark.parametrize(
    ("given", "field", "sentence"),
    [
        ({"cron": "61 * * * *"}, "cron", "is no cron time (Bad minute): try 0 3 * * 1-5."),
        ({"timezone": "Mars/Base"}, "timezone", "is no time zone: try Europe/Berlin."),
        ({"quiet_from": "22:00"}, "quiet_to", "Quiet hours need a beginning and an end: give both, or neither."),
        ({"min_hours": "-1"}, "min_hours", "greater than or equal to 0"),
        ({"min_new_tasks": ""}, "min_new_tasks", "This field is required."),
    ],
)
def test_what_cannot_be_is_said_beside_its_field_and_keeps_what_was_typed(
    portal: Portal, form: dict[str, Any], given: dict[str, str], field: str, sentence: str, do: str
):
    page = browser(portal.operator).post("/ops/schedules/new", {**form, "cron": "45 4 * * *", **given, "do": do})

    assert sentence in " ".join(page.context["form"].errors[field])
    assert "Nothing was saved: 1 field below needs a look." in text(page)
    assert not Schedule.objects.filter(cron="45 4 * * *").exists()


def test_somebody_who_trains_nothing_is_offered_nothing_and_makes_nothing(portal: Portal, form: dict[str, Any]):
    other = browser(portal.contributor)

    offered = other.get("/ops/schedules/new").context["form"].fields["recipe"].queryset
    refused = other.post("/ops/schedules/new", form, follow=True)

    assert portal.recipe not in offered
    assert "You may not train and ship models of" in text(refused)
    assert not Schedule.objects.filter(cron="30 4 * * *").exists()


# One of them


def test_the_next_five_fire_times_are_shown_in_its_time_zone(portal: Portal, schedule: Schedule):
    page = page_of(portal, schedule)

    assert len(page.context["coming"]) == 5
    assert "03:00" in text(page)


def test_quiet_hours_are_shown_where_they_defer(portal: Portal, schedule: Schedule):
    Schedule.objects.filter(pk=schedule.pk).update(quiet_from=time(22), quiet_to=time(6))

    page = text(page_of(portal, schedule))

    assert page.count("03:00 → 06:00, quiet until then") == 6  # the countdown, and each of the five
    assert "Every fire time lies in the quiet hours" in page


def test_its_history_is_filtered_by_outcome_with_counts(portal: Portal, schedule: Schedule):
    page = page_of(portal, schedule, "?outcome=ran")

    assert [firing.outcome for firing in page.context["page"].rows] == ["ran"]
    assert "Of 2 fire times 1 started a run" in text(page)
    assert dict(page.context["counts"]) == {"ran": 1, "skipped": 1, "deferred": 0}


def test_its_history_leaves_as_a_file(portal: Portal, schedule: Schedule):
    rows = list(csv.DictReader(io.StringIO(text(page_of(portal, schedule, "?format=csv&outcome=skipped")))))

    assert [row["reason"] for row in rows] == ["37 newly approved tasks; at least 100 are asked for."]


def test_a_change_is_previewed_and_then_saved(portal: Portal, schedule: Schedule, form: dict[str, Any]):
    address = f"/ops/schedules/{schedule.pk}"

    shown = browser(portal.operator).post(address, {**form, "do": "preview"})
    unchanged = Schedule.objects.get(pk=schedule.pk).cron
    browser(portal.operator).post(address, form)

    assert (len(shown.context["preview"]["coming"]), unchanged) == (5, "0 3 * * 1-5")
    assert Schedule.objects.get(pk=schedule.pk).cron == "30 4 * * *"


def test_a_change_leaves_a_paused_schedule_paused(portal: Portal, schedule: Schedule, form: dict[str, Any]):
    Schedule.objects.filter(pk=schedule.pk).update(enabled=False)

    browser(portal.operator).post(f"/ops/schedules/{schedule.pk}", form)

    assert Schedule.objects.get(pk=schedule.pk).enabled is False


def test_somebody_who_trains_nothing_changes_nothing(portal: Portal, schedule: Schedule, form: dict[str, Any]):
    other = browser(portal.contributor)

    other.post(f"/ops/schedules/{schedule.pk}", form)
    other.post(f"/ops/schedules/{schedule.pk}/switch", {"to": "paused"})

    schedule.refresh_from_db()
    assert (schedule.cron, schedule.enabled) == ("0 3 * * 1-5", True)


def test_pausing_twice_is_pausing_once(portal: Portal, schedule: Schedule):
    operator = browser(portal.operator)

    for _ in range(2):
        operator.post(f"/ops/schedules/{schedule.pk}/switch", {"to": "paused"})
    paused = Schedule.objects.get(pk=schedule.pk).enabled
    told = text(operator.post(f"/ops/schedules/{schedule.pk}/switch", {"to": "on"}, follow=True))

    assert (paused, Schedule.objects.get(pk=schedule.pk).enabled) == (False, True)
    assert "fire times that passed meanwhile are not made up for" in told


def test_the_part_that_polls_counts_down_and_says_why(portal: Portal, schedule: Schedule):
    part = text(browser(portal.operator).get(f"/ops/schedules/{schedule.pk}/status"))

    assert "Next fire time in " in part
    assert "Last time it was skipped" in part


def test_running_now_while_a_run_goes_on_is_refused_in_a_sentence(portal: Portal, schedule: Schedule):
    back = {"Referer": "http://testserver/ops/schedules"}

    page = browser(portal.operator).post(f"/ops/schedules/{schedule.pk}/fire", headers=back, follow=True)

    assert "wait for it, pause or cancel it" in text(page)


def test_running_now_opens_the_run(portal: Portal, schedule: Schedule):
    TrainingRun.objects.filter(pk=portal.going.pk).update(state="cancelled")

    page = browser(portal.operator).post(f"/ops/schedules/{schedule.pk}/fire")

    assert page["Location"] == f"/ops/runs/{schedule.firings.get(reason__contains='asked for it').run_id}"


def test_a_schedule_of_another_team_is_not_there(portal: Portal, schedule: Schedule):
    Schedule.objects.filter(pk=schedule.pk).update(line=portal.line.__class__.objects.get(purpose="expert"))

    assert browser(portal.stranger).get(f"/ops/schedules/{schedule.pk}").status_code == 404


def test_a_deferred_fire_time_says_until_when(portal: Portal, schedule: Schedule):
    due = datetime(2030, 1, 1, 3, tzinfo=UTC)
    schedule.firings.filter(outcome="deferred").delete()
    Firing.objects.create(
        schedule=schedule, due_at=due, deferred_to=due.replace(hour=5), outcome="deferred", reason="Quiet hours."
    )

    page = text(page_of(portal, schedule))

    assert "04:00 → 06:00, quiet until then" in page
    assert "Deferred: Quiet hours." in page
