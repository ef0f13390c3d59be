"""/ops/runs, and the button that trains on a dataset."""

import json

import pytest

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.models import TrainingRun

pytestmark = pytest.mark.django_db


def test_the_metrics_are_columns_of_one_length(portal: Portal):
    body = json.loads(browser(portal.operator).get(f"/ops/runs/{portal.run.pk}/metrics").content)

    assert {len(column) for column in body["columns"].values()} == {len(body["steps"])} == {100}


def test_metrics_that_are_known_are_304(portal: Portal):
    client = browser(portal.operator)
    first = client.get(f"/ops/runs/{portal.run.pk}/metrics")

    again = client.get(f"/ops/runs/{portal.run.pk}/metrics", headers={"If-None-Match": first["ETag"]})

    assert again.status_code == 304


def test_samples_of_the_shared_line_are_hidden_from_contributors(portal: Portal):
    page = text(browser(portal.contributor).get(f"/ops/runs/{portal.run.pk}"))

    assert ("reviewers and operators see them" in page, "Matches the reference." in page) == (True, False)


def test_an_error_says_where_it_broke(portal: Portal):
    assert "Broke at training" in text(browser(portal.operator).get(f"/ops/runs/{portal.failed.pk}"))


def test_a_second_attempt_is_told(portal: Portal):
    assert "Attempt 2: the engine was lost" in text(browser(portal.operator).get(f"/ops/runs/{portal.going.pk}"))


def test_an_operator_pauses_a_run(portal: Portal):
    browser(portal.operator).post(f"/ops/runs/{portal.going.pk}/pause")

    assert TrainingRun.objects.get(pk=portal.going.pk).state == "pausing"


def test_somebody_else_does_not(portal: Portal):
    browser(portal.contributor).post(f"/ops/runs/{portal.going.pk}/cancel")

    assert TrainingRun.objects.get(pk=portal.going.pk).state == "running"


def test_the_estimate_comes_before_anything_is_written(portal: Portal):
    before = TrainingRun.objects.count()

    page = browser(portal.contributor).get(f"/datasets/{portal.team.slug}/{portal.private.slug}/train?steps=7")

    assert (page.context["estimate"].steps, TrainingRun.objects.count()) == (7, before)


def test_the_button_queues_a_run_of_the_teams_expert(portal: Portal):
    path = f"/datasets/{portal.team.slug}/{portal.private.slug}/train"

    reply = browser(portal.contributor).post(path, {"preset": "few-shot", "steps": "7"})

    run = TrainingRun.objects.latest("pk")
    assert (reply["Location"], run.line.team, run.spec["steps"]) == (f"/ops/runs/{run.pk}", portal.team, 7)


def test_the_numbers_can_be_had_as_csv(portal: Portal):
    file = text(browser(portal.operator).get(f"/ops/runs/{portal.run.pk}?format=csv"))

    assert len(file.splitlines()) == 101
