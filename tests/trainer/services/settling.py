"""Waiting for the wheel without a worker."""

import time
from collections.abc import Callable

from trainer.services import supervision


def settle(done: Callable[[], bool], seconds: float = 60) -> None:
    """Supervise, pass after pass, until it is done."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "nothing came of it in time"
        supervision.supervise()
        time.sleep(0.05)
