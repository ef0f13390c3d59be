"""Sending: what is due is claimed, sent at most a few at a time, and its try is kept.

A pass holds one job of the worker, whatever is slow: a webhook that hangs costs its thread ten seconds, the others go
on. A claim is a conditional UPDATE with a lease and a new attempt; the try is written before it is sent. So a worker
that is killed in between leaves a try without an end, and the same message goes out again when the lease is over.
"""

import smtplib
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from tasks import wire
from tasks.crash import crash_point
from tasks.models.events import Subject, record
from tasks.posting import post
from tasks.wire import Limits, WireError
from trainer import news, signing
from trainer.models import Delivery, DeliveryTry, Webhook
from trainer.services import rows
from trainer.services.engine_work import alone
from trainer.states import DeliveryState

GAPS = (10, 60, 300, 1800, 7200, 21_600, 57_600)  # seconds between two tries: eight within about a day
TRIES = len(GAPS) + 1
LEASE_SECONDS = 120  # a mail server may take its ten seconds at each of several steps
LIMITS = Limits(connect_seconds=5, silence_seconds=10, total_seconds=10, request_bytes=2**18, reply_bytes=500)
AT_ONCE = 8
PASS_SECONDS = 20.0  # behind which nothing new is begun: the worker has other jobs
GONE = 410
MESSENGER_LOCK = 0x464C574D


@dataclass(frozen=True, slots=True)
class Letter:
    """All that a thread needs: it sees no row."""

    delivery: int
    hook: int
    attempt: int
    message: str
    body: str
    url: str
    email: str
    secrets: tuple[str, ...]
    fault: str = ""  # why it cannot even be tried


@dataclass(frozen=True, slots=True)
class Said:
    """What came of a try. No fault: it has arrived."""

    milliseconds: int = 0
    status: int | None = None
    reply: str = ""
    fault: str = ""
    wait_seconds: float = 0


def origins() -> frozenset[str]:
    """Where an operator lets webhooks go though it is private or plain http."""
    return frozenset(wire.origin_of(origin) for origin in settings.WEBHOOK_ORIGINS)


def deliver() -> int:
    """Send what is due; how many were tried. One pass at a time: a second one walks away."""
    with alone(MESSENGER_LOCK) as mine:
        return _pass() if mine else 0


def _pass() -> int:
    until, tried = time.monotonic() + PASS_SECONDS, 0
    flying: dict[Future[Said], Letter] = {}
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook") as crew:
        while True:
            if time.monotonic() < until:
                busy = {letter.hook for letter in flying.values()}
                for letter in _letters(busy, AT_ONCE - len(flying)):
                    flying[crew.submit(send, letter)] = letter
            if not flying:
                return tried
            for future in wait(flying, timeout=0.5, return_when=FIRST_COMPLETED).done:
                keep(flying.pop(future), future.result())
                tried += 1


def _letters(busy: set[int], room: int) -> Iterator[Letter]:
    """Claimed ones. One of a webhook at a time, the oldest first: what is slow delays nobody but itself."""
    oldest = due().exclude(hook__in=busy).order_by("hook_id", "due_at", "pk").distinct("hook_id").values("pk")
    for pk in list(Delivery.objects.filter(pk__in=oldest).order_by("due_at").values_list("pk", flat=True)[:room]):
        if letter := claim(pk):
            yield letter


def due() -> Any:
    """What waits for its try, and what a worker was lost with."""
    now = timezone.now()
    waits = Q(state=DeliveryState.PENDING, due_at__lte=now, hook__enabled=True, hook__deleted_at=None)
    return Delivery.objects.filter(waits | Q(state=DeliveryState.SENDING, lease_until__lt=now))


@transaction.atomic
def claim(pk: int) -> Letter | None:
    """The delivery is ours to send now, and its try is written. None: another has it, or its tries are spent."""
    now = timezone.now()
    free = Q(state=DeliveryState.PENDING, due_at__lte=now) | Q(state=DeliveryState.SENDING, lease_until__lt=now)
    lease = now + timedelta(seconds=LEASE_SECONDS)
    changes = {"state": DeliveryState.SENDING, "lease_until": lease, "attempt": F("attempt") + 1}
    if not Delivery.objects.filter(free, pk=pk).update(tries=F("tries") + 1, **changes):
        return None
    delivery = Delivery.objects.select_related("hook").get(pk=pk)
    if delivery.tries > TRIES or not delivery.hook.sends:
        _end(delivery, DeliveryState.FAILED if delivery.hook.sends else DeliveryState.CANCELLED)
        return None
    DeliveryTry.objects.create(delivery=delivery, number=delivery.attempt)
    return _letter(delivery, now)


def _letter(delivery: Delivery, now: datetime) -> Letter:
    hook = delivery.hook
    secrets = secrets_of(hook, now)
    known = not secrets or signing.fingerprint(secrets[0]) == hook.fingerprint
    return Letter(
        delivery=delivery.pk,
        hook=hook.pk,
        attempt=delivery.attempt,
        message=delivery.message,
        body=delivery.body,
        url=hook.url,
        email=hook.email,
        secrets=secrets,
        fault="" if known else "SECRET_KEY of the platform has changed, and this secret with it: rotate the secret.",
    )


def secrets_of(hook: Webhook, now: datetime) -> tuple[str, ...]:
    """The newest first; the one before for as long as it is valid."""
    salts = [hook.salt, hook.old_salt if hook.old_until and hook.old_until > now else ""]
    return tuple(signing.secret_of(settings.SECRET_KEY, salt) for salt in salts if salt)


def send(letter: Letter) -> Said:
    """Without the database, in a thread. Whatever happens is a value."""
    began = time.monotonic()
    if letter.fault:
        return Said(fault=letter.fault)
    try:
        status, reply, fault, pause = _post(letter) if letter.url else _mail(letter)
    except WireError as broken:
        status, reply, fault, pause = None, "", sentence_of(broken), 0.0
    except (smtplib.SMTPResponseException, OSError) as broken:
        status = getattr(broken, "smtp_code", None)
        reply, fault, pause = str(broken)[:500], "The mail server did not take it.", 0.0
    except Exception as bug:  # a bug in one letter must not keep the others
        status, reply, fault, pause = None, "", f"It could not be sent ({type(bug).__name__}).", 0.0
    return Said(round(1000 * (time.monotonic() - began)), status, rows.storable(reply)[:500], fault[:300], pause)


def _post(letter: Letter) -> tuple[int | None, str, str, float]:
    headers = signing.headers(letter.message, int(time.time()), letter.body, letter.secrets)
    answer = post(letter.url, letter.body.encode(), headers, allowed_origins=origins(), limits=LIMITS)
    crash_point("webhook.after_send")
    fault = "" if 200 <= answer.status < 300 else f"It answered {answer.status}."
    if 300 <= answer.status < 400:
        fault = f"It answered {answer.status}, a redirect, which is never followed: give the final address."
    return answer.status, answer.text, fault, min(answer.retry_after_seconds or 0.0, GAPS[-1])


def _mail(letter: Letter) -> tuple[int | None, str, str, float]:
    if not settings.EMAIL_HOST:
        return None, "", NO_MAIL, 0.0
    subject, text = news.mail(letter.body)
    headers = {"Message-ID": f"<{letter.message}@{settings.DEFAULT_FROM_EMAIL.partition('@')[2]}>"}
    EmailMessage(subject, text, to=[letter.email], headers=headers).send()
    return None, "", "", 0.0


NO_MAIL = "E-mail is off: nobody has set SMTP_HOST, the server that sends it."


def sentence_of(broken: WireError) -> str:
    """Where an inner name leads is nobody's business."""
    if broken.code == "address_refused":
        return "The address is not public: an operator of the platform allows such origins in WEBHOOK_ORIGINS."
    return broken.sentence


@transaction.atomic
def keep(letter: Letter, said: Said) -> None:
    """The end of the try, and what follows from it. A worker that was given up meanwhile moves nothing."""
    DeliveryTry.objects.filter(delivery=letter.delivery, number=letter.attempt).update(
        milliseconds=said.milliseconds, status=said.status, reply=said.reply, fault=said.fault
    )
    hook = Webhook.objects.select_for_update().get(pk=letter.hook)
    delivery = Delivery.objects.select_related("hook").get(pk=letter.delivery)
    if delivery.state != DeliveryState.SENDING or delivery.attempt != letter.attempt:
        return
    if not said.fault:
        _end(delivery, DeliveryState.DELIVERED)
        Webhook.objects.filter(pk=hook.pk).update(failing_since=None)
        return
    if not hook.sends:
        _end(delivery, DeliveryState.CANCELLED)
        return
    failing_since = hook.failing_since or timezone.now()
    Webhook.objects.filter(pk=hook.pk).update(failing_since=failing_since)
    if said.status == GONE or delivery.tries >= TRIES:
        _end(delivery, DeliveryState.FAILED)
        _switch_off_if_hopeless(hook, said, failing_since)
    else:
        _put_back(delivery, max(GAPS[delivery.tries - 1], said.wait_seconds))


def _put_back(delivery: Delivery, seconds: float) -> None:
    """No event: the tries are the log of it."""
    due_at = timezone.now() + timedelta(seconds=seconds)
    sending = Delivery.objects.filter(pk=delivery.pk, state=DeliveryState.SENDING, attempt=delivery.attempt)
    sending.update(state=DeliveryState.PENDING, due_at=due_at, lease_until=None)


def _end(delivery: Delivery, state: DeliveryState) -> None:
    Delivery.objects.advance(
        delivery.pk,
        DeliveryState.SENDING,
        state,
        attempt=delivery.attempt,
        data={"tries": delivery.tries},
        lease_until=None,
        finished_at=timezone.now(),
    )


def _switch_off_if_hopeless(hook: Webhook, said: Said, failing_since: datetime) -> None:
    days = settings.WEBHOOK_OFF_DAYS
    if said.status == GONE:
        switch_off(hook, actor=None, because="It answered 410 Gone: it wants no more news.")
    elif days and timezone.now() - failing_since >= timedelta(days=days):
        switch_off(hook, actor=None, because=f"Nothing arrived for {days} days in a row; the last try: {said.fault}")


def switch_off(hook: Webhook, *, actor: Any, because: str) -> None:
    data = {"name": hook.name, "reason": because, "cancelled": stop(hook, actor=actor, because=because)}
    record("webhook.off", subject=Subject("webhook", str(hook.pk)), team=hook.team_id, actor=actor, data=data)


def stop(hook: Webhook, *, actor: Any, because: str) -> int:
    """What waits is cancelled: news of last week would surprise whoever switches it on again."""
    Webhook.objects.filter(pk=hook.pk).update(enabled=False, off_because=because[:300])
    waiting = hook.deliveries.filter(state=DeliveryState.PENDING).values_list("pk", flat=True)
    return len(
        Delivery.objects.advance_many(
            list(waiting),
            DeliveryState.PENDING,
            DeliveryState.CANCELLED,
            team=hook.team_id,
            actor=actor,
            finished_at=timezone.now(),
        )
    )
