"""string_check: compares two texts. like means input contains reference; ilike the same without regard to case."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from tasks.graders import templates
from tasks.graders.outcome import AuthorFault, Check, ModelFault, scored, wrong
from tasks.types import Grade

EXAMPLE: Mapping[str, Any] = {
    "grader": {
        "type": "string_check",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.reference }}",
        "operation": "eq",
    },
    "item": {"reference": "Paris"},
    "completion": "Paris",
}


class Config(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="string_check", tag_field="type"
):
    input: str
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"]
    name: str = ""
    pass_threshold: float = 1.0


_HOLDS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}
_CONTAINED = "The reference is empty, and every text contains that."
_WANTED = {"eq": "to equal", "ne": "to differ from", "like": "to contain", "ilike": "to contain, in any case,"}


def compile(config: Config) -> Check:
    text_of, reference_of = templates.parse(config.input), templates.parse(config.reference)
    holds, wanted = _HOLDS[config.operation], _WANTED[config.operation]

    def check(completion: str, item: Mapping[str, Any]) -> Grade:
        text, reference = text_of.text(completion, item), reference_of.text(completion, item)
        if not reference and "like" in config.operation:
            raise AuthorFault("bad_reference", _CONTAINED)
        if not text.strip() and config.operation == "ne":  # or a reply that is all reasoning would win
            return wrong(text, "The reply is empty.")
        if holds(text, reference):
            return scored(1.0, config.pass_threshold, text, "Matches the reference.")
        return scored(0.0, config.pass_threshold, text, f"Expected {wanted} '{reference[:200]}'.")

    return check


def gold(config: Config, item: Mapping[str, Any]) -> str | None:
    """Known only where the reply itself is compared: it is the reference, unless the reply must differ from it."""
    if config.operation == "ne" or config.input.replace(" ", "") != "{{sample.output_text}}":
        return None
    try:
        return templates.parse(config.reference).text("", item)
    except (AuthorFault, ModelFault):
        return None


def reference_problem(config: Config, item: Mapping[str, Any]) -> str | None:
    """Why the reference of this item cannot be used, as a sentence."""
    reference = templates.parse(config.reference).text("", item)
    return _CONTAINED if not reference and "like" in config.operation else None
