"""/review: the riskiest first, nobody waits between items, a count before many are decided."""

import pytest

from tasks.models import Review, Task
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text

pytestmark = pytest.mark.django_db


def newest(state: str) -> Task:
    return Task.objects.filter(space__is_system=True, state=state).latest("pk")


def test_the_queue_opens_with_conflicts(portal: Portal):
    reply = browser(portal.reviewer).get("/review")

    assert {task.state for task, _, _ in reply.context["rows"]} == {"conflict"}


def test_both_sides_of_a_conflict_are_shown(portal: Portal):
    page = browser(portal.reviewer).get(f"/review/{newest('conflict').pk}")

    assert {page.context["answer"], page.context["rivals"][0][1]} == {"42", "43"}


def test_approving_leads_to_the_next_task_under_the_filter(portal: Portal):
    task = newest("proved")
    following = Task.objects.filter(space__is_system=True, state="proved", pk__lt=task.pk).latest("pk")

    reply = browser(portal.reviewer).post(f"/review/{task.pk}/approve", {"filter": "state=proved"})

    assert reply["Location"] == f"/review/{following.pk}?state=proved"


def test_rejecting_without_a_reason_decides_nothing(portal: Portal):
    task = newest("proved")

    browser(portal.reviewer).post(f"/review/{task.pk}/reject", {})

    assert Task.objects.get(pk=task.pk).state == "proved"


def test_a_bulk_decision_is_counted_before_it_is_made(portal: Portal):
    form = {"decision": "approved", "filter": "state=proved"}

    page = text(browser(portal.reviewer).post("/review/bulk", form))

    waiting = Task.objects.filter(space__is_system=True, state="proved").count()
    assert f"This would approve {waiting} tasks" in page


def test_a_confirmed_bulk_decision_is_one_entry_that_can_be_undone(portal: Portal):
    client = browser(portal.reviewer)
    client.post("/review/bulk", {"decision": "approved", "filter": "state=proved", "confirm": "1"})
    batch = Review.objects.filter(reviewer=portal.reviewer).latest("pk").batch

    client.post(f"/review/undo/{batch}")

    assert not Review.objects.filter(batch=batch, undone_at=None).exists()


def test_the_newest_decisions_show_a_batch_once(portal: Portal):
    decisions = browser(portal.reviewer).get("/review").context["decisions"]

    assert [bool(entry["review"].batch) for entry in decisions] == [True, False, False, False]


def test_a_contributor_does_not_decide_in_the_pool(portal: Portal):
    task = newest("conflict")
    assert task.memberships.filter(dataset=portal.contributed).exists()

    browser(portal.contributor).post(f"/review/{task.pk}/approve")

    assert Task.objects.get(pk=task.pk).state == "conflict"


def test_a_stranger_gets_404(portal: Portal):
    assert browser(portal.stranger).get(f"/review/{newest('proved').pk}").status_code == 404


def test_the_log_shows_only_the_readers_teams(portal: Portal):
    events = browser(portal.stranger).get("/review/log").context["page"].rows

    assert {event.team.name for event in events} == {"Elsewhere"}
