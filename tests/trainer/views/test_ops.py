"""/ops: what runs, what failed, what comes next."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tasks.models import Upload
from tasks.models.uploads import WITHDRAWN
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.models import TrainingRun, Webhook
from trainer.services import webhooks

pytestmark = pytest.mark.django_db


def test_a_failed_run_is_an_alarm_with_its_sentence(portal: Portal):
    assert "The loss became NaN at step 8" in text(browser(portal.operator).get("/ops"))


@pytest.mark.parametrize(("failure", "told"), [("The file broke off.", True), (WITHDRAWN, False)])
def test_an_upload_is_an_alarm_unless_somebody_withdrew_it(portal: Portal, failure: str, told: bool):
    team = portal.private.team
    Upload.objects.create(
        dataset=portal.private, team=team, sha256="0" * 64, bytes=1, filename="x", state="failed", failure=failure
    )

    page = browser(portal.contributor).get("/ops")

    assert (failure in text(page)) == told


def test_a_webhook_that_fails_is_an_alarm_until_somebody_has_seen_to_it(portal: Portal):
    hook = Webhook.objects.get(name="Chat room")
    Webhook.objects.filter(pk=hook.pk).update(failing_since=timezone.now())
    before = text(browser(portal.operator).get("/ops"))

    webhooks.switch(hook, False, actor=portal.operator)

    after = text(browser(portal.operator).get("/ops"))
    assert ("Webhook Chat room" in before, "Webhook Chat room" in after) == (True, False)


def test_the_next_turn_is_told(portal: Portal):
    assert "Next turn: everything of Shared model at" in text(browser(portal.operator).get("/ops"))


def test_work_that_nobody_looks_after_is_told(portal: Portal):
    TrainingRun.objects.filter(pk=portal.going.pk).update(lease_until=timezone.now() - timedelta(minutes=5))

    assert "Nobody has looked after run" in text(browser(portal.operator).get("/ops/queue"))


def test_a_state_in_the_address_filters_the_runs(portal: Portal):
    rows = browser(portal.operator).get("/ops?state=failed").context["page"].rows

    assert [run.pk for run in rows] == [portal.failed.pk]


def test_an_evaluation_shows_the_plan_made_before_it_ran(portal: Portal):
    page = text(browser(portal.operator).get(f"/ops/evaluations/{portal.held.evaluation_id}"))

    assert "arithmetic: 320 items × 4 answers." in page
