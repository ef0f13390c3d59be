"""exact: the whole reply equals the reference after the shared normalisation (case, blanks, typographic signs).

A list of references means that each of them is right. Nothing is searched for: "It is Paris." is not "Paris".
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from tasks.graders import templates
from tasks.graders.outcome import AuthorFault, Check, ModelFault, scored, wrong
from tasks.text import excerpt, normalise
from tasks.types import Grade

EXAMPLE: Mapping[str, Any] = {
    "grader": {"type": "exact", "reference": "{{ item.reference }}"},
    "item": {"reference": "Mount Everest"},
    "completion": "mount  everest",
}

Scalar = str | int | float | bool


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="exact", tag_field="type"):
    reference: Scalar | list[Scalar] = "{{ item.reference }}"
    input: str = "{{ sample.output_text }}"
    case_sensitive: bool = False  # True: only blanks are folded
    name: str = ""
    pass_threshold: float = 1.0


def compile(config: Config) -> Check:
    text_of = templates.parse(config.input)

    def check(completion: str, item: Mapping[str, Any]) -> Grade:
        wanted = _wanted(config, completion, item)
        text = text_of.text(completion, item)
        said = _key(text, config)
        if not said:
            return wrong(None, "The reply is empty.")
        if said in wanted:
            return scored(1.0, config.pass_threshold, text, "Matches the reference.")
        first, others = next(iter(wanted.values())), len(wanted) - 1
        more = f" or one of {others} more" if others else ""
        return scored(0.0, config.pass_threshold, text, f"Expected '{excerpt(first)}'{more}.")

    return check


def _key(text: str, config: Config) -> str:
    return " ".join(text.split()) if config.case_sensitive else normalise(text)


def _wanted(config: Config, completion: str, item: Mapping[str, Any]) -> Mapping[str, str]:
    """What is compared -> the reference as written, the first one first."""
    given = templates.fill(config.reference, completion, item)
    listed = given if isinstance(given, list) else [given]
    if any(value is None or isinstance(value, list | Mapping) for value in listed):
        raise AuthorFault("bad_reference", "The reference is neither a text or a number nor a list of them.")
    wanted = {_key(text, config): text for text in map(templates.as_text, listed)}
    if not wanted or "" in wanted:
        raise AuthorFault("bad_reference", "The reference is empty.")
    return wanted


def gold(config: Config, item: Mapping[str, Any]) -> str | None:
    """Known only where the reply itself is compared: it is the first reference."""
    if config.input.replace(" ", "") != "{{sample.output_text}}":
        return None
    try:
        return next(iter(_wanted(config, "", item).values()))
    except (AuthorFault, ModelFault):
        return None


def coincides(config: Config, item: Mapping[str, Any], completion: str) -> bool:
    """A text that equals one of the references is right, wherever it came from."""
    try:
        return compile(config)(completion, item).correct
    except (AuthorFault, ModelFault):
        return False


def reference_problem(config: Config, item: Mapping[str, Any]) -> str | None:
    """Why the reference of this item cannot be used, as a sentence."""
    _wanted(config, "", item)
    return None
