"""json_match: a JSON object in the reply against a reference object, field by field.

Kinds of field
    exact   the same JSON value (1 and 1.0 are the same number; true is no number)
    text    equal after the shared normalisation (case, blanks, typographic signs)
    number  within `tolerance` or `relative_tolerance`; a string that holds a number counts
    set     items in any order, once each: precision, recall, F1
    list    items in order (longest common subsequence): precision, recall, F1
    object  the fields inside, by nested `fields`; a dotted name ("address.city") says the same
`schema` is a JSON Schema for the shape of the reply: another shape scores 0. Nothing is fetched for it.
The score is the weighted mean of the fields, a set or list counting with its F1. Without `fields` the reference's own
values decide the kinds. Of several objects in a reply the last one counts, and of a repeated key the last value.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

import msgspec

from tasks.graders import number, shape, templates
from tasks.graders.outcome import AuthorFault, Check, ModelFault, scored
from tasks.graders.remembered import of_the_last
from tasks.graders.set_match import MAX_ITEMS, precision_recall_f1
from tasks.text import nests_deeper, normalise
from tasks.types import Grade

EXAMPLE: Mapping[str, Any] = {
    "grader": {
        "type": "json_match",
        "reference": "{{ item.reference }}",
        "fields": {
            "university": {"kind": "text"},
            "founded": {"kind": "number", "tolerance": 1},
            "languages": {"kind": "set", "weight": 2},
        },
    },
    "item": {"reference": {"university": "ETH Zürich", "founded": 1855, "languages": ["python", "c++"]}},
    "completion": 'Here it is: {"university": "eth zürich", "founded": 1855, "languages": ["C++", "Python"]}',
}

MAX_STARTS = 256  # beginnings of an object tried in a reply that is not plain JSON
_START = re.compile(r'\{\s*["}]')  # not the braces of LaTeX, of which a derivation has hundreds
Kind = Literal["exact", "number", "text", "set", "list", "object"]


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Kind = "text"
    weight: float = 1.0  # relative to the other fields beside it; 0: reported, never counted
    tolerance: float = 0.0  # number only, in the field's own unit
    relative_tolerance: float = 0.0
    fields: dict[str, "Field"] = {}

    def __post_init__(self) -> None:
        for name in ("weight", "tolerance", "relative_tolerance"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"`{name}` must be 0 or more")
        if (self.kind == "object") != bool(self.fields):
            raise ValueError("`fields` belongs to kind object, and kind object needs it")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="json_match", tag_field="type"):
    reference: str | dict[str, Any] = "{{ item.reference }}"
    fields: dict[str, Field] = {}
    extra_fields: Literal["ignore", "forbid"] = (
        "ignore"  # forbid: a field the reference does not have scores the reply 0
    )
    schema: dict[str, Any] | None = None  # of the whole reply; $ref only into itself
    name: str = ""
    pass_threshold: float = 1.0

    def __post_init__(self) -> None:
        if self.fields and not any(field.weight for field in self.fields.values()):
            raise ValueError("at least one of `fields` needs a weight above 0")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A field that is compared as one value: where it is and what share of the score it decides."""

    path: str
    steps: tuple[str, ...]
    field: Field
    share: float


@dataclass(frozen=True, slots=True)
class Verdict:
    score: float
    reason: str = ""  # "" when the field is right
    parts: tuple[float, float, float] | None = None  # precision, recall, F1


def compile(config: Config) -> Check:
    literal = None if any("{{" in text for text in templates.strings(config.reference)) else _reference(config, "", {})

    check_shape = shape.compile(config.schema) if config.schema is not None else None

    def check(completion: str, item: Mapping[str, Any]) -> Grade:
        reference = _reference(config, completion, item) if literal is None else literal
        leaves = _compared_leaves(config, reference)
        reply, read = last_object(completion)
        if check_shape is not None:
            check_shape(reply)
        return _compared(config, leaves, reference, reply, read)

    return check


def _compared(
    config: Config, leaves: Sequence[Leaf], reference: Mapping[str, Any], reply: Mapping[str, Any], read: str
) -> Grade:
    score, sub_scores, reasons, missing = 0.0, {}, [], False
    for leaf in leaves:
        wanted = _find(reference, leaf)
        if wanted is _ABSENT:
            raise AuthorFault("invalid_variable_error", f"The reference has no field '{leaf.path}'.")
        given = _find(reply, leaf)
        missing = missing or given is _ABSENT
        verdict = _judge(leaf.field, wanted, given)
        sub_scores[leaf.path] = verdict.score
        for part, value in zip(("precision", "recall", "f1"), verdict.parts or (), strict=False):
            sub_scores[f"{leaf.path}.{part}"] = value
        score += leaf.share * verdict.score
        if verdict.reason:
            reasons.append(f"{leaf.path}: {verdict.reason}")
    if config.extra_fields == "forbid" and (extra := _extra(leaves, reply)):
        score = 0.0
        reasons.append(f"not wanted: {', '.join(extra)[:150]}")
    reason = "Every field matches." if not reasons else "; ".join(reasons)[:500]
    return scored(score, config.pass_threshold, read, reason, sub_scores, ("field_missing",) if missing else ())


def _reference(config: Config, completion: str, item: Mapping[str, Any]) -> Mapping[str, Any]:
    value = templates.fill(config.reference, completion, item)
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            value = None
    if not isinstance(value, Mapping) or not value:
        raise AuthorFault("bad_reference", "The reference is not a JSON object with at least one field.")
    return value


@of_the_last
def _compared_leaves(config: Config, reference: Mapping[str, Any]) -> tuple[Leaf, ...]:
    return tuple(_leaves(config.fields or _inferred(reference)))


def _leaves(fields: Mapping[str, Field], prefix: tuple[str, ...] = (), share: float = 1.0) -> Iterator[Leaf]:
    """Weights count within one object; the shares of all leaves add up to 1."""
    total = sum(field.weight for field in fields.values()) or 1.0
    for name, field in fields.items():
        own = share * field.weight / total
        if field.kind == "object":
            yield from _leaves(field.fields, (*prefix, name), own)
        else:
            yield Leaf(".".join((*prefix, name)), (*prefix, name), field, own)


def _inferred(reference: Mapping[str, Any]) -> dict[str, Field]:
    return {name: _kind_of(value) for name, value in reference.items()}


def _kind_of(value: Any) -> Field:
    if isinstance(value, Mapping) and value:
        return Field(kind="object", fields=_inferred(value))
    if isinstance(value, str):
        return _TEXT
    if isinstance(value, list | tuple):
        return _SET
    return _NUMBER if isinstance(value, int | float) and not isinstance(value, bool) else _EXACT


_TEXT, _SET, _NUMBER, _EXACT = Field("text"), Field("set"), Field("number"), Field("exact")
_ABSENT: Any = object()
_OF_NUMBER = number.Config(reference=0)
_for_people = json.JSONEncoder(ensure_ascii=False, default=str).encode


def _find(value: Any, leaf: Leaf) -> Any:
    """A name as it stands first, its dots as steps second."""
    for step in leaf.steps:
        if isinstance(value, Mapping) and step in value:
            value = value[step]
            continue
        for inner in step.split("."):
            if not isinstance(value, Mapping) or inner not in value:
                return _ABSENT
            value = value[inner]
    return value


def _judge(field: Field, wanted: Any, given: Any) -> Verdict:
    if given is _ABSENT:
        return Verdict(0.0, "missing", (0.0, 0.0, 0.0) if field.kind in ("set", "list") else None)
    if field.kind in ("set", "list"):
        return _judge_items(field.kind, wanted, given)
    if field.kind == "number":
        return _judge_number(field, wanted, given)
    same = normalise(templates.as_text(wanted)) == normalise(templates.as_text(given)) if field.kind == "text" else None
    if same is None:
        same = _comparable(wanted) == _comparable(given)
    return Verdict(1.0) if same else Verdict(0.0, f"expected {_shown(wanted)}, read {_shown(given)}")


def _judge_number(field: Field, wanted: Any, given: Any) -> Verdict:
    target = number.to_reading(wanted, _OF_NUMBER).value
    try:
        value = number.to_reading(given, _OF_NUMBER).value
    except AuthorFault:
        return Verdict(0.0, f"{_shown(given)} is not a number")
    allowed = max(Decimal(repr(field.tolerance)), Decimal(repr(field.relative_tolerance)) * abs(target))
    if value == target or (allowed and abs(value - target) <= allowed):
        return Verdict(1.0)
    return Verdict(0.0, f"expected {_shown(wanted)}, read {_shown(given)}")


def _judge_items(kind: str, wanted: Any, given: Any) -> Verdict:
    """A single value counts as a list of one."""
    wanted_keys, given_keys = [_key(entry) for entry in _listed(wanted)], [_key(entry) for entry in _listed(given)]
    if len(given_keys) > MAX_ITEMS:
        return Verdict(0.0, f"more than {MAX_ITEMS:,} items", (0.0, 0.0, 0.0))
    if kind == "set":
        given_set, wanted_set = set(given_keys), set(wanted_keys)
        parts = precision_recall_f1(len(given_set & wanted_set), len(given_set), len(wanted_set))
    else:
        from rapidfuzz.distance import LCSseq

        parts = precision_recall_f1(LCSseq.similarity(given_keys, wanted_keys), len(given_keys), len(wanted_keys))
    precision, recall, f1 = parts
    return Verdict(f1, "" if f1 == 1 else f"precision {precision:.2f}, recall {recall:.2f}", parts)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else () if value is None else (value,)


def _key(value: Any) -> str:
    return normalise(value) if isinstance(value, str) else normalise(templates.as_text(_comparable(value)))


def _comparable(value: Any) -> Any:
    """A form in which equal JSON values are equal in Python: numbers without their spelling, true apart from 1."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, Mapping):
        return {key: _comparable(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_comparable(entry) for entry in value]
    return value


def _shown(value: Any) -> str:
    text = _for_people(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _extra(leaves: Sequence[Leaf], reply: Mapping[str, Any]) -> list[str]:
    """Top-level and nested names of the reply that no field asks for."""
    known = {leaf.path for leaf in leaves}
    inner = {path.rpartition(".")[0] for path in known} | {path.partition(".")[0] for path in known}

    def unknown(value: Mapping[str, Any], prefix: str) -> Iterator[str]:
        for name, entry in value.items():
            path = f"{prefix}{name}"
            if path in known:
                continue
            if isinstance(entry, Mapping) and any(name == path or name.startswith(f"{path}.") for name in inner):
                yield from unknown(entry, f"{path}.")
            else:
                yield path

    return list(unknown(reply, ""))[:20]


def last_object(completion: str) -> tuple[Mapping[str, Any], str]:
    """The JSON object that the reply states, with its text: the whole reply, or the last one in prose or a fence."""
    text = completion.strip()
    if nests_deeper(text, templates.MAX_DEPTH):
        raise ModelFault("sample_parse_error", f"The reply's JSON nests deeper than {templates.MAX_DEPTH} levels.")
    try:
        whole = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        whole = None
    if not isinstance(whole, dict):  # an array of objects, as prose around one, says what its last one says
        whole, text = _last_in_prose(text)
    if not isinstance(whole, dict):
        raise ModelFault("sample_parse_error", "The reply holds no JSON object.")
    return whole, text


def _last_in_prose(text: str) -> tuple[Any, str]:
    decode = _decoder().raw_decode
    found: Any = None
    source = ""
    position = tried = 0
    while start := _START.search(text, position):
        if (tried := tried + 1) > MAX_STARTS:
            raise ModelFault("sample_parse_error", f"The reply holds more than {MAX_STARTS} beginnings of an object.")
        position = start.start()
        try:
            found, end = decode(text, position)
        except (ValueError, RecursionError):
            position += 1
            continue
        source = text[position:end]
        position = end
    return found, source


@lru_cache(maxsize=1)
def _decoder() -> json.JSONDecoder:
    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    return json.JSONDecoder(parse_constant=refuse)


def template_sources(config: Config) -> Iterator[str]:
    """A schema is no template: its patterns may hold double braces."""
    return templates.strings(config.reference)


def gold(config: Config, item: Mapping[str, Any]) -> str | None:
    try:
        return templates.as_text(_reference(config, "", item))
    except (AuthorFault, ModelFault):
        return None


def every_candidate(config: Config, item: Mapping[str, Any], others: Sequence[str]) -> str | None:
    """One object with the union of every list and set, this row's other values kept: precision must catch it."""
    try:
        merged = dict(_reference(config, "", item))
    except (AuthorFault, ModelFault):
        return None
    for other in others:
        try:
            rival, _ = last_object(other)
        except ModelFault:
            continue
        for name, value in merged.items():
            if isinstance(value, list) and isinstance(theirs := rival.get(name), list):
                merged[name] = value + [entry for entry in theirs if entry not in value]
    return templates.as_text(merged)


def coincides(config: Config, item: Mapping[str, Any], completion: str) -> bool:
    """Whether a decoy states the reference itself, without help from a tolerance or a low threshold."""
    try:
        return bool(_comparable(last_object(completion)[0]) == _comparable(_reference(config, completion, item)))
    except (AuthorFault, ModelFault):
        return False


def reference_problem(config: Config, item: Mapping[str, Any]) -> str | None:
    """Why the reference of this item cannot be used, as a sentence."""
    reference = _reference(config, "", item)
    for leaf in _leaves(config.fields or _inferred(reference)):
        wanted = _find(reference, leaf)
        if wanted is _ABSENT:
            return f"The reference has no field '{leaf.path}'."
        if leaf.field.kind == "number":
            number.to_reading(wanted, _OF_NUMBER)
    return None
