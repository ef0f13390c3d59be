"""Withdrawing on pages: what it would do first, a typed name, a receipt; and where a dataset was used."""

import csv
import io
from typing import Any

import pytest

from tasks.models import Task, WithdrawalReceipt
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.services import uses

pytestmark = pytest.mark.django_db


def address(portal: Portal, page: str) -> str:
    return f"/datasets/{portal.team.slug}/{portal.contributed.slug}/{page}"


def withdraw(portal: Portal, **given: str) -> Any:
    form = {"confirm": portal.contributed.slug, "reason": "We stop.", **given}
    return browser(portal.contributor).post(address(portal, "withdraw"), form)


def test_the_page_says_what_would_happen_before_anything_does(portal: Portal):
    page = text(browser(portal.contributor).get(address(portal, "withdraw")))

    told = ("Nothing has happened yet", "There is no undo", "shared/v1", "has begun and goes on", "everything")
    assert [words for words in told if words not in page] == []
    assert WithdrawalReceipt.objects.count() == 1


@pytest.mark.parametrize(("given", "said"), [({"confirm": "sums"}, "to confirm"), ({"reason": ""}, "required")])
def test_without_the_typed_name_or_a_reason_nothing_is_withdrawn(portal: Portal, given: dict[str, str], said: str):
    reply = withdraw(portal, **given)

    assert (reply.status_code, said in text(reply)) == (400, True)
    assert WithdrawalReceipt.objects.count() == 1


def test_a_withdrawal_ends_on_its_receipt(portal: Portal):
    reply = withdraw(portal)

    receipt = WithdrawalReceipt.objects.latest("pk")
    page = text(browser(portal.contributor).get(reply["Location"]))
    assert reply["Location"] == f"/withdrawals/{receipt.pk}"
    assert not Task.objects.filter(memberships__dataset=portal.contributed).exclude(state="withdrawn").exists()
    assert [
        words for words in ("We stop.", "shared/v3", receipt.digest, "what the log says") if words not in page
    ] == []


def test_a_receipt_can_be_downloaded(portal: Portal):
    reply = browser(portal.contributor).get(f"/withdrawals/{portal.receipt.pk}?format=json")

    assert (reply.json()["task"], reply.json()["event"]["link"] is not None) == (portal.receipt.task_id, True)
    assert f'filename="withdrawal-{portal.receipt.pk}.json"' in reply["Content-Disposition"]


def test_a_receipt_that_was_changed_says_that_it_differs_from_the_log(portal: Portal):
    WithdrawalReceipt.objects.filter(pk=portal.receipt.pk).update(withdrawn=7)

    page = text(browser(portal.contributor).get(f"/withdrawals/{portal.receipt.pk}"))

    assert "differ from what the log says" in page


def test_one_task_is_withdrawn_by_typing_its_number(portal: Portal):
    task = Task.objects.filter(memberships__dataset=portal.contributed, state="approved").earliest("pk")

    form = {"confirm": str(task.pk), "reason": "A mistake."}
    browser(portal.contributor).post(f"/tasks/{task.pk}/withdraw", form)

    task.refresh_from_db()
    assert (task.state, WithdrawalReceipt.objects.latest("pk").task_id) == ("withdrawn", task.pk)


@pytest.mark.parametrize("who", ["reviewer", "operator"])
def test_the_pools_workers_do_not_withdraw_what_others_gave(portal: Portal, who: str):
    reply = browser(getattr(portal, who)).post(address(portal, "withdraw"), {"confirm": portal.contributed.slug})

    assert reply.status_code in (302, 403)
    assert WithdrawalReceipt.objects.count() == 1


def test_receipts_are_listed_and_exported(portal: Portal):
    client = browser(portal.contributor)

    rows = list(csv.DictReader(io.StringIO(text(client.get("/withdrawals?format=csv")))))

    assert [(row["what"], row["withdrawn"]) for row in rows] == [(f"task {portal.receipt.task_id}", "1")]
    assert "It quotes a customer." in text(client.get("/withdrawals"))
    assert "It quotes a customer." not in text(client.get("/withdrawals?team=elsewhere"))


def test_a_withdrawn_task_is_shown_to_its_team_and_is_a_tombstone_to_reviewers(portal: Portal):
    task = Task.objects.get(pk=portal.receipt.task_id)

    mine, theirs = (text(browser(who).get(f"/tasks/{task.pk}")) for who in (portal.contributor, portal.reviewer))

    assert (task.prompt in mine, task.prompt in theirs, "A tombstone" in theirs) == (True, False, True)


# Used in


def test_a_dataset_says_where_it_was_used(portal: Portal):
    page = text(browser(portal.contributor).get(address(portal, "")[:-1]))

    assert [
        words for words in ("Used in", "3 versions saw its rows", "In service: shared/v1") if words not in page
    ] == []


def test_uses_are_listed_filtered_and_exported(portal: Portal):
    client = browser(portal.contributor)

    rows = list(csv.DictReader(io.StringIO(text(client.get(address(portal, "used-in?format=csv"))))))
    champions = list(
        csv.DictReader(io.StringIO(text(client.get(address(portal, "used-in?alias=champion&format=csv")))))
    )

    assert {row["version"] for row in rows} == {"shared/v1", "shared/v2", "shared/v3", ""}
    assert [row["version"] for row in champions] == ["shared/v1"]


def test_a_task_says_which_versions_saw_it(portal: Portal):
    page = text(browser(portal.contributor).get(f"/tasks/{portal.receipt.task_id}"))

    assert "3 versions had it among the rows" in page


def test_a_dataset_of_no_use_yet_says_so(portal: Portal):
    page = text(browser(portal.contributor).get(f"/datasets/{portal.team.slug}/{portal.private.slug}/used-in"))

    assert "No model has been trained on rows of this dataset." in page


def test_a_page_asks_no_more_where_more_was_trained(portal: Portal, django_assert_max_num_queries: Any):
    lines = portal.line.__class__.objects.all()

    with django_assert_max_num_queries(12):
        uses.of_dataset(portal.contributed, lines)
