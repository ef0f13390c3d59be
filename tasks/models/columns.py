"""Hashes as people write them (hex) in columns of half the size: keys are most of what a stored task costs."""

import uuid
from typing import Any

from django.db import models


class HexColumn(models.CharField):
    """`max_length` hex digits. 32 of them are stored as a uuid, others as bytes; both sort as the hex text does."""

    def db_type(self, connection: Any) -> str:
        return "uuid" if self.max_length == 32 else "bytea"

    def db_check(self, connection: Any) -> None:
        return None

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> str | None:
        return None if value is None else value.hex if isinstance(value, uuid.UUID) else bytes(value).hex()

    def get_prep_value(self, value: Any) -> Any:
        if value is None or not isinstance(value, str):
            return value
        return uuid.UUID(hex=value) if self.max_length == 32 else bytes.fromhex(value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return value if prepared else self.get_prep_value(value)
