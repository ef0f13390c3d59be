"""Webhooks by program."""

import base64
from typing import Any

import pytest

from tasks.models import User
from tasks.services import accounts
from tasks.states import Role
from tests import cast
from tests.cast import Person
from trainer.models import Delivery, Webhook
from trainer.services import deliveries

BODY = {"name": "Chat", "url": "https://192.0.43.8/news", "types": ["run.failed", "gate.decided"]}


def post(person: Person, path: str = "", **body: Any) -> Any:
    return person.api.post(f"/api/v1/webhooks{path}", body, format="json")


@pytest.fixture
def hook(contributor: Person) -> dict[str, Any]:
    return dict(post(contributor, **BODY).json())


def test_the_reply_that_makes_one_has_the_secret_and_no_other_has(contributor: Person, hook: dict[str, Any]):
    later = contributor.api.get(f"/api/v1/webhooks/{hook['id']}").json()

    assert len(base64.b64decode(hook["secret"].removeprefix("whsec_"))) == 32
    assert later == {name: value for name, value in hook.items() if name != "secret"}
    assert (later["state"], later["team"], later["line"]) == ("on", "carla-team", None)


def test_a_repeated_key_of_idempotency_does_not_store_the_secret(contributor: Person):
    from tasks.models import IdempotencyRecord

    contributor.api.post("/api/v1/webhooks", BODY, format="json", headers={"Idempotency-Key": "once"})

    assert IdempotencyRecord.objects.count() == 0


def test_it_is_changed_and_switched_off(contributor: Person, hook: dict[str, Any]):
    changes = {"types": ["run.failed"], "enabled": False}

    reply = contributor.api.patch(f"/api/v1/webhooks/{hook['id']}", changes, format="json")

    assert (reply.json()["types"], reply.json()["state"]) == (["run.failed"], "off")
    assert "carla" in reply.json()["off_because"]


def test_a_test_is_a_delivery_whose_log_is_read(contributor: Person, hook: dict[str, Any]):
    made = post(contributor, f"/{hook['id']}/test")
    deliveries.claim(made.json()["id"])

    (shown,) = contributor.api.get(f"/api/v1/webhooks/{hook['id']}/deliveries?state=sending").json()["results"]

    assert (made.status_code, made.json()["state"], made.json()["log"]) == (201, "pending", [])
    assert shown["webhook_id"].startswith("msg_")
    assert shown["body"]["type"] == "webhook.test"
    assert [entry["number"] for entry in shown["log"]] == [1]


def test_what_has_ended_is_sent_again(contributor: Person, hook: dict[str, Any]):
    made = post(contributor, f"/{hook['id']}/test").json()
    Delivery.objects.update(state="failed")

    again = post(contributor, f"/{hook['id']}/deliveries/{made['id']}/again")

    assert (again.status_code, again.json()["state"]) == (200, "pending")
    assert again.json()["webhook_id"] == made["webhook_id"]


def test_a_rotation_tells_the_new_secret_and_until_when_the_old_one_signs(contributor: Person, hook: dict[str, Any]):
    reply = post(contributor, f"/{hook['id']}/rotate").json()

    assert reply["secret"] != hook["secret"]
    assert reply["old_until"] is not None


def test_what_is_deleted_is_listed_apart_with_its_log(contributor: Person, hook: dict[str, Any]):
    post(contributor, f"/{hook['id']}/test")

    assert contributor.api.delete(f"/api/v1/webhooks/{hook['id']}").status_code == 204

    assert contributor.api.get("/api/v1/webhooks").json()["results"] == []
    (shown,) = contributor.api.get("/api/v1/webhooks?deleted=true").json()["results"]
    (sent,) = contributor.api.get(f"/api/v1/webhooks/{hook['id']}/deliveries").json()["results"]
    assert (shown["state"], sent["state"]) == ("deleted", "cancelled")


def test_a_delivery_of_another_webhook_is_404(contributor: Person, hook: dict[str, Any]):
    other = post(contributor, **BODY).json()
    made = post(contributor, f"/{other['id']}/test").json()

    assert contributor.api.get(f"/api/v1/webhooks/{hook['id']}/deliveries/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"types": ["run.began"]}, "types.0"),
        ({"url": "http://192.0.43.8"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"secret": "mine"}, "secret"),
        ({"line": 10**6}, "line"),
    ],
)
def test_what_cannot_be_right_is_refused_by_its_field(contributor: Person, change: dict[str, Any], param: str):
    reply = post(contributor, **BODY | change)

    assert (reply.status_code in (400, 404), reply.json()["param"], Webhook.objects.count()) == (True, param, 0)


def test_a_stranger_finds_nothing_and_does_nothing(contributor: Person, stranger: Person, hook: dict[str, Any]):
    made = post(contributor, f"/{hook['id']}/test").json()
    paths = [f"/{hook['id']}/{verb}" for verb in ("test", "rotate", f"deliveries/{made['id']}/again")]

    listed = stranger.api.get("/api/v1/webhooks").json()["results"]

    assert (listed, {post(stranger, path).status_code for path in paths}) == ([], {404})
    assert stranger.api.delete(f"/api/v1/webhooks/{hook['id']}").status_code == 404


def test_a_colleague_who_does_not_operate_finds_nothing_either(contributor: Person, hook: dict[str, Any]):
    user = User.objects.create_user("olga")
    accounts.join(contributor.team, user, Role.CONTRIBUTOR, actor=None)
    olga = Person(user, contributor.team, cast.key(user, contributor.team))

    assert olga.api.get(f"/api/v1/webhooks/{hook['id']}").status_code == 404
    assert post(olga, **BODY).status_code == 403


def test_a_key_that_only_reads_changes_nothing(contributor: Person, hook: dict[str, Any]):
    reader = Person(contributor.user, contributor.team, cast.key(contributor.user, contributor.team, ["read", "write"]))

    assert reader.api.get(f"/api/v1/webhooks/{hook['id']}").status_code == 200
    assert post(reader, f"/{hook['id']}/test").status_code == 403
