"""/review: the riskiest first, nobody waits between items, a count before many are decided."""

import pytest

from tasks.models import Review, Task
from tasks.services import suspecting
from tasks.services.suspecting import Tried
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


def suspect() -> Task:
    """An approved task of the pool that a model answered eight times and never solved."""
    task = newest("approved")
    tried = Tried(task.pk, task.content_digest, answers=8, passes=0, wrong="<b>41</b>", wrong_count=7)
    suspecting.settle(task.space_id, model="shared/v1", never_solved=[tried], solved=[])
    return task


def test_a_suspected_task_is_a_queue_of_its_own(portal: Portal):
    task = suspect()

    page = browser(portal.reviewer).get("/review?state=approved")

    assert [row for row, _, _ in page.context["rows"]] == [task]
    assert ("approved", 1) in page.context["states"]


def test_a_suspected_task_shows_what_the_model_said_instead(portal: Portal):
    task = suspect()

    page = text(browser(portal.reviewer).get(f"/review/{task.pk}?state=approved"))

    assert "&lt;b&gt;41&lt;/b&gt;" in page
    assert "7 of 8 times" in page


def test_upholding_a_reference_takes_the_task_out_of_the_queue(portal: Portal):
    task = suspect()

    browser(portal.reviewer).post(f"/review/{task.pk}/uphold", {"filter": "state=approved"})

    assert Task.objects.get(pk=task.pk).state == "approved"
    assert ("approved", 1) not in browser(portal.reviewer).get("/review").context["states"]


def test_a_suspected_task_is_rejected_from_its_page(portal: Portal):
    task = suspect()

    browser(portal.reviewer).post(f"/review/{task.pk}/reject", {"reason_code": "wrong_reference"})

    assert Task.objects.get(pk=task.pk).state == "rejected"


def test_other_approved_tasks_are_in_no_queue(portal: Portal):
    assert list(browser(portal.reviewer).get("/review?state=approved").context["rows"]) == []
