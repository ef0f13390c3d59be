"""Sending to real servers on this machine: what arrives, what is tried again and when, and what nobody waits for."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.utils import timezone

from tests import cast
from tests.cast import Person
from tests.fakes import receiver
from tests.fakes.receiver import Receiver
from tests.trainer.services.hooked import add, allow, line, promote, told
from trainer import signing
from trainer.models import Delivery, DeliveryTry, Webhook
from trainer.services import deliveries, webhooks
from trainer.services.deliveries import GAPS, TRIES, Limits, Said

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def other() -> Iterator[Receiver]:
    with receiver.running() as running:
        yield running


@pytest.fixture
def carla() -> Person:
    return cast.of_own_team("carla")


@pytest.fixture
def hook(carla: Person, other: Receiver, settings: Any) -> Webhook:
    allow(settings, other)
    return add(carla, other.url)


def sent_a_test(hook: Webhook, person: Person) -> Delivery:
    return webhooks.send_test(hook, actor=person.user)


def again_later(delivery: Delivery) -> None:
    """The gap is over."""
    Delivery.objects.filter(pk=delivery.pk).update(due_at=timezone.now())


def fail(delivery: Delivery, times: int) -> None:
    for _ in range(times):
        again_later(delivery)
        deliveries.deliver()
    delivery.refresh_from_db()


def test_what_arrives_is_signed_and_is_what_the_log_shows(carla: Person, hook: Webhook, other: Receiver):
    promote(line(carla), carla)
    told()

    deliveries.deliver()

    delivery, (got,) = Delivery.objects.get(), other.got
    (secret,) = deliveries.secrets_of(hook, timezone.now())
    stamp = int(got.headers["webhook-timestamp"])
    assert (got.path, got.id, got.body) == ("/news", delivery.message, delivery.body)
    assert got.headers["webhook-signature"] == signing.signature(secret, got.id, stamp, got.body)
    assert abs(time.time() - stamp) < 10
    assert json.loads(got.body)["type"] == "model.promoted"


def test_a_try_is_kept_with_status_reply_and_time(carla: Person, hook: Webhook, other: Receiver):
    other.says = "x" * 5000
    delivery = sent_a_test(hook, carla)

    deliveries.deliver()

    delivery.refresh_from_db()
    kept = delivery.log.get()
    assert (delivery.state, kept.status, kept.reply, kept.fault) == ("delivered", 200, "x" * 500, "")
    assert kept.milliseconds is not None


def test_a_fault_and_then_a_success_are_two_tries_of_one_message(carla: Person, hook: Webhook, other: Receiver):
    other.answers = [500, 200]
    delivery = sent_a_test(hook, carla)

    fail(delivery, 2)

    first, second = other.got
    assert (first.id, first.body) == (second.id, second.body)
    assert list(delivery.log.values_list("status", "fault")) == [(500, "It answered 500."), (200, "")]
    assert delivery.state == "delivered"


def test_the_gaps_grow_to_eight_tries_within_about_a_day(carla: Person, hook: Webhook, other: Receiver):
    other.answers = [503]
    delivery, waits = sent_a_test(hook, carla), []

    for _ in range(TRIES):
        began = timezone.now()
        fail(delivery, 1)
        waits.append(round((delivery.due_at - began).total_seconds()))

    assert waits[:-1] == list(GAPS)
    assert (delivery.state, len(other.got), sum(GAPS) / 3600) == ("failed", 8, pytest.approx(24.6, abs=0.1))
    assert deliveries.deliver() == 0


def test_a_receiver_that_asks_for_more_time_gets_it(carla: Person, hook: Webhook, other: Receiver):
    other.answers, other.headers = [429], {"Retry-After": "120"}
    delivery = sent_a_test(hook, carla)

    fail(delivery, 1)

    assert 100 < (delivery.due_at - timezone.now()).total_seconds() <= 120


def test_a_redirect_is_not_followed(carla: Person, hook: Webhook, other: Receiver):
    other.answers, other.headers = [302], {"Location": f"{other.origin}/elsewhere"}
    delivery = sent_a_test(hook, carla)

    fail(delivery, 1)

    assert [got.path for got in other.got] == ["/news"]
    assert "redirect" in delivery.log.get().fault
    assert delivery.state == "pending"


def test_a_server_that_hangs_up_is_tried_again(carla: Person, hook: Webhook, other: Receiver):
    other.answers = ["close"]
    delivery = sent_a_test(hook, carla)

    fail(delivery, 1)

    assert (delivery.state, delivery.log.get().status) == ("pending", None)
    assert "cannot be reached" in delivery.log.get().fault


def test_a_server_that_hangs_delays_nobody_else(
    carla: Person, hook: Webhook, other: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(deliveries, "LIMITS", Limits(total_seconds=2, silence_seconds=2, reply_bytes=500))
    other.answers = [30.0]
    slow = sent_a_test(hook, carla)
    with receiver.running() as quick:
        allow(settings, other, quick)
        fast = sent_a_test(add(carla, quick.url, name="quick"), carla)
        deliveries.deliver()

    slow.refresh_from_db()
    fast.refresh_from_db()
    assert (slow.state, fast.state) == ("pending", "delivered")
    assert fast.finished_at is not None
    assert (fast.finished_at - fast.created_at).total_seconds() < 1.5
    assert "did not answer in time" in slow.log.get().fault


def test_many_to_one_slow_server_go_one_after_the_other(carla: Person, hook: Webhook, other: Receiver):
    other.answers = [0.2]
    Delivery.objects.bulk_create(
        Delivery(hook=hook, type="webhook.test", body="{}", due_at=timezone.now()) for _ in range(3)
    )

    deliveries.deliver()

    begun = list(DeliveryTry.objects.order_by("at").values_list("at", flat=True))
    assert all((after - before).total_seconds() >= 0.2 for before, after in pairwise(begun))
    assert len(other.got) == 3


def test_two_workers_send_once(carla: Person, hook: Webhook, other: Receiver):
    other.answers = [0.3]
    delivery = sent_a_test(hook, carla)
    letters: list[Any] = []

    def work() -> None:
        letters.append(deliveries.claim(delivery.pk))
        deliveries.deliver()
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    (letter,) = [letter for letter in letters if letter]
    deliveries.keep(letter, deliveries.send(letter))
    delivery.refresh_from_db()
    assert (len(other.got), delivery.state, delivery.log.count()) == (1, "delivered", 1)


_RUN = "import django; django.setup(); from trainer.services import deliveries; deliveries.deliver()"


def test_a_worker_killed_between_sending_and_keeping_leads_to_the_same_message_again(
    carla: Person, hook: Webhook, other: Receiver, server_environment: dict[str, str]
):
    delivery = sent_a_test(hook, carla)
    env = {**server_environment, "DJANGO_SETTINGS_MODULE": "flywheel.settings", "WEBHOOK_ORIGINS": other.origin}
    env |= {"FLYWHEEL_CRASH_AT": "webhook.after_send", "SECRET_KEY": os.environ["SECRET_KEY"]}

    done = subprocess.run([sys.executable, "-c", _RUN], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    time.sleep(0.2)  # until the database has noticed
    before = deliveries.deliver()
    Delivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    after = deliveries.deliver()

    delivery.refresh_from_db()
    assert (before, after) == (0, 1)
    assert [got.id for got in other.got] == [delivery.message] * 2
    assert list(delivery.log.values_list("status", flat=True)) == [None, 200]
    assert delivery.state == "delivered"


def test_a_killed_pass_of_news_tells_all_and_nothing_twice(
    carla: Person, hook: Webhook, server_environment: dict[str, str]
):
    from tasks.models import events

    promote(line(carla), carla)
    events.seal()
    env = {**server_environment, "DJANGO_SETTINGS_MODULE": "flywheel.settings"}
    script = _RUN.replace("deliveries", "telling").replace("deliver()", "tell()")

    killed = subprocess.run(
        [sys.executable, "-c", script], env=env | {"FLYWHEEL_CRASH_AT": "news.before_commit"}, check=False
    )

    assert killed.returncode == -signal.SIGKILL
    assert (Delivery.objects.count(), told(), told()) == (0, 1, 0)


def test_a_worker_that_was_given_up_changes_nothing(carla: Person, hook: Webhook, other: Receiver):
    delivery = sent_a_test(hook, carla)
    old = deliveries.claim(delivery.pk)
    Delivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    deliveries.deliver()
    assert old is not None

    deliveries.keep(old, Said(fault="It answered 500.", status=500))

    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempt) == ("delivered", 2)


def test_one_whose_every_try_kills_its_worker_comes_to_an_end(carla: Person, hook: Webhook):
    delivery = sent_a_test(hook, carla)
    for _ in range(TRIES):
        assert deliveries.claim(delivery.pk) is not None
        Delivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))

    assert deliveries.claim(delivery.pk) is None

    delivery.refresh_from_db()
    assert delivery.state == "failed"


def test_a_private_address_is_not_even_connected_to(carla: Person, hook: Webhook, other: Receiver, settings: Any):
    delivery = sent_a_test(hook, carla)
    settings.WEBHOOK_ORIGINS = []
    Webhook.objects.update(url=other.url.replace("http:", "https:"))

    fail(delivery, 1)

    assert (other.got, delivery.state) == ([], "pending")
    assert "not public" in delivery.log.get().fault
    assert "127.0.0.1:" not in delivery.log.get().fault


def test_who_answers_gone_is_switched_off_at_once(carla: Person, hook: Webhook, other: Receiver):
    other.answers = [410]
    delivery = sent_a_test(hook, carla)

    fail(delivery, 1)

    hook.refresh_from_db()
    assert (delivery.state, hook.state, hook.off_because) == (
        "failed",
        "off",
        "It answered 410 Gone: it wants no more news.",
    )


@pytest.mark.parametrize(("days", "state"), [(4.9, "on"), (5.1, "off")])
def test_one_that_failed_for_five_days_is_switched_off_with_a_sentence(
    days: float, state: str, carla: Person, hook: Webhook, other: Receiver
):
    other.answers = [500]
    delivery = sent_a_test(hook, carla)
    fail(delivery, TRIES - 1)
    Webhook.objects.update(failing_since=timezone.now() - timedelta(days=days))

    fail(delivery, 1)

    hook.refresh_from_db()
    assert (hook.state, "5 days in a row" in hook.off_because) == (state, state == "off")


def test_an_arrival_ends_the_row_of_failures(carla: Person, hook: Webhook, other: Receiver):
    other.answers = [500, 200]
    delivery = sent_a_test(hook, carla)
    fail(delivery, 1)
    began = Webhook.objects.get(pk=hook.pk).failing_since

    fail(delivery, 1)

    assert began is not None
    assert Webhook.objects.get(pk=hook.pk).failing_since is None


def test_what_waits_for_one_that_is_switched_off_is_cancelled(carla: Person, hook: Webhook, other: Receiver):
    other.answers = [500]
    delivery = sent_a_test(hook, carla)
    fail(delivery, 1)

    webhooks.switch(hook, False, actor=carla.user)

    fail(delivery, 1)
    assert (delivery.state, len(other.got)) == ("cancelled", 1)


def test_one_that_is_on_its_way_while_it_is_deleted_is_not_tried_again(carla: Person, hook: Webhook, other: Receiver):
    delivery = sent_a_test(hook, carla)
    letter = deliveries.claim(delivery.pk)
    assert letter is not None
    webhooks.delete(hook, actor=carla.user)

    deliveries.keep(letter, Said(fault="It answered 500.", status=500))

    delivery.refresh_from_db()
    assert delivery.state == "cancelled"


def test_another_key_of_the_platform_is_noticed_before_anything_is_sent(
    carla: Person, hook: Webhook, other: Receiver, settings: Any
):
    delivery = sent_a_test(hook, carla)
    settings.SECRET_KEY = "another"

    fail(delivery, 1)

    assert other.got == []
    assert "rotate the secret" in delivery.log.get().fault


@pytest.fixture
def by_mail(carla: Person, settings: Any) -> Webhook:
    settings.EMAIL_HOST = "mail.example"
    return add(carla, "", email="team@example.com")


def test_an_email_has_the_news_as_its_subject_and_the_facts_as_its_text(carla: Person, by_mail: Webhook):
    promote(line(carla), carla)
    told()

    deliveries.deliver()

    (letter,), delivery = mail.outbox, Delivery.objects.get()
    assert (letter.to, letter.subject) == (["team@example.com"], "[Flywheel] carlas/v1 is champion of carlas")
    assert "sentence: It answers better." in letter.body
    assert letter.extra_headers["Message-ID"].startswith(f"<{delivery.message}@")
    assert delivery.state == "delivered"


def test_without_a_mail_server_the_log_says_so_and_the_mail_waits(carla: Person, by_mail: Webhook, settings: Any):
    delivery = sent_a_test(by_mail, carla)
    settings.EMAIL_HOST = ""

    fail(delivery, 1)

    assert (mail.outbox, delivery.state) == ([], "pending")
    assert "SMTP_HOST" in delivery.log.get().fault


def test_a_mail_server_that_is_down_is_tried_again(carla: Person, by_mail: Webhook, settings: Any):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    delivery = sent_a_test(by_mail, carla)

    fail(delivery, 1)

    assert (delivery.state, delivery.log.get().fault) == ("pending", "The mail server did not take it.")
