"""What a program printed against what it should have. Blanks at the end of lines and of the text never count."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.text import excerpt

_NUMBER = re.compile(r"[+-]?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][+-]?\d{1,3})?\Z")


@dataclass(frozen=True, slots=True)
class Case:
    input: str
    output: str


def cases_of(value: Any) -> list[Case] | None:
    """[{"input", "output"}, …], or {"inputs": […], "outputs": […]}; None where it is neither."""
    if isinstance(value, Mapping) and set(value) == {"inputs", "outputs"}:
        inputs, outputs = value["inputs"], value["outputs"]
        if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
            return None
        value = [{"input": given, "output": wanted} for given, wanted in zip(inputs, outputs, strict=True)]
    if not isinstance(value, Sequence) or isinstance(value, str):
        return None
    cases = [_case(entry) for entry in value]
    found = [case for case in cases if case]
    return found if len(found) == len(cases) else None


def _case(entry: Any) -> Case | None:
    if not isinstance(entry, Mapping) or set(entry) != {"input", "output"}:
        return None
    given, wanted = entry["input"], entry["output"]
    return Case(given, wanted) if isinstance(given, str) and isinstance(wanted, str) else None


def difference(printed: str, expected: str, *, tokens: bool = False, tolerance: float = 0.0) -> str:
    """ "" where they are equal, else a sentence. tokens: what stands between blanks counts, line breaks do not."""
    said, wanted = (_parts(text, tokens) for text in (printed, expected))
    if len(said) == len(wanted) and all(
        one == other or (tolerance > 0 and _near(one, other, tolerance))
        for one, other in zip(said, wanted, strict=True)
    ):
        return ""
    place = next((n for n, (one, other) in enumerate(zip(said, wanted, strict=False)) if one != other), None)
    kind = "token" if tokens else "line"
    if place is None:
        return f"Expected {len(wanted):,} {kind}s of output, read {len(said):,}."
    return f"Expected '{excerpt(wanted[place], 100)}' in {kind} {place + 1}, read '{excerpt(said[place], 100)}'."


def _parts(text: str, tokens: bool) -> list[str]:
    return text.split() if tokens else [line.rstrip() for line in text.rstrip().splitlines()]


def _near(said: str, wanted: str, tolerance: float) -> bool:
    if not (_NUMBER.match(said) and _NUMBER.match(wanted)):
        return False
    target = float(wanted)
    return abs(float(said) - target) <= tolerance * max(1.0, abs(target))
