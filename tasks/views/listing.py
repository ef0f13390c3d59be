"""What every list page shares: pages by id (no COUNT, no OFFSET), filters that live in the URL, exports."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

PAGE_ROWS = 50
Row = TypeVar("Row")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Page:
    rows: Sequence[Any]
    before: int | None  # where the next, older page begins; None: this is the last
    is_first: bool


def page_of(request: HttpRequest, rows: QuerySet[Any], *, key: str = "pk", size: int = PAGE_ROWS) -> Page:
    """Newest first, from ?before=ID. The page a reader is on never shifts under new rows."""
    before = whole(request.GET.get("before"))
    if before is not None:
        rows = rows.filter(**{f"{key}__lt": before})
    found = list(rows[: size + 1])
    more = len(found) > size
    found = found[:size]
    last = getattr(found[-1], key) if more else None
    return Page(found, last, before is None)


def whole(text: str | None) -> int | None:
    """A whole number out of an address, or None: a mistyped filter filters nothing."""
    return int(text) if text and text.isdecimal() and len(text) < 19 else None


def facts_of(rows: Iterable[Row], facts: Callable[[Row], Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Rows for `exported`. The database is asked when the first is taken; `map` would ask on every page view."""
    for row in rows:
        yield facts(row)


def exported(request: HttpRequest, rows: Iterable[Mapping[str, Any]], *, name: str) -> HttpResponse | None:
    """The list as a file where ?format=csv or ?format=json asks for one."""
    match request.GET.get("format"):
        case "csv":
            return _attachment(_csv(rows), "text/csv; charset=utf-8", f"{name}.csv")
        case "json":
            return _attachment(_json(rows), "application/json", f"{name}.json")
    return None


def _attachment(parts: Iterable[str], kind: str, filename: str) -> HttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{filename}"', "X-Content-Type-Options": "nosniff"}
    return StreamingHttpResponse(parts, content_type=kind, headers=headers)  # type: ignore[return-value]


class _Line:
    """A file for csv.writer that hands each line on."""

    def write(self, line: str) -> str:
        return line


def _csv(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    writer = csv.writer(_Line())
    for number, row in enumerate(rows):
        if number == 0:
            yield writer.writerow(row.keys())
        yield writer.writerow([harmless(value) for value in row.values()])


def harmless(value: Any) -> Any:
    """A spreadsheet runs a text that begins like a formula: such texts get an apostrophe in front."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
    return f"'{text}" if isinstance(text, str) and text.startswith(_FORMULA_STARTS) else text


def _json(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield "["
    for number, row in enumerate(rows):
        yield (",\n" if number else "\n") + json.dumps(row, ensure_ascii=False, default=str)
    yield "\n]\n"
