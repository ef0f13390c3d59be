"""set_match: unordered items against a reference set, with precision, recall and F1; correct at F1 = 1.

Items are a JSON list, or what stands between commas and line breaks, without bullets, quotes and a leading "Answer:".
Case, blanks and typographic signs do not count, and an item named twice counts once.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tasks.graders import templates
from tasks.graders.outcome import AuthorFault, Check, ModelFault, scored, wrong
from tasks.text import nests_deeper, normalise
from tasks.types import Grade

EXAMPLE: Mapping[str, Any] = {
    "grader": {"type": "set_match", "reference": "{{ item.reference }}"},
    "item": {"reference": ["red", "green", "blue"]},
    "completion": "blue, red, green",
}

MAX_ITEMS = 10_000
_SPLIT = re.compile(r"[,\n\r、，]+")
_BULLET = re.compile(r"^(?:[-*•]|\d{1,3}[.)])\s+")
_LEAD_IN = re.compile(r"^\s*(?:the\s+)?(?:final\s+)?answers?(?:\s+(?:is|are))?\s*:\s*", re.IGNORECASE)
_FENCE = re.compile(r"^\s*```\w*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)
_EMPTY_LIST = re.compile(r"\[\s*\]")
_NOTHING = frozenset({"none", "(none)", "nothing", "empty", "∅", "{}"})


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="set_match", tag_field="type"):
    reference: str | list[str | int | float | bool] = "{{ item.reference }}"
    name: str = ""
    case_sensitive: bool = False
    pass_threshold: float = 1.0


def precision_recall_f1(hits: int, given: int, wanted: int) -> tuple[float, float, float]:
    """Two empty sets agree; F1 = 2·hits / (given + wanted) is the harmonic mean of the other two."""
    if not given and not wanted:
        return 1.0, 1.0, 1.0
    return hits / given if given else 0.0, hits / wanted if wanted else 0.0, 2 * hits / (given + wanted)


def items_of(text: str, case_sensitive: bool = False) -> frozenset[str]:
    """The items of a reply or of a reference written as text; "none" and the like is the empty set."""
    return _folded(_keys(text, case_sensitive))


def _folded(keys: frozenset[str]) -> frozenset[str]:
    return frozenset() if keys <= _NOTHING else keys


def _keys(text: str, case_sensitive: bool) -> frozenset[str]:
    if fenced := _FENCE.match(text):
        text = fenced[1]
    text = _LEAD_IN.sub("", text, count=1).strip()
    listed = _json_list(text)
    if listed is None:
        listed = [
            _BULLET.sub("", part.strip())
            for part in dict.fromkeys(_SPLIT.split(text))
            if not part.rstrip().endswith(":")
        ]
    return frozenset(key(item, case_sensitive) for item in listed[: MAX_ITEMS + 1]) - {""}


def key(item: Any, case_sensitive: bool = False) -> str:
    if isinstance(item, float) and item.is_integer() and abs(item) < 2**53:
        item = int(item)  # 2.0 is 2
    text = templates.as_text(item).strip(" \t\r\n\"'`*").removesuffix(".")
    return " ".join(text.split()) if case_sensitive else normalise(text)


def _json_list(text: str) -> list[Any] | None:
    if not text.startswith("[") or nests_deeper(text, templates.MAX_DEPTH):
        return None
    try:
        listed = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return None
    return listed if isinstance(listed, list) else None


def compile(config: Config) -> Check:
    literal = None if _has_template(config.reference) else _wanted(config, "", {})

    def check(completion: str, item: Mapping[str, Any]) -> Grade:
        wanted = _wanted(config, completion, item) if literal is None else literal
        if not completion.strip():
            return wrong(None, "The reply is empty.")
        keys = _keys(completion, config.case_sensitive)
        if not keys and not _EMPTY_LIST.search(completion):
            return wrong(None, "The reply lists nothing: the empty set is [] or none.")
        given = _folded(keys)
        if len(given) > MAX_ITEMS:
            return wrong(None, f"The reply lists more than {MAX_ITEMS:,} items.")
        hits = len(given & wanted)
        precision, recall, f1 = precision_recall_f1(hits, len(given), len(wanted))
        return scored(
            f1,
            config.pass_threshold,
            ", ".join(sorted(given)[:20]),
            "Matches the reference." if f1 == 1 else _difference(given, wanted),
            {"precision": precision, "recall": recall, "f1": f1},
        )

    return check


def _has_template(reference: Any) -> bool:
    return any("{{" in text for text in templates.strings(reference))


def _wanted(config: Config, completion: str, item: Mapping[str, Any]) -> frozenset[str]:
    value = templates.fill(config.reference, completion, item)
    if isinstance(value, list):
        return _folded(frozenset(key(entry, config.case_sensitive) for entry in value) - {""})
    if isinstance(value, Mapping) or value is None:
        raise AuthorFault("bad_reference", "The reference is not a list of items.")
    return items_of(templates.as_text(value), config.case_sensitive)


def _difference(given: frozenset[str], wanted: frozenset[str]) -> str:
    missing, extra = sorted(wanted - given), sorted(given - wanted)
    parts = [
        f"{what}: {', '.join(items[:5])[:150]}"
        for what, items in (("missing", missing), ("not wanted", extra))
        if items
    ]
    return f"Of {len(wanted)} items {len(given & wanted)} were named; {'; '.join(parts)}."


def gold(config: Config, item: Mapping[str, Any]) -> str | None:
    """As a JSON list, because an item may hold a comma."""
    try:
        value = templates.fill(config.reference, "", item)
        _wanted(config, "", item)
    except (AuthorFault, ModelFault):
        return None
    return templates.as_text(value)


def every_candidate(config: Config, item: Mapping[str, Any], others: Sequence[str]) -> str | None:
    """The union of this row's items and every other row's: full recall, and precision must catch it."""
    try:
        union = _wanted(config, "", item).union(*(items_of(other, config.case_sensitive) for other in others))
    except (AuthorFault, ModelFault):
        return None
    return msgspec.json.encode(sorted(union)).decode()


def coincides(config: Config, item: Mapping[str, Any], completion: str) -> bool:
    """Whether a decoy names exactly the right items: then it is the answer, however it came about."""
    try:
        return items_of(completion, config.case_sensitive) == _wanted(config, completion, item)
    except (AuthorFault, ModelFault):
        return False


def reference_problem(config: Config, item: Mapping[str, Any]) -> str | None:
    """Why the reference of this item cannot be used, as a sentence."""
    _wanted(config, "", item)
    return None
