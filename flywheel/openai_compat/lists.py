"""Lists of this surface: {object, data, has_more}, with `after`, `limit` and `order`. Cursors survive deleted rows.

A page ends at its limit, or before it where its rows are large: `has_more` says so, and clients ask on by themselves.
"""

from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request

from flywheel.openai_compat import ids
from tasks.errors import Invalid
from tasks.text import json_bytes

PAGE_BYTES = 16 * 2**20  # of what a page shows, but for a first row that is larger by itself
_AT_ONCE = 20  # rows in memory: each may hold megabytes
Shown = Callable[[Any], Mapping[str, Any]]


def page(
    request: Request,
    rows: QuerySet[Any],
    shown: Shown,
    *,
    prefix: str,
    most: int = 100,
    usual: int = 20,
    newest_first: bool = True,
    with_ends: bool = False,
) -> dict[str, Any]:
    """A page by the rows' keys. `prefix`: of the ids; `with_ends`: `first_id` and `last_id` are told too."""
    asked = request.query_params
    limit = limit_of(asked.get("limit"), most=most, usual=usual)
    descending = order_of(asked.get("order"), newest_first=newest_first)
    if after := asked.get("after"):
        key = ids.decode(prefix, after)
        if key is None:
            raise Invalid("invalid_value", f"There is no {after[:80]!r} to list after: give the id of a row.", "after")
        rows = rows.filter(pk__lt=key) if descending else rows.filter(pk__gt=key)
    data, has_more = bounded(rows.order_by("-pk" if descending else "pk"), shown, limit)
    return envelope(data, has_more=has_more, with_ends=with_ends)


def bounded(rows: QuerySet[Any], shown: Shown, limit: int) -> tuple[list[Mapping[str, Any]], bool]:
    """(what a page shows of the rows, whether more follow)."""
    data: list[Mapping[str, Any]] = []
    size = 0
    for row in rows[: limit + 1].iterator(chunk_size=_AT_ONCE):
        if len(data) == limit:
            return data, True
        one = shown(row)
        size += json_bytes(one)
        if data and size > PAGE_BYTES:
            return data, True
        data.append(one)
    return data, False


def envelope(data: list[Any], *, has_more: bool, with_ends: bool = False) -> dict[str, Any]:
    told: dict[str, Any] = {"object": "list", "data": data, "has_more": has_more}
    if with_ends:
        told |= {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return told


def limit_of(given: str | None, *, most: int, usual: int) -> int:
    if given is None:
        return usual
    if not given.isascii() or not given.isdigit() or len(given) > 9 or not 1 <= int(given) <= most:
        raise Invalid("invalid_value", f"limit is a whole number from 1 to {most:,}.", "limit")
    return int(given)


def order_of(given: str | None, *, newest_first: bool = True) -> bool:
    """Whether the list is descending. The original spells the words out for permissions."""
    if given not in (None, "asc", "desc", "ascending", "descending"):
        raise Invalid("invalid_value", "order is asc or desc.", "order")
    return newest_first if given is None else given.startswith("desc")


def metadata_of(request: Request) -> dict[str, str]:
    """The filter `metadata[key]=value`, any number of times."""
    asked = {
        name[len("metadata[") : -1]: str(value)
        for name, value in request.query_params.items()
        if name.startswith("metadata[") and name.endswith("]")
    }
    if any("\0" in text for pair in asked.items() for text in pair):
        raise Invalid("invalid_value", "metadata has a NUL character: leave it out.", "metadata")
    return asked
