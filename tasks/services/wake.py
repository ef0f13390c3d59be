"""Wake-ups: messages that are safe to lose. Published after commit; a broker that is down is logged, never raised."""

import logging
from importlib import import_module

from django.db import transaction
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)
EXPIRES_SECONDS = 60  # the sweep sends again what was not taken by then, so messages cannot pile up


def wake(job: str, pk: int | str) -> None:
    """Ask a worker for tasks.jobs.<job>(pk) once this transaction is committed."""
    transaction.on_commit(lambda: _publish(job, pk))


def _publish(job: str, pk: int | str) -> None:
    try:
        getattr(import_module("tasks.jobs"), job).apply_async((pk,), expires=EXPIRES_SECONDS)
    except (OperationalError, OSError):
        logger.warning("the broker did not take a wake-up for %s(%s); the sweep catches up", job, pk)
