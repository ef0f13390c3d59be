"""A bar that stands still says why."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tasks.models import Upload
from tasks.views.waiting import no_worker
from tests.fixtures_portal import Portal

pytestmark = pytest.mark.django_db


def received(portal: Portal, seconds_ago: float) -> None:
    Upload.objects.filter(pk=portal.upload.pk).update(
        state="received", created_at=timezone.now() - timedelta(seconds=seconds_ago)
    )


def test_an_upload_that_waits_too_long_means_that_no_worker_runs(portal: Portal):
    received(portal, 40)

    assert "no worker seems to be running" in no_worker(portal.contributor)


def test_a_fresh_upload_is_no_cause_for_alarm(portal: Portal):
    received(portal, 3)

    assert no_worker(portal.contributor) == ""


def test_another_teams_upload_is_not_told(portal: Portal):
    received(portal, 40)

    assert no_worker(portal.stranger) == ""
