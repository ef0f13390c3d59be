"""What an operator of a team does with its webhooks: add, change, rotate the secret, switch, delete, test, send
again."""

import secrets
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from tasks import wire
from tasks.errors import Conflict, Invalid
from tasks.models import Team
from tasks.models.events import Subject, record
from tasks.services.access import require_role
from tasks.states import Role
from tasks.wire import WireError
from trainer import news, signing
from trainer.models import Delivery, Line, Webhook
from trainer.news import CHOICES, News
from trainer.services import deliveries, wake
from trainer.states import DELIVERY_ENDED, DeliveryState, LinePurpose

MOST = 20  # of a team
OVERLAP = timedelta(hours=24)  # in which the secret before signs as well


@transaction.atomic
def create(
    team: Team,
    *,
    actor: Any,
    name: str,
    url: str = "",
    email: str = "",
    types: Iterable[str] = (),
    line: Line | None = None,
) -> tuple[Webhook, str]:
    """The webhook and its secret, which is told this once. One of e-mail has none."""
    require_role(actor, team, Role.OPERATOR)
    Team.objects.select_for_update().get(pk=team.pk)
    if Webhook.objects.filter(team=team, deleted_at=None).count() >= MOST:
        raise Conflict("too_many_webhooks", f"{team.name} has {MOST} webhooks: delete one that nobody needs.")
    hook = Webhook(team=team, name=_name(name), types=_types(types), line=_line(team, line), created_by=actor)
    hook.url, hook.email = _target(url.strip(), email.strip())
    secret = _new_secret(hook) if hook.url else ""
    hook.save()
    _tell("created", hook, actor, types=hook.types)
    return hook, secret


@transaction.atomic
def change(hook: Webhook, *, actor: Any, **changes: Any) -> Webhook:
    """Its name, kinds of news and line. Another address is another webhook: it gets a secret and a log of its own."""
    require_role(actor, hook.team, Role.OPERATOR)
    hook = _held(hook)
    checked: dict[str, Callable[[Any], Any]] = {
        "name": _name,
        "types": _types,
        "line": lambda line: _line(hook.team, line),
    }
    if unknown := set(changes) - set(checked):
        raise Invalid("unknown_field", f"Of a webhook {', '.join(sorted(unknown))} cannot be changed.", min(unknown))
    for name, value in changes.items():
        setattr(hook, name, checked[name](value))
    hook.save(update_fields=[*changes] or None)
    _tell("changed", hook, actor, types=hook.types)
    return hook


@transaction.atomic
def rotate(hook: Webhook, *, actor: Any) -> str:
    """A new secret, told this once. For a day the one before signs beside it; one that is older yet signs no more."""
    require_role(actor, hook.team, Role.OPERATOR)
    hook = _held(hook)
    if not hook.url:
        raise Conflict("no_secret", "E-mail is not signed: there is no secret to rotate.")
    hook.old_salt, hook.old_until = hook.salt, timezone.now() + OVERLAP
    secret = _new_secret(hook)
    hook.save(update_fields=["salt", "fingerprint", "old_salt", "old_until"])
    _tell("rotated", hook, actor)
    return secret


@transaction.atomic
def switch(hook: Webhook, on: bool, *, actor: Any) -> None:
    """Off cancels what waits, and what happens meanwhile is not told later. On begins anew."""
    require_role(actor, hook.team, Role.OPERATOR)
    hook = _held(hook)
    if hook.enabled == on:
        return
    if not on:
        deliveries.switch_off(hook, actor=actor, because=f"{actor or 'The platform'} switched it off.")
        Webhook.objects.filter(pk=hook.pk).update(failing_since=None)  # somebody has seen to it
        return
    Webhook.objects.filter(pk=hook.pk).update(enabled=True, off_because="", failing_since=None)
    _tell("on", hook, actor)


@transaction.atomic
def delete(hook: Webhook, *, actor: Any) -> None:
    """For good. The log of what was sent stays."""
    require_role(actor, hook.team, Role.OPERATOR)
    hook = _held(hook)
    cancelled = deliveries.stop(hook, actor=actor, because=f"{actor or 'The platform'} deleted it.")
    Webhook.objects.filter(pk=hook.pk).update(deleted_at=timezone.now())
    _tell("deleted", hook, actor, cancelled=cancelled)


@transaction.atomic
def send_test(hook: Webhook, *, actor: Any) -> Delivery:
    """A message like any other, except that nothing has happened."""
    require_role(actor, hook.team, Role.OPERATOR)
    hook = _sending(_held(hook))
    under_way = hook.deliveries.filter(type=News.TEST).exclude(state__in=DELIVERY_ENDED)
    if under_way.exists():
        raise Conflict("test_under_way", "A test of this webhook is still under way: wait for its end.")
    now = timezone.now()
    told = {"webhook": hook.name, "by": str(actor), "sentence": "Nothing has happened: this is a test."}
    body = news.body(News.TEST, now.isoformat(), {**told, "page": f"{settings.PORTAL_URL}/ops/webhooks/{hook.pk}"})
    delivery = Delivery.objects.create(hook=hook, type=News.TEST, body=body, due_at=now)
    _tell("tested", hook, actor, delivery=delivery.pk)
    wake.messenger()
    return delivery


@transaction.atomic
def send_again(delivery: Delivery, *, actor: Any) -> Delivery:
    """The same message under the same id, with tries as in the beginning."""
    require_role(actor, delivery.hook.team, Role.OPERATOR)
    _sending(_held(delivery.hook))
    changes: dict[str, Any] = {"tries": 0, "due_at": timezone.now(), "finished_at": None}
    old = DeliveryState(delivery.state)
    if old not in DELIVERY_ENDED or not Delivery.objects.advance(
        delivery.pk, old, DeliveryState.PENDING, actor=actor, **changes
    ):
        raise Conflict("under_way", "This delivery is under way: wait for its end.")
    wake.messenger()
    delivery.refresh_from_db()
    return delivery


def mail_is_off() -> str:
    """Why no e-mail leaves, in a sentence; nothing where it does."""
    return "" if settings.EMAIL_HOST else deliveries.NO_MAIL


def _held(hook: Webhook) -> Webhook:
    """The row as it is now, locked; what was deleted is done with."""
    held = Webhook.objects.select_for_update(of=("self",)).select_related("team", "line").get(pk=hook.pk)
    if held.deleted_at is not None:
        raise Conflict("webhook_deleted", f"{held.name} is deleted: only its log is left. Add a new one.")
    return held


def _sending(hook: Webhook) -> Webhook:
    if not hook.enabled:
        raise Conflict("webhook_off", f"{hook.name} is off: switch it on first.")
    return hook


def _new_secret(hook: Webhook) -> str:
    hook.salt = secrets.token_hex(16)
    secret = signing.secret_of(settings.SECRET_KEY, hook.salt)
    hook.fingerprint = signing.fingerprint(secret)
    return secret


def _name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > 80:
        raise Invalid("bad_name", "A webhook needs a name of 1 to 80 characters.", "name")
    return name


def _types(types: Iterable[str]) -> list[str]:
    wanted = set(types)
    if unknown := wanted - set(CHOICES):
        raise Invalid("unknown_type", f"{min(unknown)} is no kind of news: choose of {', '.join(CHOICES)}.", "types")
    if not wanted:
        raise Invalid("no_type", f"Say of what to tell: one or more of {', '.join(CHOICES)}.", "types")
    return [news.value for news in CHOICES if news in wanted]


def _line(team: Team, line: Line | None) -> Line | None:
    if line is not None and line.team_id != team.pk:
        whose = " A shared line's news go to the team that owns it." if line.purpose == LinePurpose.SHARED else ""
        raise Invalid("other_line", f"{line.name} is not a line of {team.name}.{whose}", "line")
    return line


def _target(url: str, email: str) -> tuple[str, str]:
    if bool(url) == bool(email):
        raise Invalid("one_target", "Give one of the two: an address to post to, or one of e-mail.", "url")
    if email:
        try:
            validate_email(email)
        except ValidationError:
            raise Invalid("bad_email", f"{email[:80]} is no e-mail address.", "email") from None
        return "", email
    _check_url(url)
    return url, ""


def _check_url(url: str) -> None:
    if len(url) > 500 or not url.isascii() or not url.isprintable() or " " in url:
        raise Invalid("bad_address", "An address is up to 500 printable ASCII characters without blanks.", "url")
    try:
        wire.check(url, deliveries.origins())
    except WireError as refused:
        raise Invalid(refused.code, deliveries.sentence_of(refused), "url") from None
    if "@" in urlsplit(url).netloc:
        raise Invalid("bad_address", "Leave user and password out of the address: the signature says who it is.", "url")


def _tell(verb: str, hook: Webhook, actor: Any, **data: Any) -> None:
    """Never the address: everybody in the team may read the log."""
    subject = Subject("webhook", str(hook.pk))
    record(f"webhook.{verb}", subject=subject, team=hook.team_id, actor=actor, data={"name": hook.name, **data})
