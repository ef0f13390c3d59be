"""Sample uploads of two contributors, as real files look: mostly good, with a few broken, doubled and disputed rows.

Ada owns two thirds of the material, so that a cap per contributor binds; Grace overlaps with her in three domains.
Each domain that is trained on has about 3,900 different prompts in a batch, of which the split by hash seals a tenth.
No prompt was ever shown to the base (see demonstrations.py), and batches share none.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from flywheel.samples.demonstrations import DEMONSTRATION_SIDES, SIDES
from flywheel.samples.families import (
    CHOICES,
    FRACTIONS,
    MAXIMA,
    RECORDS,
    REVERSALS,
    SHUFFLES,
    VOWELS,
    Family,
    Question,
    side,
)

TASK_SIDES = tuple(number for number in range(SIDES) if number not in DEMONSTRATION_SIDES)
LICENCE = "CC0-1.0"
BROKEN_EVERY = 400  # rows; the kinds of breakage take turns
DOUBLED_EVERY = 300
SHARED = 120  # rows that Grace has from Ada, word for word
FEW = 120  # of a domain that is not trained on: too few sealed ones for a suite that would guard it
DISPUTED = 8  # rows that Grace has from Ada with another answer


@dataclass(frozen=True, slots=True)
class SampleDataset:
    """One upload: a file, and what its contributor says about it."""

    contributor: str
    team: str
    dataset: str
    path: Path
    domain: str
    grader: Mapping[str, Any]  # the dataset's default grader
    description: str
    visibility: str = "contributed"
    licence: str = LICENCE


@dataclass(frozen=True, slots=True)
class _Share:
    """How many prompts of a family a contributor brings, and from where in the family's seeded order."""

    contributor: str
    team: str
    family: Family
    first: int
    count: int
    description: str
    broken_every: int = BROKEN_EVERY
    doubled_every: int = DOUBLED_EVERY
    shared: int = SHARED


SHARES = (
    _Share("ada", "analytical", MAXIMA, 0, 3400, "The largest of three numbers."),
    _Share("ada", "analytical", REVERSALS, 0, 3900, "Four letters backwards."),
    _Share("ada", "analytical", RECORDS, 0, 2600, "A line about a person as a JSON object."),
    _Share("ada", "analytical", VOWELS, 0, 2600, "The vowels among six letters."),
    _Share("ada", "analytical", SHUFFLES, 0, 3900, "Five letters in any other order."),
    _Share("ada", "analytical", FRACTIONS, 0, FEW, "Sums of two fractions."),
    _Share("grace", "harbour", CHOICES, 0, 3900, "Odd or even, by letter."),
    _Share("grace", "harbour", VOWELS, 2600, 1300, "More vowels among six letters."),
    _Share("grace", "harbour", RECORDS, 2600, 1300, "More people as JSON objects."),
    _Share("grace", "harbour", MAXIMA, 3400, 500, "More largest numbers, some of them from a friend."),
)


def write_datasets(directory: Path, seed: int, batch: int = 1, *, scale: float = 1.0) -> list[SampleDataset]:
    """Write the files of a batch (1 to 4) and describe them. The same seed and batch give the same bytes.

    `scale` is the share of the rows that is written, with as many broken ones among them.
    """
    if not 1 <= batch <= len(TASK_SIDES):
        raise ValueError(f"There are batches 1 to {len(TASK_SIDES)}, not {batch}.")
    directory.mkdir(parents=True, exist_ok=True)
    return [_write(_scaled(share, scale), directory, seed, batch) for share in SHARES]


def _scaled(share: _Share, scale: float) -> _Share:
    names = ("first", "count", "broken_every", "doubled_every", "shared")
    return replace(share, **{name: round(getattr(share, name) * scale) for name in names})


def questions(family: Family, seed: int, batch: int = 1) -> Iterator[Question]:
    """The family's tasks in seeded order, none twice, none that the base or another batch has."""
    random = Random(f"{family.domain}/{seed}/{batch}")
    seen: set[str] = set()
    while True:
        question = family.ask(random)
        if question.prompt not in seen and side(question.prompt, SIDES) == TASK_SIDES[batch - 1]:
            seen.add(question.prompt)
            yield question


def row(question: Question) -> dict[str, Any]:
    """The native row: `reference` is short for item.reference, the grader is the dataset's."""
    return {"prompt": question.prompt, "reference": question.reference, "gold": question.gold}


def _write(share: _Share, directory: Path, seed: int, batch: int) -> SampleDataset:
    name = f"{share.contributor}-{share.family.domain}"
    path = directory / f"{name}-{batch}.jsonl"
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in _lines(share, seed, batch))
    partial.replace(path)
    return SampleDataset(
        share.contributor, share.team, name, path, share.family.domain, dict(share.family.grader), share.description
    )


def _lines(share: _Share, seed: int, batch: int) -> Iterator[str]:
    """Good rows, now and then a broken or a doubled one, and at the end what a friend's file has already."""
    breakages = list(BREAKAGES)
    for number, question in enumerate(_slice(share, seed, batch), start=1):
        yield json.dumps(row(question))
        if number % share.doubled_every == 0:
            yield json.dumps(row(question))
        if number % share.broken_every == 0:
            yield breakages[number // share.broken_every % len(breakages)](question)
    if share.contributor == "grace" and share.first:
        yield from _from_ada(share, seed, batch)


def _slice(share: _Share, seed: int, batch: int) -> Iterator[Question]:
    order = questions(share.family, seed, batch)
    for number in range(share.first + share.count):
        question = next(order)
        if number >= share.first:
            yield question


def _from_ada(share: _Share, seed: int, batch: int) -> Iterator[str]:
    """The same rows again, which are duplicates, and a few with the sloppy answer, which are conflicts."""
    theirs = _slice(replace(share, first=0, count=share.shared + DISPUTED), seed, batch)
    for number, question in enumerate(theirs):
        yield json.dumps(row(question) if number < share.shared else _disputed(question))


def _disputed(question: Question) -> dict[str, Any]:
    """Another answer to a known prompt, in the family's own form, so that its gold proves it."""
    if isinstance(question.reference, dict):
        other = {**question.reference, "age": question.reference["age"] + 1}
        return {"prompt": question.prompt, "reference": other, "gold": json.dumps(other)}
    if isinstance(question.reference, list):
        return {"prompt": question.prompt, "reference": question.flawed.split(","), "gold": question.flawed}
    return {"prompt": question.prompt, "reference": int(question.flawed), "gold": question.flawed}


def _cut_off(question: Question) -> str:
    return json.dumps(row(question))[:-7]


def _without_prompt(question: Question) -> str:
    return json.dumps({"reference": question.reference})


def _without_reference(question: Question) -> str:
    return json.dumps({"prompt": f"{question.prompt} again"})


def _with_wrong_gold(question: Question) -> str:
    return json.dumps({**row(question), "prompt": f"{question.prompt} please", "gold": "no idea"})


def _with_unknown_grader(question: Question) -> str:
    return json.dumps({**row(question), "prompt": f"{question.prompt} now", "grader": {"type": "oracle"}})


BREAKAGES: tuple[Callable[[Question], str], ...] = (
    _cut_off,
    _without_prompt,
    _without_reference,
    _with_wrong_gold,
    _with_unknown_grader,
)
