"""Freezing a suite: which sealed items it holds, in which order, and the digest that says so."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from tasks.errors import Invalid
from trainer.contract import EvalItem


@dataclass(frozen=True, slots=True)
class SealedTask:
    """What choosing needs to know of a sealed task."""

    key: str  # task id
    exact_key: str
    family: str = ""  # near-duplicate family, "" : its own


def choose(tasks: Iterable[SealedTask], *, size: int = 0, seed: int = 0, per_family: int = 0) -> list[str]:
    """Keys of at most `size` tasks (0: all), at most `per_family` of a family (0: no cap), one per exact key.

    The order is that of a seeded hash of the exact key, so the choice depends neither on the order of the input nor on
    the clock, and a larger suite of the same seed begins with the smaller one.
    """
    if size < 0 or per_family < 0:
        raise Invalid("size_negative", "A suite's size and its cap per family are 0 (no limit) or more.", "size")
    chosen: list[str] = []
    seen: set[str] = set()
    members: dict[str, int] = {}
    for task in sorted(tasks, key=lambda task: (_rank(task.exact_key, seed), task.key)):
        family = task.family or task.exact_key
        if task.exact_key in seen or (per_family and members.get(family, 0) >= per_family):
            continue
        if size and len(chosen) == size:
            break
        seen.add(task.exact_key)
        members[family] = members.get(family, 0) + 1
        chosen.append(task.key)
    return chosen


def _rank(exact_key: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{exact_key}".encode()).digest()


def suite_digest(items: Sequence[EvalItem]) -> str:
    """SHA-256 over the ordered items: key, cluster, prompt, grader and what the grader reads, as canonical JSON.

    A changed reference answer or grader is another suite, as much as a changed prompt. The suite's name and the domain
    are labels and stay out. Fields are separated by JSON itself, items by line feeds.
    """
    digest = hashlib.sha256()
    for item in items:
        line = [item.key, item.cluster, item.messages, item.grader, item.item]
        digest.update(msgspec.json.encode(line, order="sorted") + b"\n")
    return digest.hexdigest()


def graders_digest(items: Iterable[EvalItem]) -> str:
    """SHA-256 over the distinct graders of a suite, so that a report can name the grader as what changed."""
    graders = sorted({msgspec.json.encode(item.grader, order="sorted") for item in items})
    return hashlib.sha256(b"\n".join(graders)).hexdigest()
