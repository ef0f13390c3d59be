"""Wake-ups: messages that are safe to lose. Published after commit; a broker that is down is logged, never raised."""

import logging

from django.db import transaction
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)


def supervisor() -> None:
    transaction.on_commit(_publish)


def _publish() -> None:
    from trainer.jobs import supervise

    try:
        supervise.delay()
    except (OperationalError, OSError):
        logger.warning("the broker did not take a wake-up; the sweep catches up")
