"""What one part of a gate shows."""

from enum import StrEnum


class Finding(StrEnum):
    PASS = "pass"  # noqa: S105
    HOLD = "hold"
    INCONCLUSIVE = "inconclusive"
    WATCHED = "watched"  # shown, decides nothing
