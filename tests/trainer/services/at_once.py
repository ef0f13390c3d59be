"""Several requests at the same moment."""

import threading
from collections.abc import Callable
from typing import Any

from django.db import connection


def at_once(work: Callable[[], Any], *, times: int) -> list[Any]:
    """What threads with connections of their own come to."""
    barrier, found = threading.Barrier(times), []

    def beat() -> None:
        barrier.wait()
        try:
            found.append(work())
        finally:
            connection.close()

    threads = [threading.Thread(target=beat) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
