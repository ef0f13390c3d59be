"""The split of a prompt: 10 % sealed, 10 % validation, 80 % train, by a salted hash, decided once and then stored."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from tasks.states import Split

SEALED_PERCENT = 10
VALIDATION_PERCENT = 10


def split_of(exact_key: str, salt: str) -> Split:
    """The salt is the space team's and stays in the database: nobody can tell from a prompt where it will land."""
    draw = int.from_bytes(hashlib.sha256(f"{salt}:{exact_key}".encode()).digest()[:8]) % 100
    if draw < SEALED_PERCENT:
        return Split.SEALED
    return Split.VALIDATION if draw < SEALED_PERCENT + VALIDATION_PERCENT else Split.TRAIN


class Member(NamedTuple):
    """What ties a task to others."""

    task: int
    family: int  # id of its family's oldest member: its own where it has none
    exact_key: str


def together(members: Iterable[Member]) -> list[list[int]]:
    """The tasks that must stand in one split, as groups: one prompt has one split, and so has a family, so that whoever
    shares either with a task shares its split. Groups and their tasks are ordered by id."""
    leader: dict[tuple[str, int | str], tuple[str, int | str]] = {}

    def top(node: tuple[str, int | str]) -> tuple[str, int | str]:
        while (above := leader.setdefault(node, node)) != node:
            leader[node] = leader.setdefault(above, above)
            node = above
        return node

    known = sorted(members)
    for task, family, exact_key in known:
        for tie in (("family", family), ("prompt", exact_key)):
            leader[top(tie)] = top(("task", task))
    groups: dict[tuple[str, int | str], list[int]] = {}
    for task, _, _ in known:
        groups.setdefault(top(("task", task)), []).append(task)
    return sorted(groups.values())
