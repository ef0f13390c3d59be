"""Wake-ups: messages that are safe to lose. Published after commit; a broker that is down is logged, never raised."""

import logging
from importlib import import_module

from django.db import transaction
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)
EXPIRES_SECONDS = 60  # beat asks again long before


def supervisor() -> None:
    transaction.on_commit(lambda: _publish("supervise"))


def messenger() -> None:
    transaction.on_commit(lambda: _publish("deliver"))


def eval_run(pk: int) -> None:
    transaction.on_commit(lambda: _publish("run_eval", pk))


def _publish(job: str, *given: int) -> None:
    try:
        getattr(import_module("trainer.jobs"), job).apply_async(given, expires=EXPIRES_SECONDS)
    except (OperationalError, OSError):
        logger.warning("the broker did not take a wake-up; the sweep catches up")
