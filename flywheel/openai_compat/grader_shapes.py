"""Grader configurations as OpenAI writes them and as the registry reads them. Values only.

The types and fields are the same by design; what differs is what stands here. Our own types pass as they are.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from tasks.errors import Invalid
from tasks.graders import registry

Shape = Mapping[str, Any]

FOREIGN = frozenset({"string_check", "text_similarity", "score_model", "label_model", "python", "multi"})
_NO_TEXT = {"input_image": "images", "input_audio": "audio"}
_SHARES = [0, 1]


def ours(grader: Shape, *, labels_alone: bool = False) -> dict[str, Any]:
    """The configuration that the registry reads. Raises Invalid only for what it could not tell by itself.

    `labels_alone`: whether a label_model may stand outside a multi, as it may in an eval.
    """
    if grader.get("type") == "label_model" and not labels_alone:
        sentence = "A label_model grader stands inside a multi grader here: put it among the `graders` of one."
        raise Invalid("bad_grader", sentence, "grader.type")
    given = _given(grader)
    children = given.get("graders")
    if given.get("type") != "multi" or not isinstance(children, Mapping):
        return _single(given, "grader")
    return {
        **_units(children),
        **given,
        "graders": {key: _single(child, f"grader.graders.{str(key)[:64]}") for key, child in children.items()},
    }


def completed(grader: Shape) -> dict[str, Any]:
    """What validate and a job show: as it was written, with a name everywhere and the defaults that the types name.

    Raises Invalid where the grader cannot be right. Ours are shown with every default, as the own API shows them.
    """
    parsed = registry.parse(ours(grader, labels_alone=True))
    return _completed(_given(grader), parsed, name_of(parsed))


def name_of(config: registry.Config) -> str:
    """A grader without a name gets one, the same at each asking."""
    given: str = config.name  # type: ignore[attr-defined]  # every grader has one
    return given or f"{config.__struct_config__.tag}-{registry.digest(config)[:8]}"


def _completed(given: Shape, parsed: registry.Config, name: str) -> dict[str, Any]:
    if not _is_foreign(given):
        return {**msgspec.to_builtins(parsed), "name": name}
    shown = {**given, "name": name}
    if given["type"] == "score_model":
        return {"range": _SHARES, **shown}
    if given["type"] == "multi":
        children = parsed.graders.items()  # type: ignore[attr-defined]
        shown["graders"] = {key: _completed(_given(given["graders"][key]), of, of.name or key) for key, of in children}
    return shown


def _is_foreign(grader: Shape) -> bool:
    kind = grader.get("type")
    return isinstance(kind, str) and kind in FOREIGN


def _given(grader: Shape) -> dict[str, Any]:
    """Without what is null, and with the children of a multi under keys: a client's dump of its types may have both.

    It reads a multi's reply as the first type of its union, whose fields it then dumps as null.
    """
    if not _is_foreign(grader):
        return dict(grader)
    given = {key: value for key, value in grader.items() if value is not None}
    children = given.get("graders")
    if given["type"] == "multi" and isinstance(children, Mapping) and isinstance(children.get("type"), str):
        given["graders"] = {str(children.get("name") or children["type"]): children}
    return given


def _units(children: Shape) -> dict[str, str]:
    """OpenAI's formulas read a judge's number in the units of its range; ours a share of it, unless they are told."""
    ranges = [child.get("range") or _SHARES for child in children.values() if isinstance(child, Mapping)]
    return {} if all(found == _SHARES for found in ranges) else {"score_units": "range"}


def _single(grader: Any, field: str) -> Any:
    if not isinstance(grader, Mapping) or not _is_foreign(grader):
        return grader
    given = _given(grader)
    if isinstance(messages := given.get("input"), list):
        given["input"] = [_message(message, f"{field}.input[{place}]") for place, message in enumerate(messages)]
    return given


def _message(message: Any, field: str) -> Any:
    if not isinstance(message, Mapping):
        return message
    given = {key: value for key, value in message.items() if value is not None or key != "type"}
    content = given.get("content")
    if isinstance(content, list):
        given["content"] = [_part(part, f"{field}.content[{place}]") for place, part in enumerate(content)]
    elif content is not None:
        given["content"] = _part(content, f"{field}.content")
    return given


def _part(part: Any, field: str) -> Any:
    """Without the hint for a cache that is OpenAI's own."""
    if not isinstance(part, Mapping):
        return part
    if what := _NO_TEXT.get(str(part.get("type"))):
        raise Invalid("bad_grader", f"Judges read text here: leave {what} out of `{field}`.", field)
    return {key: value for key, value in part.items() if key != "prompt_cache_breakpoint"}
