"""openai_rft: rows of OpenAI's reinforcement fine-tuning. Only `messages` and `tools` mean something there; every other
key is free and read as {{ item.<key> }}, also one that is a field of the native row.
"""

from typing import Any

from tasks.formats.targets import ADDED
from tasks.types import Issue

RESERVED = ("messages", "tools")
_APART = frozenset({*RESERVED, *ADDED})


def native_row(raw: dict[str, Any], line: int) -> dict[str, Any] | Issue:
    row: dict[str, Any] = {name: raw[name] for name in RESERVED if name in raw}
    row["item"] = {name: value for name, value in raw.items() if name not in _APART}
    return row
