"""The graders as /docs/graders shows them: what docs/graders.md says, and the fields as the code has them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import msgspec
from django.utils.safestring import SafeString
from msgspec import inspect

from tasks.errors import FlywheelError
from tasks.graders import registry
from tasks.models import User
from tasks.services import trying
from tasks.types import Grade
from tasks.views import documents

DOCUMENT = "graders.md"
PATIENCE_SECONDS = 4.0  # for all examples of one view; each is made once a process
_SHARED_HELP = {
    "name": "A label for people: it decides nothing.",
    "pass_threshold": "A reply is correct from this score on.",
}


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    kind: str
    default: str | None  # JSON; None: required
    help: SafeString


@dataclass(frozen=True, slots=True)
class Entry:
    type: str
    summary: str
    grader: Mapping[str, Any]
    item: Mapping[str, Any]
    completion: str
    grade: Grade | None  # of the example; None where it was not made now
    not_graded: str  # and why
    fields: tuple[Field, ...]
    about: SafeString
    replies: tuple[tuple[str, str, str], ...]  # reply, outcome, score


_graded: dict[str, Grade] = {}  # examples do not change while the process lives


def entries(reader: User) -> tuple[Entry, ...]:
    """In order of their names. Examples that would hold the page up are made when it is opened again."""
    patience = monotonic() + PATIENCE_SECONDS
    return tuple(_entry(described, reader, patience) for described in registry.describe())


def general() -> tuple[tuple[str, str, SafeString], ...]:
    """(anchor, heading, text) of what the document says beside the graders themselves."""
    known = registry.types()
    found = documents.sections(DOCUMENT).items()
    return tuple((documents.anchor(head), head, documents.html(text)) for head, text in found if head not in known)


def _entry(described: Mapping[str, Any], reader: User, patience: float) -> Entry:
    kind = described["type"]
    text = documents.sections(DOCUMENT).get(kind, "")
    prose = documents.without_tables(text, "reply", "field", "input")
    grade, why = _example(described, reader, patience)
    return Entry(
        type=kind,
        summary=described["summary"],
        grader=described["grader"],
        item=described["item"],
        completion=described["completion"],
        grade=grade,
        not_graded=why,
        fields=tuple(_fields(kind, text)),
        about=documents.html(prose),
        replies=tuple(_replies(text)),
    )


def _example(described: Mapping[str, Any], reader: User, patience: float) -> tuple[Grade | None, str]:
    """The example's grade, made once; what asks a model is not asked for a page."""
    kind = described["type"]
    if kind not in _graded:
        config = registry.parse(described["grader"])
        if registry.asks_a_model(config):
            return None, "A model decides this one: the page does not spend tokens on it."
        if monotonic() > patience and trying.runs_elsewhere(config):
            return None, "Not graded yet: the graders are still warming up. Open the page again."
        try:
            grade = trying.grade(config, described["completion"], described["item"], actor=reader)
        except FlywheelError as refused:
            return None, refused.sentence
        if grade.outcome == "ungradable":
            return None, grade.reason  # this machine's trouble, and perhaps gone the next time
        _graded[kind] = grade
    return _graded[kind], ""


def _replies(text: str) -> Iterator[tuple[str, str, str]]:
    for head, *rows in documents.tables(text):
        if head == ["reply", "outcome", "score"]:
            yield from ((reply.strip("`"), outcome, score) for reply, outcome, score in rows)


def _fields(kind: str, text: str) -> Iterator[Field]:
    told = {row[0].strip("`"): row[-1] for head, *rows in documents.tables(text) if head[0] == "field" for row in rows}
    info: Any = inspect.type_info(registry.modules()[kind].Config)
    for field in info.fields:
        said = told.get(field.encode_name) or _SHARED_HELP.get(field.encode_name, "")
        yield Field(field.encode_name, _kind(field.type), _default(field), documents.inline(said))


def _default(field: inspect.Field) -> str | None:
    if field.required:
        return None
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False)


_WORDS: Mapping[type, str] = {
    inspect.StrType: "text",
    inspect.IntType: "whole number",
    inspect.FloatType: "number",
    inspect.BoolType: "true or false",
    inspect.NoneType: "null",
    inspect.AnyType: "anything",
    inspect.StructType: "object",
}


def _kind(found: Any) -> str:
    """A type in words: list of text, one of eq, ne."""
    match found:
        case inspect.LiteralType(values=values):
            return "one of " + ", ".join(str(value) for value in values)
        case inspect.UnionType(types=types):
            words = dict.fromkeys(_kind(one) for one in types)
            return " or ".join(word for word in words if word != "whole number" or "number" not in words)
        case inspect.ListType(item_type=inner) | inspect.VarTupleType(item_type=inner):
            return f"list of {_kind(inner)}"
        case inspect.DictType(value_type=inner):
            return "object" if isinstance(inner, inspect.AnyType) else f"name → {_kind(inner)}"
    return _WORDS.get(type(found), "value")
