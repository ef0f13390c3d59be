"""Why a row was rejected, as columns in front of its own: what a file of rejected rows adds and reading leaves out.

A file of rejected rows is meant to be uploaded again, corrected: `_line` says for which row of the first file a row
stands, the others say what was wrong with it. Nothing of them belongs to the task.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LINE, RAW, TASK, APPEAL = "_line", "_raw", "_task", "_appeal"
WHY = ("_field", "_code", "_reason", "_remedy")
COLUMNS = frozenset({LINE, RAW, TASK, APPEAL, *WHY})


@dataclass(frozen=True, slots=True)
class Reason:
    line: int  # of the file that was uploaded
    field: str
    code: str
    sentence: str
    remedy: str
    value: str = ""  # excerpt, for rows that cannot be written again

    def columns(self) -> dict[str, Any]:
        return {LINE: self.line, **dict(zip(WHY, (self.field, self.code, self.sentence, self.remedy), strict=True))}


def without(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a corrected file as it would have stood in the first one."""
    return {name: value for name, value in raw.items() if name not in COLUMNS}


def line_of(raw: Mapping[str, Any], column: str = LINE) -> int | None:
    """The line (or task) for which a corrected row stands; spreadsheets make a text or a float of the number."""
    value = raw.get(column)
    if isinstance(value, str):
        value = value.strip().removesuffix(".0")
        return int(value) if value.isdecimal() and len(value) < 19 else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value) if 0 < value < 2**63 else None
