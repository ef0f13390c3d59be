"""Request bodies into structs. What does not fit is refused with the field's path as `param`, never ignored."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from tasks.errors import Invalid
from trainer.evaluation import eval_items

T = TypeVar("T", bound=msgspec.Struct)

Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]
_PLACE = re.compile(r"\$([^`]*)`$")  # `$.a[0].b`, or `key` in `$.a`
_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]+)`")


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """A request's body. A field that is documented and asks for nothing here is listed all the same."""


def storable(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """A body of which something is kept: without the characters that no row of the database can hold."""
    if refused := eval_items.unstorable(body):
        raise Invalid("invalid_value", f"The request has {refused}: leave it out.")
    return body


def read(body: Any, kind: type[T], within: str = "") -> T:
    """`within`: the path at which the body stands, where it is a part of a larger one."""
    try:
        return msgspec.convert(body, type=kind)
    except msgspec.ValidationError as fault:
        raise _refusal(str(fault), within) from None


def _refusal(told: str, within: str) -> Invalid:
    sentence, _, place = told.partition(" - at `")
    found = _PLACE.search(place)
    path = within + (found[1].replace("[...]", "") if found else "")
    if missing := _MISSING.search(sentence):
        param = _joined(path, missing[1])
        return Invalid("missing_required_parameter", f"Missing required parameter: '{param}'.", param)
    if unknown := _UNKNOWN.search(sentence):
        param = _joined(path, unknown[1])
        return Invalid("unknown_parameter", f"Unknown parameter: '{param}': leave it out.", param)
    field = path.lstrip(".")
    return Invalid("invalid_value", f"Invalid value for '{field or 'the body'}': {sentence}.", field or None)


def _joined(path: str, field: str) -> str:
    return f"{path}.{field}".lstrip(".")
