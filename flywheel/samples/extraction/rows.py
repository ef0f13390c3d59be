"""Rows of the structured-extraction example: a short profile in prose, and the fields that stand in it.

python -m flywheel.samples.extraction.rows train.jsonl 200
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

FOLDER = Path(__file__).parent
ASKED = "Extract university, programming_languages, city and state (two letters) as one JSON object:"

_NAMES = ("Amara", "Bo", "Chidi", "Dana", "Elif", "Femi", "Greta", "Hiro", "Ines", "Jonas", "Kavya", "Lucía")
_UNIVERSITIES = (
    "Arizona State University", "Carnegie Mellon University", "Georgia Institute of Technology", "Howard University",
    "Iowa State University", "Oregon State University", "Rice University", "University of Michigan",
    "University of New Mexico", "University of Washington",
)  # fmt: skip
_LANGUAGES = ("C", "C++", "Elixir", "Go", "Haskell", "Java", "JavaScript", "Kotlin", "Python", "R", "Ruby", "Rust")
_PLACES = (
    ("Austin", "TX"), ("Boise", "ID"), ("Boulder", "CO"), ("Chicago", "IL"), ("Denver", "CO"), ("Portland", "OR"),
    ("Raleigh", "NC"), ("Santa Fe", "NM"), ("Seattle", "WA"), ("Tucson", "AZ"),
)  # fmt: skip
_TEXTS = (
    "{name} lives in {city}, {state}, studied at {university} and writes {languages} for a living.",
    "After {university}, {name} moved to {city} ({state}). At work: {languages}; {other} is on the list to learn.",
    "{name}'s résumé: {languages}. Based in {city}, {state}. Degree: {university}. Declined an offer in {elsewhere}.",
    "Ask {name} about {languages}, or about {university}, but not about {other}. Home is {city}, {state}.",
)


def rows(count: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Of OpenAI's format: messages, and beside them what the grader reads as item. The same for the same seed."""
    random = Random(seed)
    for _ in range(count):
        yield _row(random)


def _row(random: Random) -> dict[str, Any]:
    *languages, other = random.sample(_LANGUAGES, random.randint(2, 5))
    (city, state), (elsewhere, _) = random.sample(_PLACES, 2)
    fields = {
        "university": random.choice(_UNIVERSITIES),
        "programming_languages": languages,
        "city": city,
        "state": state,
    }
    listed = ", ".join(languages)
    text = random.choice(_TEXTS).format(
        **fields, name=random.choice(_NAMES), languages=listed, other=other, elsewhere=elsewhere
    )
    return {"messages": [{"role": "user", "content": f"{ASKED}\n\n{text}"}], **fields}


def grader() -> dict[str, Any]:
    return _read("grader.json")


def response_format() -> dict[str, Any]:
    return _read("response_format.json")


def _read(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((FOLDER / name).read_text())
    return value


def write(path: Path, count: int, seed: int = 1) -> None:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows(count, seed))
    path.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
