"""Remembering the reply to a POST, so that a client may repeat it safely."""

from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from tasks.errors import FlywheelError
from tasks.models import Team, User
from tasks.models.idempotency import IdempotencyRecord

KEPT = timedelta(days=2)


class KeyReusedError(FlywheelError):
    status = 422


def claim(user: User, team: Team | None, key: str, fingerprint: str) -> IdempotencyRecord:
    """The record of this key, new (status 0) or answered before. Call inside the transaction of the verb.

    INSERT … ON CONFLICT DO NOTHING waits for a request with the same key that is still under way, so the second one
    reads the first one's reply, or does the work itself if the first was rolled back.
    """
    assert connection.in_atomic_block
    fresh = IdempotencyRecord(user=user, team=team, key=key, fingerprint=fingerprint)
    IdempotencyRecord.objects.bulk_create([fresh], ignore_conflicts=True)
    record = IdempotencyRecord.objects.select_for_update().get(user=user, team=team, key=key)
    if record.fingerprint != fingerprint:
        raise KeyReusedError(
            "idempotency_key_reused",
            "This Idempotency-Key came with another request before: use a new key for a new request.",
            "Idempotency-Key",
        )
    return record


def remember(record: IdempotencyRecord, status: int, body: Any) -> None:
    IdempotencyRecord.objects.filter(pk=record.pk).update(status=status, body=body)


def latest(user: User, team: Team | None, key: str, *, within: timedelta) -> IdempotencyRecord | None:
    """The reply that was kept last under the key. Until the end of the transaction nobody else gets past this line with
    it: who comes meanwhile reads the reply that is kept now."""
    assert connection.in_atomic_block
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [key, user.pk])
    kept = IdempotencyRecord.objects.filter(user=user, team=team, key=key, created_at__gt=timezone.now() - within)
    return kept.first()


def replace(user: User, team: Team | None, key: str, fingerprint: str, status: int, body: Any) -> None:
    """Keep this reply under the key, in place of an older one."""
    IdempotencyRecord.objects.filter(user=user, team=team, key=key).delete()
    fresh = IdempotencyRecord(user=user, team=team, key=key, fingerprint=fingerprint, status=status, body=body)
    fresh.save(force_insert=True)


def forget(user: User, team: Team | None, key: str) -> None:
    IdempotencyRecord.objects.filter(user=user, team=team, key=key).delete()


def forget_old() -> int:
    """Drop replies that nobody will ask for again."""
    return IdempotencyRecord.objects.filter(created_at__lt=timezone.now() - KEPT).delete()[0]
