"""What operators do with webhooks, and what is refused."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as configured
from django.utils import timezone

from tasks.errors import Conflict, FlywheelError, Forbidden, Invalid
from tasks.models import Event, User
from tasks.services import accounts
from tasks.states import Role
from tests import cast
from tests.cast import Person
from tests.trainer.services.hooked import add, line
from trainer import signing
from trainer.models import Delivery, Webhook
from trainer.services import deliveries, webhooks

pytestmark = pytest.mark.django_db
ADDRESS = "https://192.0.43.8/news"


@pytest.fixture
def carla() -> Person:
    return cast.of_own_team("carla")


@pytest.fixture
def hook(carla: Person) -> Webhook:
    return add(carla, ADDRESS)


def refused(carla: Person, **given: Any) -> FlywheelError:
    with pytest.raises(FlywheelError) as caught:
        add(carla, **{"url": ADDRESS, **given})
    return caught.value


def ended(delivery: Delivery, state: str) -> Delivery:
    Delivery.objects.filter(pk=delivery.pk).update(state=state, tries=8)
    delivery.refresh_from_db()
    return delivery


def test_the_secret_is_told_once_and_stored_nowhere(carla: Person):
    hook, secret = webhooks.create(carla.team, actor=carla.user, name="Chat", url=ADDRESS, types=["run.failed"])

    row = str(Webhook.objects.filter(pk=hook.pk).values().get())
    assert deliveries.secrets_of(hook, timezone.now()) == (secret,)
    assert secret.removeprefix(signing.PREFIX) not in row


def test_the_log_of_events_never_holds_the_address(hook: Webhook):
    event = Event.objects.get(kind="webhook.created")

    assert "192.0.43.8" not in str(event.data)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"url": "http://192.0.43.8/news"}, "not_https"),
        ({"url": "https://127.0.0.1/news"}, "address_refused"),
        ({"url": "https://10.1.2.3/news"}, "address_refused"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "address_refused"),
        ({"url": "ftp://192.0.43.8/"}, "bad_address"),
        ({"url": "https://user:word@192.0.43.8/"}, "bad_address"),
        ({"url": "https://192.0.43.8/" + "x" * 500}, "bad_address"),
        ({"url": "https://192.0.43.8/a b"}, "bad_address"),
        ({"url": "https://192.0.43.8/\r\nX: y"}, "bad_address"),
        ({"url": ""}, "one_target"),
        ({"email": "team@example.com"}, "one_target"),
        ({"url": "", "email": "nobody"}, "bad_email"),
        ({"url": "", "email": "a@example.com, b@example.com"}, "bad_email"),
        ({"name": " "}, "bad_name"),
        ({"types": []}, "no_type"),
        ({"types": ["run.started"]}, "unknown_type"),
        ({"types": ["webhook.test"]}, "unknown_type"),
    ],
)
def test_what_cannot_be_right_is_refused(carla: Person, given: dict[str, Any], code: str):
    error = refused(carla, **given)

    assert (type(error), error.code, Webhook.objects.count()) == (Invalid, code, 0)


def test_where_an_inner_name_leads_is_not_told(carla: Person):
    assert "10.1.2.3" not in refused(carla, url="https://10.1.2.3/news").sentence


def test_an_origin_that_the_platform_allows_may_be_private(carla: Person, settings: Any):
    settings.WEBHOOK_ORIGINS = ["http://chat.internal:8065"]

    assert add(carla, "http://chat.internal:8065/hooks/x").url == "http://chat.internal:8065/hooks/x"


def test_another_teams_line_is_refused(carla: Person):
    other = line(cast.of_own_team("sven"), "svens")

    assert refused(carla, line=other).code == "other_line"


def test_a_team_has_no_more_than_twenty(carla: Person, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(webhooks, "MOST", 1)
    webhooks.delete(add(carla, ADDRESS), actor=carla.user)
    add(carla, ADDRESS)

    assert refused(carla).code == "too_many_webhooks"


@pytest.mark.parametrize("role", [Role.CONTRIBUTOR, Role.REVIEWER])
def test_only_operators_of_the_team_have_webhooks(carla: Person, role: Role):
    user = User.objects.create_user("olga")
    accounts.join(carla.team, user, role, actor=None)

    with pytest.raises(Forbidden):
        webhooks.create(carla.team, actor=user, name="Chat", url=ADDRESS, types=["run.failed"])


@pytest.mark.parametrize("role", [None, Role.CONTRIBUTOR, Role.REVIEWER])
def test_nobody_else_sees_them(carla: Person, hook: Webhook, role: Role | None):
    user = User.objects.create_user("olga")
    if role:
        accounts.join(carla.team, user, role, actor=None)
    webhooks.send_test(hook, actor=carla.user)

    assert (list(Webhook.objects.for_user(user)), list(Delivery.objects.for_user(user))) == ([], [])


def test_old_and_new_secret_both_sign_for_a_day(carla: Person, hook: Webhook):
    (old,) = deliveries.secrets_of(hook, timezone.now())

    new = webhooks.rotate(hook, actor=carla.user)

    hook.refresh_from_db()
    assert deliveries.secrets_of(hook, timezone.now()) == (new, old)
    assert deliveries.secrets_of(hook, timezone.now() + timedelta(hours=24, seconds=1)) == (new,)


def test_after_a_second_rotation_the_first_secret_signs_no_more(carla: Person, hook: Webhook):
    (first,) = deliveries.secrets_of(hook, timezone.now())
    webhooks.rotate(hook, actor=carla.user)
    webhooks.rotate(hook, actor=carla.user)

    hook.refresh_from_db()
    assert first not in deliveries.secrets_of(hook, timezone.now())


def test_email_has_no_secret_to_rotate(carla: Person):
    with pytest.raises(Conflict, match="not signed"):
        webhooks.rotate(add(carla, "", email="team@example.com"), actor=carla.user)


def test_a_change_keeps_what_it_does_not_name(carla: Person, hook: Webhook):
    webhooks.change(hook, actor=carla.user, types=["gate.decided", "run.failed"])

    hook.refresh_from_db()
    assert (hook.name, hook.types, hook.url) == ("Chat", ["run.failed", "gate.decided"], ADDRESS)


def test_another_address_is_another_webhook(carla: Person, hook: Webhook):
    with pytest.raises(Invalid, match="cannot be changed"):
        webhooks.change(hook, actor=carla.user, url="https://192.0.43.8/else")


def test_what_is_off_sends_no_test(carla: Person, hook: Webhook):
    webhooks.switch(hook, False, actor=carla.user)

    with pytest.raises(Conflict, match="switch it on"):
        webhooks.send_test(hook, actor=carla.user)


def test_one_test_at_a_time(carla: Person, hook: Webhook):
    webhooks.send_test(hook, actor=carla.user)

    with pytest.raises(Conflict, match="under way"):
        webhooks.send_test(hook, actor=carla.user)


@pytest.mark.parametrize("state", ["delivered", "failed", "cancelled"])
def test_what_has_ended_is_sent_again_under_its_id_with_tries_as_in_the_beginning(
    carla: Person, hook: Webhook, state: str
):
    delivery = ended(webhooks.send_test(hook, actor=carla.user), state)

    again = webhooks.send_again(delivery, actor=carla.user)

    assert (again.message, again.body, again.state, again.tries) == (delivery.message, delivery.body, "pending", 0)


@pytest.mark.parametrize("state", ["pending", "sending"])
def test_what_is_under_way_is_not_sent_again(carla: Person, hook: Webhook, state: str):
    delivery = ended(webhooks.send_test(hook, actor=carla.user), state)

    with pytest.raises(Conflict, match="under way"):
        webhooks.send_again(delivery, actor=carla.user)


def test_what_is_deleted_keeps_its_log_and_does_nothing_more(carla: Person, hook: Webhook):
    delivery = ended(webhooks.send_test(hook, actor=carla.user), "delivered")

    webhooks.delete(hook, actor=carla.user)

    with pytest.raises(Conflict, match="only its log is left"):
        webhooks.send_again(delivery, actor=carla.user)
    assert list(Delivery.objects.for_user(carla.user)) == [delivery]


def test_switched_on_again_it_begins_anew(carla: Person, hook: Webhook):
    deliveries.switch_off(hook, actor=None, because="Nothing arrived for 5 days in a row.")
    Webhook.objects.update(failing_since=timezone.now())

    webhooks.switch(hook, True, actor=carla.user)

    hook.refresh_from_db()
    assert (hook.enabled, hook.off_because, hook.failing_since) == (True, "", None)


def test_every_verb_leaves_one_event(carla: Person, hook: Webhook):
    webhooks.change(hook, actor=carla.user, name="Chat room")
    webhooks.rotate(hook, actor=carla.user)
    webhooks.switch(hook, False, actor=carla.user)
    webhooks.switch(hook, True, actor=carla.user)
    webhooks.send_test(hook, actor=carla.user)

    kinds = list(Event.objects.filter(subject_type="webhook").order_by("pk").values_list("kind", flat=True))
    assert kinds == [f"webhook.{verb}" for verb in ("created", "changed", "rotated", "off", "on", "tested")]


def test_without_a_mail_server_the_reason_is_told(settings: Any):
    off = webhooks.mail_is_off()
    settings.EMAIL_HOST = "mail.example"

    assert ("SMTP_HOST" in off, webhooks.mail_is_off()) == (True, "")
    assert configured.EMAIL_TIMEOUT == 10
