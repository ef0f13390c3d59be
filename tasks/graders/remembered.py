"""Remembers what was made of a configuration, in bounded memory whatever strangers configure."""

from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import Any, Protocol, TypeVar

SMALL = 4_096  # characters or bytes; most configurations have a few hundred, the largest 256,000
MANY, FEW = 4_096, 32  # of the small ones, of the others: 16 MB and 8 MB of keys


class Sized(Hashable, Protocol):
    def __len__(self) -> int: ...


K = TypeVar("K", bound=Sized)
V = TypeVar("V")


def remembered(make: Callable[[K], V]) -> Callable[[K], V]:
    """lru_cache, counted by size: 4,096 of the largest configurations would be a gigabyte before anything is made."""
    small, large = lru_cache(MANY)(make), lru_cache(FEW)(make)

    @wraps(make)
    def made(given: K) -> V:
        return small(given) if len(given) <= SMALL else large(given)

    return made


def of_the_last(make: Callable[[Any, Any], V]) -> Callable[[Any, Any], V]:
    """Remembers what was made of the last two values, for the completions of one row, which are graded one after the
    other. The values are told by identity and must not be changed."""
    last: tuple[Any, Any, V] | None = None

    @wraps(make)
    def made(config: Any, item: Any) -> V:
        nonlocal last
        held = last  # one look: another thread may be here as well
        if held is None or held[0] is not config or held[1] is not item:
            held = last = (config, item, make(config, item))
        return held[2]

    return made
