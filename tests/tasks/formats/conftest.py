"""Files of every format, and their rows as a reader gives them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.formats import jsonl, source
from tasks.formats.block import Layout
from tasks.types import Issue

Rows = list[tuple[int, Any]]


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Path]:
    """Bytes, texts or JSON rows as a file."""

    def store(data: bytes | str | list[Any], name: str = "upload") -> Path:
        if isinstance(data, list):
            data = "".join(json.dumps(row) + "\n" for row in data)
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return store


def read(path: Path, layout: Layout | None = None, rows: int = 1000, **where: Any) -> Rows:
    """(row number, row or code) of all that a file holds, in the order of the numbers."""
    layout = layout or source.detect(path, path.name).layout
    assert layout is not None
    found: Rows = []
    for block in source.blocks(path, layout, size=lambda _: rows, **where):
        found += [(issue.line, issue.code) for issue in block.issues]
        found += [(number, row.code if isinstance(row, Issue) else row) for number, row, _ in jsonl.rows(block)]
    return sorted(found, key=lambda entry: entry[0])


def resumed(path: Path, layout: Layout, rows: int) -> Rows:
    """The same, by a new reading after every block."""
    found: Rows = []
    position = line = 0
    while block := next(source.blocks(path, layout, position=position, line=line, size=lambda _: rows), None):
        found += [(issue.line, issue.code) for issue in block.issues]
        found += [(number, row.code if isinstance(row, Issue) else row) for number, row, _ in jsonl.rows(block)]
        if block.position == position:
            break
        position, line = block.position, block.last
    return sorted(found, key=lambda entry: entry[0])
