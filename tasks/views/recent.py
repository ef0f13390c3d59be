"""Counts of what grows by the million: as of now where counting is quick, as of a moment ago where it is not.

Postgres counts by looking at every entry, and at the tasks too while an import adds them. A page that waits for that
would be slow just when people look most often. So what took long is shown again until it has been worth its cost: at
most a fiftieth of the time goes into counting, and small installations always see the newest figure.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple, TypeVar

QUICK_SECONDS = 0.2  # what takes no longer is never kept
SHOWN_FOR = 50  # times as long as it took
MOST_KEPT = 1000

V = TypeVar("V")


class _Held(NamedTuple):
    value: Any
    until: float


_held: OrderedDict[Hashable, _Held] = OrderedDict()
_lock = Lock()


def recent(key: Hashable, count: Callable[[], V]) -> V:
    """What `count` answers, or answered lately in this process. The key names the question and whom it is asked for."""
    with _lock:
        held = _held.get(key)
    if held is not None and monotonic() < held.until:
        value: V = held.value
        return value
    started = monotonic()
    value = count()
    now = monotonic()
    with _lock:
        _held.pop(key, None)
        if now - started > QUICK_SECONDS:
            _held[key] = _Held(value, now + SHOWN_FOR * (now - started))
            while len(_held) > MOST_KEPT:
                _held.popitem(last=False)
    return value
