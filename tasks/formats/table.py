"""Tables (CSV, TSV, XLSX) to JSON rows: the names of their columns, and cells under them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from tasks.formats.block import MAX_LINE_BYTES, Unreadable
from tasks.formats.codes import issue
from tasks.formats.synonyms import KNOWN
from tasks.types import Issue

MAX_COLUMNS = 1000
_NAME_CHARACTERS = 60
_NUMBER = re.compile(r"[-+]?[\d.,]+%?")
_encode = msgspec.json.Encoder().encode


def is_header(cells: Sequence[Any]) -> bool:
    """Names are short different texts, none of them a number; a name that everybody uses settles it."""
    texts = [cell.strip() for cell in cells if isinstance(cell, str) and cell.strip()]
    if names_known(cells):
        return True
    if len(texts) < len(cells) or len(set(texts)) < len(texts):
        return False
    return all(
        len(text) <= _NAME_CHARACTERS and not _NUMBER.fullmatch(text) and text[-1] not in ".?!" for text in texts
    )


def names_known(cells: Sequence[Any]) -> bool:
    texts = (cell.strip().lower().replace(" ", "_") for cell in cells if isinstance(cell, str))
    return any(text in KNOWN for text in texts)


def names(first: Sequence[Any], header: bool) -> list[str]:
    """A name for every column: as in the header, "column 3" where there is none, "name (2)" where one comes twice."""
    if len(first) > MAX_COLUMNS:
        raise Unreadable("unknown_format", f"it has {len(first):,} columns, more than {MAX_COLUMNS:,}")
    given = [str(cell).strip() if header and cell is not None else "" for cell in first]
    found: dict[str, None] = {}
    for place, name in enumerate(given, 1):
        name, times = name or f"column {place}", 1
        unique = name
        while unique in found:
            times += 1
            unique = f"{name} ({times})"
        found[unique] = None
    return list(found)


def row(columns: Sequence[str], cells: Sequence[Any], number: int) -> bytes | Issue | None:
    """Cells as one JSON object; an empty one is left out. None for a row without any.

    More or fewer cells than columns are an Issue, since nobody can tell which one is missing; empty ones at the end of
    a row count for nothing.
    """
    filled = {name: cell for name, cell in zip(columns, cells, strict=False) if cell is not None and cell != ""}
    if len(cells) != len(columns):
        fewer = len(cells) < len(columns)
        if not filled and not any(cells):
            return None
        if fewer or any(cell is not None and cell != "" for cell in cells[len(columns) :]):
            return issue(
                "ragged_row", line=number, detail=f"{len(cells)} cells where the table has {len(columns)} columns"
            )
    if not filled:
        return None
    try:
        data = _encode(filled)
    except UnicodeEncodeError:
        return issue("not_utf8", line=number, field=_undecoded(filled))
    if len(data) > MAX_LINE_BYTES:
        return issue("line_too_long", line=number, detail=f"{MAX_LINE_BYTES:,} bytes")
    return data


def _undecoded(filled: Mapping[str, Any]) -> str:
    def broken() -> Iterator[str]:
        for name, cell in filled.items():
            try:
                _encode([name, cell])
            except UnicodeEncodeError:
                yield name

    return next(broken(), "").encode(errors="replace").decode()
