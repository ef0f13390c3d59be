"""Many rows at once: COPY instead of INSERT, ten times as fast as bulk_create."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from django.db import connection
from psycopg import sql


def copy_rows(table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Append rows to a table, within the current transaction."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def copy_lines(table: str, columns: Sequence[str], lines: Iterable[bytes]) -> None:
    """The same for rows that are in COPY's text format already, without line breaks: half the time again."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for some in batched(lines, 500):
            copy.write(b"\n".join(some) + b"\n")


def batched(lines: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    rest = iter(lines)
    while some := list(islice(rest, size)):
        yield some


def lock_space(space_id: int) -> None:
    """One writer of keys at a time in a space, so that two uploads at once cannot slip past each other."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_SPACE_LOCK, space_id])


_SPACE_LOCK = 0x73706163
