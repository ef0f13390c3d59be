"""/ops/models/<line>/policy: fields, YAML, preview, history; who may not operate reads only."""

from collections.abc import Mapping

import pytest
import yaml

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.evaluation.policy import GatePolicy
from trainer.models import Line, PolicyVersion
from trainer.services import policies
from trainer.views import policy_form

pytestmark = pytest.mark.django_db


@pytest.fixture
def line(portal: Portal) -> Line:
    return portal.held.line


def address(line: Line) -> str:
    return f"/ops/models/{line.slug}/policy"


def as_typed(policy: GatePolicy) -> Mapping[str, str]:
    """What a browser sends of the page's fields, untouched."""
    sent = {"target": policy.target}
    for field in (field for group in policy_form.fields(policy).values() for field in group):
        if field.kind != "flag":
            sent[field.name] = str(field.value)
        elif field.value:
            sent[field.name] = "on"
    for suite in policy_form.suites(policy, {}):
        sent[f"place:{suite.name}"] = suite.place
        sent[f"margin:{suite.name}"] = "" if suite.margin is None else str(suite.margin)
        sent |= {f"compares:{suite.name}": suite.compares} if suite.compares else {}
    return sent


def test_fields_that_nobody_touched_are_the_policy(portal: Portal, line: Line):
    before = policies.of(line)

    browser(portal.operator).post(address(line), as_typed(before))

    assert policies.of(Line.objects.get(pk=line.pk)) == before


def test_a_guard_with_settings_of_its_own_allows_no_more_after_the_form(portal: Portal, line: Line):
    guards = [
        {"suite": "maximum", "tier": "critical", "passes": "unless_worse"},
        {"suite": "reverse", "compares": "outcome"},
    ]
    second = {"*": {"type": "number", "name": "again"}}
    body = {"guards": guards, "second_graders": second}
    policies.change(Line.objects.get(pk=line.pk), body, actor=portal.operator)
    before = policies.of(Line.objects.get(pk=line.pk))

    browser(portal.operator).post(address(line), as_typed(before))

    after = policies.of(Line.objects.get(pk=line.pk))
    assert [(g.suite, g.allowed, g.passes, g.compares) for g in after.guards] == [
        ("maximum", 0.01, "unless_worse", None),
        ("reverse", 0.02, "when_shown", "outcome"),
    ]
    assert after.second_graders == before.second_graders


def test_the_fields_change_the_policy_and_the_history_says_who_and_why(portal: Portal, line: Line):
    sent = {**as_typed(policies.of(line)), "delta_min": "0.01", "reason": "Small gains are not worth a release."}

    browser(portal.operator).post(address(line), sent)
    page = text(browser(portal.operator).get(address(line)))

    assert policies.of(Line.objects.get(pk=line.pk)).delta_min == 0.01
    assert "Small gains are not worth a release." in page
    assert "<code>delta_min</code>: 0.0 → 0.01" in page


def test_a_suite_becomes_a_critical_guard_and_another_an_invariant(portal: Portal, line: Line):
    sent = {**as_typed(policies.of(line)), "place:maximum": "critical", "place:reverse": "invariant"}

    browser(portal.operator).post(address(line), sent)

    policy = policies.of(Line.objects.get(pk=line.pk))
    assert policy.guard("maximum").allowed == 0.01
    assert policy.invariants == ("reverse",)


def test_yaml_is_taken_and_given_back(portal: Portal, line: Line):
    client = browser(portal.operator)

    client.post(address(line), {"policy": "target: arithmetic\nlooks: [0.5, 1]\n"})
    given = yaml.safe_load(text(client.get(f"{address(line)}?format=yaml")))

    assert (given["target"], given["looks"]) == ("arithmetic", [0.5, 1.0])


def test_a_preview_changes_nothing_and_says_what_it_would_take(portal: Portal, line: Line):
    before = policies.of(line)

    reply = browser(portal.operator).post(address(line), {"policy": "expected_effect: 0.2", "preview": "1"})

    assert "A preview" in text(reply)
    assert policies.of(Line.objects.get(pk=line.pk)) == before


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"policy": "alpha: 3"}, "alpha is one-sided"),
        ({"policy": "target: [unclosed"}, "This is no YAML"),
        ({"policy": "just words"}, "Write settings by name"),
        ({"policy": "surprise: 1"}, "unknown field"),
        ({"target": "overall", "alpha": "much"}, "“much” is no number"),
    ],
)
def test_what_is_no_policy_is_one_sentence_and_keeps_what_was_typed(
    portal: Portal, line: Line, sent: Mapping[str, str], told: str
):
    reply = browser(portal.operator).post(address(line), sent)

    assert reply.status_code == 400
    assert told in text(reply)
    assert sent.get("policy", "") in text(reply)
    assert not PolicyVersion.objects.filter(line=line, number__gt=1).exists()


def test_who_does_not_operate_reads_it_without_a_form(portal: Portal, line: Line):
    page = text(browser(portal.contributor).get(address(line)))

    assert ("In force" in page, "Put into force" in page) == (True, False)


def test_who_does_not_operate_cannot_change_it(portal: Portal, line: Line):
    before = policies.of(line)

    browser(portal.contributor).post(address(line), {"policy": "alpha: 0.1"})

    assert policies.of(Line.objects.get(pk=line.pk)) == before


def test_the_same_policy_again_is_no_new_version(portal: Portal, line: Line):
    client = browser(portal.operator)
    for _ in range(2):
        client.post(address(line), {"policy": "delta_min: 0.02"})

    assert PolicyVersion.objects.filter(line=line, body__delta_min=0.02).count() == 1


def test_the_api_lists_the_versions_and_sets_one(portal: Portal, line: Line):
    client = browser(portal.operator)

    body = {"policy": {"delta_min": 0.03}, "reason": "By program."}
    set_to = client.put(f"/api/v1/lines/{line.pk}/policy", body, content_type="application/json").json()
    listed = client.get(f"/api/v1/lines/{line.pk}/policies").json()["results"]

    assert set_to["policy"]["delta_min"] == 0.03
    assert (listed[0]["reason"], listed[0]["digest"]) == ("By program.", set_to["digest"])


def test_a_refused_field_keeps_all_that_was_typed(portal: Portal, line: Line):
    sent = {**as_typed(policies.of(line)), "alpha": "3", "expected_effect": "0.123"}

    page = text(browser(portal.operator).post(address(line), sent))

    assert 'name="alpha" type="number" step="any" value="3"' in page
    assert 'name="expected_effect" type="number" step="any" value="0.123"' in page
