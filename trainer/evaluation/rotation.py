"""Which items of a suite make way when its looks are spent: the quarter that has been asked longest."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

QUARTER = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """An item of the suite as it is."""

    key: str  # task id
    family: str
    since: int  # id of the evaluation that asked it first; 0: none has


def quarter(items: int) -> int:
    """How many items a rotation is to replace: a fourth of them, rounded up."""
    return -(-items // QUARTER)


def retiring(items: Iterable[Asked], most: int, *, seed: int = 0) -> list[str]:
    """Keys of at most `most` items in whole families, those first whose first look lies farthest back.

    A family is as old as its oldest item; of equally old ones a seeded hash decides: nobody's rows are favoured.
    One that is too large for what is left to retire stays, and smaller ones behind it go. What nobody has asked yet has
    nothing to hide and stays.
    """
    families: dict[str, list[Asked]] = {}
    for item in items:
        families.setdefault(item.family or f"task {item.key}", []).append(item)
    chosen: list[str] = []
    for name in sorted(families, key=lambda name: (_age(families[name]), _rank(name, seed))):
        members = families[name]
        if _age(members) and len(chosen) + len(members) <= most:
            chosen += sorted(item.key for item in members)
    return chosen


def _age(members: Sequence[Asked]) -> int:
    return min((item.since for item in members if item.since), default=0)


def _rank(family: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{family}".encode()).digest()
