"""/review/wrappers: what uploads propose, decided one by one."""

import pytest

from tasks.models import Wrapper
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text

pytestmark = pytest.mark.django_db


@pytest.fixture
def pirate(portal: Portal) -> Wrapper:
    """The most common proposal."""
    return Wrapper.objects.get(text__contains="pirate")


def test_the_most_common_proposal_is_asked_about_with_one_of_its_rows(portal: Portal, pirate: Wrapper):
    page = text(browser(portal.reviewer).get("/review/wrappers"))

    row = portal.upload.dataset.memberships.get(upload=portal.upload, line=3).task.prompt
    assert f'action="/review/wrappers/{pirate.pk}/approve"' in page
    assert row in page


def test_a_share_is_of_the_rows_that_came_in(portal: Portal, pirate: Wrapper):
    counts = portal.upload.counts
    good = counts["rows"] - sum(counts["rejected"].values())

    page = text(browser(portal.reviewer).get("/review/wrappers"))

    assert f"118, {100 * 118 / good:.1f} % of the upload" in page


def test_another_one_is_asked_about_by_its_address(portal: Portal):
    other = Wrapper.objects.get(text="end show every step")

    page = text(browser(portal.reviewer).get(f"/review/wrappers?at={other.pk}"))

    assert f'action="/review/wrappers/{other.pk}/approve"' in page


def test_a_proposal_whose_upload_is_gone_is_still_decided(portal: Portal, pirate: Wrapper):
    Wrapper.objects.filter(pk=pirate.pk).update(upload=None)

    page = text(browser(portal.reviewer).get("/review/wrappers"))

    assert "It is not stored any more." in page


def test_approving_leads_to_what_is_left(portal: Portal, pirate: Wrapper):
    reply = browser(portal.reviewer).post(f"/review/wrappers/{pirate.pk}/approve")

    pirate.refresh_from_db()
    assert (reply["Location"], pirate.state, pirate.decided_by) == ("/review/wrappers", "approved", portal.reviewer)


def test_what_is_approved_shows_that_stored_tasks_are_being_compared(portal: Portal, pirate: Wrapper):
    client = browser(portal.reviewer)
    before = text(client.get("/review/wrappers")).count("running")

    client.post(f"/review/wrappers/{pirate.pk}/approve")

    assert text(client.get("/review/wrappers")).count("running") == before + 1


def test_a_decision_is_undone_on_the_same_page(portal: Portal):
    approved = Wrapper.objects.get(text="end answer in one word")

    browser(portal.reviewer).post(f"/review/wrappers/{approved.pk}/refuse")

    approved.refresh_from_db()
    assert approved.state == "refused"


def test_one_is_added_by_hand(portal: Portal):
    form = {"space": "pool", "place": "start", "text": "Think like a lawyer."}

    browser(portal.reviewer).post("/review/wrappers/add", form)

    assert Wrapper.objects.get(text__contains="lawyer").state == "approved"


def test_nobody_adds_one_to_a_space_of_others(portal: Portal):
    form = {"space": portal.team.slug, "place": "start", "text": "Think like a lawyer."}

    assert browser(portal.reviewer).post("/review/wrappers/add", form).status_code == 404


def test_a_stranger_decides_nothing(portal: Portal, pirate: Wrapper):
    reply = browser(portal.stranger).post(f"/review/wrappers/{pirate.pk}/approve")

    pirate.refresh_from_db()
    assert (reply.status_code, pirate.state) == (404, "proposed")


def test_the_review_queue_counts_what_is_proposed(portal: Portal):
    waiting = Wrapper.objects.filter(space__is_system=True, state="proposed").count()

    assert f"{waiting} wrappers proposed" in text(browser(portal.reviewer).get("/review"))


def test_who_reviews_nowhere_is_told_so(portal: Portal):
    portal.stranger.memberships.all().delete()

    assert "You review in no space" in text(browser(portal.stranger).get("/review/wrappers"))
