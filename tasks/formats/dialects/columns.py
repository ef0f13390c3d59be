"""columns: any other rows, by what their columns are called and hold. A proposal that a person looks at."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from tasks.formats.synonyms import SYNONYMS
from tasks.formats.targets import ADDED, Mapping, choices_of

_NUMBER = re.compile(r"[-+−]?[$€£]?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?")
_LETTER = re.compile(r"\(?[A-Ja-j]\)?")
_ORDER = ("messages", "prompt", "reference", "domain", "gold", "system", "grader", "choices")
_OWN_OBJECTS = ("item", "metadata")


def guess(names: frozenset[str], samples: Sequence[dict[str, Any]]) -> Mapping:
    in_order = list(dict.fromkeys(name for row in samples for name in row if name not in ADDED)) or sorted(
        names - ADDED
    )
    plain = {name: name.strip().lower().replace(" ", "_").replace("-", "_") for name in in_order}
    found: dict[str, str] = {}
    for target in _ORDER:
        taken = next(
            (name for known in SYNONYMS[target] for name in in_order if plain[name] == known and name not in found), ""
        )
        if taken:
            found[taken] = target
        elif target == "messages" and not taken:
            continue
        if target == "messages" and taken:
            found |= {name: "ignore" for name in in_order if plain[name] == "prompt"}
    if "prompt" in found.values():
        found |= _more_of_the_prompt(plain, found)
    found |= {name: plain[name] for name in in_order if plain[name] in _OWN_OBJECTS and name not in found}
    ordered = {name: found.get(name, f"metadata.{name}" if "." not in name else "metadata") for name in in_order}
    return Mapping("columns", ordered, choices_in_prompt=_lettered(ordered, samples))


def _more_of_the_prompt(plain: dict[str, str], found: dict[str, str]) -> dict[str, str]:
    """Alpaca's {instruction, input, output}: the input belongs to the question."""
    asked = next(name for name, target in found.items() if target == "prompt")
    more = {"instruction": ("input", "context"), "question": ("context", "passage")}.get(plain[asked], ())
    return {name: "prompt" for name, known in plain.items() if known in more and name not in found}


def _lettered(columns: dict[str, str], samples: Sequence[dict[str, Any]]) -> bool:
    if "choices" in columns.values():
        return False
    asked = [name for name, target in columns.items() if target == "prompt"]
    prompts = [row.get(asked[0]) for row in samples] if len(asked) == 1 else []
    return bool(prompts) and all(isinstance(prompt, str) and choices_of(prompt) for prompt in prompts)


def grader_for(references: Iterable[Any]) -> dict[str, Any] | None:
    """The grader that the references look like; None where nothing is sure."""
    texts = [str(reference).strip() for reference in references if reference not in (None, "")]
    if texts and all(map(_NUMBER.fullmatch, texts)):
        return {"type": "number"}
    if texts and all("\\" in text or "$" in text for text in texts):
        return {"type": "math"}
    return {"type": "choice"} if texts and all(map(_LETTER.fullmatch, texts)) else None
