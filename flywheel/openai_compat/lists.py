"""Lists of this surface: {object, data, has_more}, with `after`, `limit` and `order`. Cursors survive deleted rows."""

from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request

from flywheel.openai_compat import ids
from tasks.errors import Invalid


def page(
    request: Request,
    rows: QuerySet[Any],
    shown: Callable[[Any], Mapping[str, Any]],
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
    found = list(rows.order_by("-pk" if descending else "pk")[: limit + 1])
    return envelope([shown(row) for row in found[:limit]], has_more=len(found) > limit, with_ends=with_ends)


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
    return {
        name[len("metadata[") : -1]: str(value)
        for name, value in request.query_params.items()
        if name.startswith("metadata[") and name.endswith("]")
    }
