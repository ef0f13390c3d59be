"""Find secrets and personal data in a text, replace them, show where they stand without repeating them.

Nearly all texts are clean, so what costs little comes first: a secret has a telling beginning, personal data an @ or
seven digits close together. Only the rules whose beginning is there are tried, and of numbers those whose shape is.
"""

import re
from bisect import bisect
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from tasks.screening import personal, secrets
from tasks.screening.rules import Kind, Rule

_SEVEN_DIGITS = re.compile(r"[0-9](?:[ .()/-]{0,2}[0-9]){6}")
_ANCHORED = tuple(rule for rule in (*secrets.RULES, *personal.RULES) if rule.anchors)
_NUMBERED = tuple(rule for rule in personal.RULES if not rule.anchors)
_SHOWN_AROUND = 40  # characters on both sides


class Found(NamedTuple):
    kind: Kind
    name: str
    start: int
    end: int


def suspicious(text: str | bytes) -> bool:
    """Whether there is anything to look for: one linear pass, never wrong about what it calls clean."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return _suspicion().search(raw) is not None


@cache
def _suspicion() -> Any:
    import re2

    beginnings = "|".join(re.escape(anchor) for rule in _ANCHORED for anchor in rule.anchors)
    return re2.compile(f"{beginnings}|{_SEVEN_DIGITS.pattern}")


def find(text: str) -> tuple[Found, ...]:
    """In the order of the text; where two overlap the one of the earlier rule stands."""
    if not suspicious(text):
        return ()
    found: list[Found] = []
    for rule in _tried(text):
        for match in rule.pattern.finditer(text):
            start, end = match.span("found" if "found" in rule.pattern.groupindex else 0)
            place = bisect(found, start, key=_start)
            if _apart(found, place, start, end) and rule.likely(match):
                found.insert(place, Found(rule.kind, rule.name, start, end))
    return tuple(found)


def _start(one: Found) -> int:
    return one.start


def _apart(found: Sequence[Found], place: int, start: int, end: int) -> bool:
    """Whether it overlaps none of them, which stand in order and apart; `place`: of the first behind it."""
    behind = place < len(found) and found[place].start < end
    return not behind and (place == 0 or found[place - 1].end <= start)


def _tried(text: str) -> Iterator[Rule]:
    for rule in _ANCHORED:
        if any(anchor in text for anchor in rule.anchors):
            yield rule
    if _SEVEN_DIGITS.search(text):
        raw = text.encode("utf-8", "surrogatepass")
        yield from (rule for rule in _NUMBERED if _shape(rule).search(raw))


@cache
def _shape(rule: Rule) -> Any:
    import re2

    return re2.compile(rule.shape)


def mask(text: str, found: Iterable[Found], kinds: Collection[Kind] = tuple(Kind)) -> tuple[str, tuple[Found, ...]]:
    """The text with placeholders, such as [e-mail], for the kinds named; and where all that was found stands in it."""
    parts: list[str] = []
    placed: list[Found] = []
    behind = length = 0
    for one in found:
        shown = f"[{one.name}]" if one.kind in kinds else text[one.start : one.end]
        start = length + one.start - behind
        parts += (text[behind : one.start], shown)
        placed.append(one._replace(start=start, end=start + len(shown)))
        behind, length = one.end, start + len(shown)
    return "".join([*parts, text[behind:]]), tuple(placed)


def excerpts(text: str, found: Iterable[Found]) -> list[str]:
    """What stands around each of them, with placeholders for all of them."""
    shown, placed = mask(text, found)
    return [_around(shown, one) for one in placed]


def _around(shown: str, one: Found) -> str:
    begin, end = max(0, one.start - _SHOWN_AROUND), min(len(shown), one.end + _SHOWN_AROUND)
    return f"{'…' * (begin > 0)}{shown[begin:end]}{'…' * (end < len(shown))}"
