"""/ops/gates: verdict and why first; sealed items only for those who may see them."""

import json

import msgspec
import pytest

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.models import Evaluation, GateReport
from trainer.services import policies

pytestmark = pytest.mark.django_db


def test_the_verdict_says_why_and_what_next(portal: Portal):
    page = text(browser(portal.operator).get(f"/ops/gates/{portal.held.pk}"))

    assert portal.held.sentence in page
    assert "change the mixture" in page


def test_flips_are_shown_to_the_pools_operators(portal: Portal):
    assert "Compute 20 + 47." in text(browser(portal.operator).get(f"/ops/gates/{portal.held.pk}"))


def test_a_contributor_sees_the_counts_of_flips_but_no_sealed_item(portal: Portal):
    page = text(browser(portal.contributor).get(f"/ops/gates/{portal.held.pk}"))

    assert ("Both right" in page, "Compute 20 + 47." in page) == (True, False)


def test_the_json_of_a_contributor_holds_no_flips(portal: Portal):
    body = json.loads(text(browser(portal.contributor).get(f"/ops/gates/{portal.held.pk}?format=json")))

    assert (body["verdict"], body["flips"]) == ("HOLD", [])


def test_every_suite_has_its_row_in_the_plot(portal: Portal):
    forest = browser(portal.operator).get(f"/ops/gates/{portal.promoted.pk}").context["forest"]

    assert [row.suite for row in forest.rows] == ["overall", "arithmetic", "maximum", "reverse"]


def test_a_verdict_in_the_address_filters_the_list(portal: Portal):
    reports = browser(portal.operator).get("/ops/gates?verdict=HOLD").context["page"].rows

    assert {report.verdict for report in reports} == {"HOLD"}


def test_what_the_answers_cost_is_shown(portal: Portal):
    page = text(browser(portal.operator).get(f"/ops/gates/{portal.promoted.pk}"))

    assert "tokens an answer: 1.05 times the champion" in page


def test_the_report_is_there_as_markdown_for_a_pull_request(portal: Portal):
    reply = browser(portal.contributor).get(f"/ops/gates/{portal.held.pk}?format=markdown")

    assert reply["Content-Type"].startswith("text/markdown")
    assert text(reply).startswith(f"# HOLD\n\n{portal.held.sentence}")


@pytest.fixture
def unclear(portal: Portal) -> GateReport:
    """The held report, as if it could not tell, under a policy that looks twice."""
    evaluation = portal.held.evaluation
    line = evaluation.line
    policies.change(line, {**evaluation.policy, "looks": [1, 2]}, actor=None)
    Evaluation.objects.filter(pk=evaluation.pk).update(
        policy=msgspec.to_builtins(policies.of(line)),
        policy_digest=policies.of(line).digest(),
        champion=line.alias("champion"),
    )
    GateReport.objects.filter(pk=portal.held.pk).update(verdict="INCONCLUSIVE")
    return GateReport.objects.get(pk=portal.held.pk)


def test_a_report_that_cannot_tell_offers_its_operator_the_next_look(portal: Portal, unclear: GateReport):
    page = text(browser(portal.operator).get(f"/ops/gates/{unclear.pk}"))

    assert "look 2 of 2" in page
    assert "kept a part of alpha" in page


def test_who_may_not_operate_sees_no_button(portal: Portal, unclear: GateReport):
    assert "look 2 of 2" not in text(browser(portal.contributor).get(f"/ops/gates/{unclear.pk}"))


def test_the_button_queues_the_next_look_and_shows_it(portal: Portal, unclear: GateReport):
    reply = browser(portal.operator).post(f"/ops/gates/{unclear.pk}/go-on")

    extension = Evaluation.objects.get(extends=unclear.evaluation)
    assert reply["Location"] == f"/ops/evaluations/{extension.pk}"
    assert "Look 2 is queued" in text(browser(portal.operator).get(f"/ops/gates/{unclear.pk}"))


def test_the_api_tells_the_next_look_and_runs_it(portal: Portal, unclear: GateReport):
    client = browser(portal.operator)
    offered = json.loads(text(client.get(f"/api/v1/gates/{unclear.pk}")))["next_look"]

    made = client.post(f"/api/v1/gates/{unclear.pk}/go-on")

    assert (offered["look"], offered["of"]) == (2, 2)
    assert (made.status_code, made.json()["extends"]) == (201, unclear.evaluation_id)


def test_a_verdict_of_a_former_policy_says_that_it_no_longer_counts(portal: Portal, unclear: GateReport):
    policies.change(unclear.line, {"delta_min": 0.2}, actor=None)

    page = text(browser(portal.operator).get(f"/ops/gates/{unclear.pk}"))

    assert "This verdict no longer counts" in page


def test_the_report_tells_what_changed_in_the_data_and_every_champion_until_now(portal: Portal):
    page = text(browser(portal.operator).get(f"/ops/gates/{portal.promoted.pk}"))

    assert "What changed in the data" in page
    assert "Champions until now" in page
    assert "Anchor, the last version that a person approved" in page


def test_the_json_and_the_markdown_tell_it_too(portal: Portal):
    client = browser(portal.operator)

    body = json.loads(text(client.get(f"/ops/gates/{portal.promoted.pk}?format=json")))
    words = text(client.get(f"/ops/gates/{portal.promoted.pk}?format=markdown"))

    assert body["data"]["after"] > 0
    assert f"{body['data']['after']:,}" in words.split("Data: ")[1]
