"""docs/webhooks.md: its code verifies what really arrives, and its tables are those of the product."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests import cast
from tests.fakes import receiver
from tests.promises.test_documents import blocks, named, sections, table_rows
from tests.trainer.services.hooked import add, allow, happened, line, promote, run, told
from trainer.models import Delivery
from trainer.news import CHOICES, News
from trainer.services import deliveries, webhooks

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "webhooks.md"
TEXT = DOCUMENT.read_text()


def part(heading: str) -> str:
    return sections(TEXT, 2)[heading]


def rows() -> dict[str, list[str]]:
    return {cells[0].strip("`"): cells[1:] for cells in table_rows(part("The message"))}


@pytest.fixture
def verified() -> Any:
    """The function that the page shows."""
    names: dict[str, Any] = {}
    exec(blocks(DOCUMENT, "python")[0], names)
    return names["verified"]


@pytest.mark.django_db(transaction=True)
def test_the_code_of_the_page_verifies_what_arrives_before_and_after_a_rotation(verified: Any, settings: Any):
    carla = cast.of_own_team("carla")
    with receiver.running() as other:
        allow(settings, other)
        hook, old = webhooks.create(carla.team, actor=carla.user, name="ä", url=other.url, types=CHOICES)
        new = webhooks.rotate(hook, actor=carla.user)
        webhooks.send_test(hook, actor=carla.user)
        deliveries.deliver()

    (got,) = other.got
    body = got.body.encode()
    assert [verified(got.headers, body, secret) for secret in (old, new)] == [True, True]
    assert not verified(got.headers, body + b" ", new)
    assert not verified(got.headers, body, "whsec_AAAA")
    assert not verified({**got.headers, "webhook-timestamp": str(int(time.time()) - 400)}, body, new)
    assert not verified({**got.headers, "webhook-id": "msg_other"}, body, new)


def test_the_code_of_the_page_verifies_the_published_vector_in_time(verified: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(time, "time", lambda: 1614265330.0)
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,wrong v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }

    assert verified(headers, b'{"test": 2432232314}', "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


def test_every_type_is_in_the_table_with_the_words_of_the_form():
    assert {kind: cells[0] for kind, cells in rows().items() if kind != News.TEST} == CHOICES
    assert News.TEST in rows()


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["run.failed", "model.promoted", "webhook.test"])
def test_the_fields_of_a_message_are_those_of_the_table(kind: str):
    carla = cast.of_own_team("carla")
    of_carla = line(carla)
    hook = add(carla, "https://192.0.43.8/news")
    promote(of_carla, carla)
    happened("trainingrun.failed", "trainingrun", run(of_carla).pk, carla, code="lost", sentence="It was lost.")
    told()
    webhooks.send_test(hook, actor=carla.user)

    fields = set(json.loads(Delivery.objects.get(type=kind).body)["data"])

    like = {"run.failed": "run.succeeded"}.get(kind, kind)
    assert fields == named(rows()[like][1])


def test_the_gaps_of_the_page_are_those_of_the_code():
    told = part("Tries and order").replace("\n", " ")

    assert "after 10 seconds, 1 minute, 5 minutes, 30 minutes, 2 hours, 6 hours and 16 hours, 8 tries" in told
    assert deliveries.GAPS == (10, 60, 300, 1800, 7200, 6 * 3600, 16 * 3600)
    assert deliveries.TRIES == 8


@pytest.mark.django_db
def test_the_reply_that_the_page_shows_has_the_fields_of_the_api():
    carla = cast.of_own_team("carla")
    body = {"name": "Chat", "url": "https://192.0.43.8/news", "types": ["run.failed"]}

    reply = carla.api.post("/api/v1/webhooks", body, format="json").json()

    assert set(json.loads(blocks(DOCUMENT, "json")[0])) == set(reply)
