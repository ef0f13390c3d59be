"""Claims on long work: a lease that is renewed with every chunk, and an attempt number that fences late writers.

Whoever claims gets a new attempt number; every write of the work says `WHERE id AND attempt`. A worker that was
stopped past its lease finds zero rows, raises FencedOff, rolls its chunk back and walks away.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from threading import Event as Signal
from threading import Thread
from time import monotonic
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from tasks.models.events import Subject, record

STEP_SECONDS = 900.0


class FencedOff(Exception):
    """Another worker has claimed this work."""


def expiry() -> datetime:
    return timezone.now() + timedelta(seconds=settings.IMPORT_LEASE_SECONDS)


def due(model: Any, waiting: StrEnum, working: StrEnum) -> Any:
    """Rows that a worker may claim: not begun, or begun by one whose lease has run out."""
    return model.objects.filter(Q(state=waiting) | Q(state=working, lease_until__lt=timezone.now()))


@transaction.atomic
def claim(model: Any, pk: int, waiting: StrEnum, working: StrEnum) -> int | None:
    """The attempt number if the work is ours now; None where somebody has it, it is done, or it is poisoned."""
    now = timezone.now()
    claimed = (
        due(model, waiting, working)
        .filter(pk=pk, tries__lt=settings.IMPORT_ATTEMPTS)
        .update(
            state=working,
            attempt=F("attempt") + 1,
            tries=F("tries") + 1,
            lease_until=expiry(),
            started_at=Coalesce("started_at", now),
        )
    )
    if not claimed:
        return None
    row = model.objects.get(pk=pk)
    name = str(model._meta.model_name)
    data = {"new": working, "attempt": row.attempt}
    record(f"{name}.{working}", subject=Subject(name, str(pk)), team=row.owner_team_id, data=data)
    return int(row.attempt)


def poisoned(model: Any, waiting: StrEnum, working: StrEnum) -> Any:
    """Rows whose last attempts all died without committing a chunk."""
    return due(model, waiting, working).filter(tries__gte=settings.IMPORT_ATTEMPTS)


def hold(model: Any, pk: int, attempt: int, working: StrEnum) -> Any:
    """Lock the row for this transaction, if the work is still ours."""
    row = model.objects.select_for_update().filter(pk=pk, attempt=attempt, state=working).first()
    if row is None:
        raise FencedOff
    return row


def keep(model: Any, pk: int, attempt: int, working: StrEnum, **changes: Any) -> None:
    """Write progress and renew the lease, if the work is still ours."""
    rows = model.objects.filter(pk=pk, attempt=attempt, state=working)
    if not rows.update(lease_until=expiry(), tries=0, **changes):
        raise FencedOff


@contextmanager
def kept_alive(model: Any, pk: int, attempt: int, working: StrEnum) -> Iterator[None]:
    """Renew the lease while this process is at one long step (a grader that takes its time), for STEP_SECONDS at most:
    a step that hangs is left to the next worker. It counts as no progress: one that kills its worker, or hangs, is
    still tried three times only."""
    over = Signal()
    rows = model.objects.filter(pk=pk, attempt=attempt, state=working)
    thread = Thread(target=_renew, args=(rows, over), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _renew(rows: Any, over: Signal) -> None:
    until = monotonic() + STEP_SECONDS
    try:
        while not over.wait(settings.IMPORT_LEASE_SECONDS / 3) and monotonic() < until:
            rows.all().update(lease_until=expiry())
    finally:
        connection.close()
