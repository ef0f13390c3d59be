"""The database connection of a request that waits for something else. A process has few of them, and many threads."""

from collections.abc import Iterable, Iterator

from django.db import connection


def let_go() -> None:
    """Back to the pool until the next query; within a transaction it stays. Not where a lock of the session is held."""
    if not connection.in_atomic_block:
        connection.close()


def without(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A body that goes as fast as its reader is."""
    let_go()
    yield from pieces
