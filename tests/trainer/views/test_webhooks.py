"""/ops/webhooks: adding one, its log, and each delivery."""

import csv
import html
import json
from io import StringIO
from typing import Any

import pytest

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.models import Delivery, Webhook

pytestmark = pytest.mark.django_db
FORM = {"name": "Mine", "url": "https://192.0.43.8/mine", "email": "", "types": ["run.failed"], "line": ""}


@pytest.fixture
def hook(portal: Portal) -> Webhook:
    return Webhook.objects.get(name="Chat room")


def shown(portal: Portal, path: str = "", **query: Any) -> str:
    return html.unescape(text(browser(portal.operator).get(f"/ops/webhooks{path}", query)))


def form(portal: Portal, **changes: Any) -> dict[str, Any]:
    return {**FORM, "team": portal.line.team_id, **changes}


def test_the_list_says_where_what_goes_and_how_it_stands(portal: Portal, hook: Webhook):
    page = shown(portal)

    assert "1 on, 1 off" in page
    assert hook.url in page
    assert "otto switched it off." in page


def test_a_new_one_shows_its_secret_once(portal: Portal):
    client = browser(portal.operator)

    page = text(client.post("/ops/webhooks/new", form(portal)))

    made = Webhook.objects.get(name="Mine")
    assert "whsec_" in page
    assert "whsec_" not in text(client.get(f"/ops/webhooks/{made.pk}"))


def test_what_was_typed_comes_back_with_what_is_wrong(portal: Portal):
    reply = browser(portal.operator).post("/ops/webhooks/new", form(portal, url="https://127.0.0.1/secret-path"))

    page = text(reply)
    assert (reply.status_code, Webhook.objects.filter(name="Mine").exists()) == (400, False)
    assert 'value="https://127.0.0.1/secret-path"' in page
    assert "not public" in page


def test_without_a_mail_server_the_page_says_that_email_is_off_and_why(portal: Portal, settings: Any):
    off = shown(portal)
    settings.EMAIL_HOST = "mail.example"

    assert "E-mail is off: nobody has set SMTP_HOST" in off
    assert "E-mail is off" not in shown(portal)


def test_nobody_adds_one_for_a_team_that_they_do_not_operate(portal: Portal):
    reply = browser(portal.stranger).post("/ops/webhooks/new", form(portal))

    assert (reply.status_code, Webhook.objects.filter(name="Mine").exists()) == (400, False)


def test_a_log_is_filtered_by_state_and_by_type(portal: Portal, hook: Webhook):
    failed = Delivery.objects.get(hook=hook, state="failed")
    here = f'/ops/webhooks/{hook.pk}/deliveries/{failed.pk}"'

    assert here in shown(portal, f"/{hook.pk}", state="failed")
    assert here not in shown(portal, f"/{hook.pk}", state="delivered")
    assert here not in shown(portal, f"/{hook.pk}", type="gate.decided")


def test_a_log_says_how_many_arrived_and_how_quickly(portal: Portal, hook: Webhook):
    finding = "1 of 2 deliveries of the last 7 days arrived; the median of what was answered well is 84 ms."

    assert finding in shown(portal, f"/{hook.pk}")


def test_a_log_leaves_as_a_file(portal: Portal, hook: Webhook):
    rows = list(csv.DictReader(StringIO(shown(portal, f"/{hook.pk}", format="csv", state="failed"))))
    listed = json.loads(shown(portal, format="json"))

    assert [(row["type"], row["tries"], row["status"]) for row in rows] == [("run.failed", "8", "500")]
    assert {row["name"] for row in listed} == {"Chat room", "Pager"}


def test_a_delivery_shows_every_try_its_answer_and_the_message(portal: Portal, hook: Webhook):
    failed = Delivery.objects.get(hook=hook, state="failed")

    page = text(browser(portal.operator).get(f"/ops/webhooks/{hook.pk}/deliveries/{failed.pk}"))

    assert page.count("It answered 500.") == 8
    assert "&lt;h1&gt;Hello&lt;/h1&gt;" in page
    assert failed.message in page
    assert "Better by 3.1 pp on the target." in page


def test_a_try_that_was_cut_short_says_so(portal: Portal, hook: Webhook):
    waiting = Delivery.objects.get(hook=hook, state="pending")

    page = shown(portal, f"/{hook.pk}/deliveries/{waiting.pk}")

    assert "Cut short" in page
    assert "6 of 8 are left" in page


def test_a_part_that_is_polled_stops_when_it_has_ended(portal: Portal, hook: Webhook):
    replies = {
        delivery.state: browser(portal.operator).get(f"/ops/webhooks/{hook.pk}/deliveries/{delivery.pk}/status")
        for delivery in hook.deliveries.all()
    }

    assert {state: "X-Finished" in reply for state, reply in replies.items()} == {
        "delivered": True,
        "failed": True,
        "pending": False,
    }


def test_sending_again_leads_to_the_delivery(portal: Portal, hook: Webhook):
    failed = Delivery.objects.get(hook=hook, state="failed")
    here = f"/ops/webhooks/{hook.pk}/deliveries/{failed.pk}"

    reply = browser(portal.operator).post(f"{here}/again")

    failed.refresh_from_db()
    assert (reply["Location"], failed.state, failed.tries) == (here, "pending", 0)


def test_a_test_leads_to_its_delivery(portal: Portal, hook: Webhook):
    reply = browser(portal.operator).post(f"/ops/webhooks/{hook.pk}/test")

    sent = hook.deliveries.get(type="webhook.test")
    assert reply["Location"] == f"/ops/webhooks/{hook.pk}/deliveries/{sent.pk}"


@pytest.mark.parametrize(("verbs", "state"), [(["off"], "off"), (["off", "on"], "on"), (["delete"], "deleted")])
def test_it_is_switched_and_deleted_by_a_button(portal: Portal, hook: Webhook, verbs: list[str], state: str):
    for verb in verbs:
        browser(portal.operator).post(f"/ops/webhooks/{hook.pk}/{verb}")

    hook.refresh_from_db()
    assert hook.state == state


def test_of_a_deleted_one_the_log_is_left(portal: Portal, hook: Webhook):
    browser(portal.operator).post(f"/ops/webhooks/{hook.pk}/delete")

    assert "Chat room" in shown(portal, state="deleted")
    assert "only its log is left" in shown(portal, f"/{hook.pk}")
    assert "Send a test" not in shown(portal, f"/{hook.pk}")


def test_a_rotation_shows_the_new_secret_and_until_when_the_old_one_signs(portal: Portal, hook: Webhook):
    page = text(browser(portal.operator).post(f"/ops/webhooks/{hook.pk}/rotate"))

    assert "whsec_" in page
    assert "the secret before signs as well" in page


def test_a_change_holds_its_line_and_kinds_of_news(portal: Portal, hook: Webhook):
    changes = {"name": "Chat", "types": ["run.cancelled"], "line": ""}

    browser(portal.operator).post(f"/ops/webhooks/{hook.pk}/change", changes)

    hook.refresh_from_db()
    assert (hook.name, hook.types, hook.line) == ("Chat", ["run.cancelled"], None)


@pytest.mark.parametrize("path", ["", "/change", "/rotate", "/test", "/delete"])
def test_a_stranger_finds_none_of_it(portal: Portal, hook: Webhook, path: str):
    client = browser(portal.stranger)
    here = f"/ops/webhooks/{hook.pk}{path}"

    assert (client.post(here) if path else client.get(here)).status_code == 404


def test_who_operates_nothing_is_told_whom_to_ask(portal: Portal):
    portal.stranger.memberships.all().delete()

    page = text(browser(portal.stranger).get("/ops/webhooks"))

    assert "Webhooks belong to operators of a team" in page
