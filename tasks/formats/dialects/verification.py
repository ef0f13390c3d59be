"""Graders for what other systems call their verifiers: by name, with the truth written as ours read it.

What a verifier of theirs checks and no grader of ours is left to the dataset's grader: the row keeps its reference.
"""

import ast
import re
from collections.abc import Mapping
from typing import Any

import msgspec

MAX_LITERAL_CHARACTERS = 20_000
_NUMBER, _MATH, _EXACT = {"type": "number"}, {"type": "math"}, {"type": "exact"}
_CODE, _IFEVAL = {"type": "code"}, {"type": "ifeval"}
_BY_NAME: Mapping[str, dict[str, Any]] = {
    **dict.fromkeys(("gsm8k", "openai/gsm8k"), _NUMBER),
    **dict.fromkeys(
        ("math", "strict_math", "math500", "math_dapo", "math_dapo_reasoning", "aime", "numina_math"), _MATH
    ),
    **dict.fromkeys(("lighteval/math", "digitallearninggmbh/math-lighteval", "huggingfaceh4/math-500"), _MATH),
    **dict.fromkeys(("string_matcher", "puzzle"), _EXACT),
    **dict.fromkeys(("code", "code_stdio", "codecontests", "apps", "codeforces", "taco"), _CODE),
    **dict.fromkeys(("ifeval", "ifeval_old"), _IFEVAL),
}
_BEGINNINGS = (("aime", _MATH), ("numina_", _MATH), ("ifeval", _IFEVAL), ("if_", _IFEVAL))


class Unusable(Exception):
    """The truth is not what its verifier reads; the message is a sentence's part."""


def grader_of(name: str) -> dict[str, Any] | None:
    known = name.strip().lower()
    beginning = next((grader for start, grader in _BEGINNINGS if known.startswith(start)), None)
    return _BY_NAME.get(known) or beginning


def use(row: dict[str, Any], name: str, truth: Any) -> None:
    """Give the row the grader of a verifier, and the truth where that one reads it. Raises Unusable."""
    truth = truth[0] if isinstance(truth, list) and len(truth) == 1 else truth
    grader = grader_of(name)
    if grader is _IFEVAL:
        row.setdefault("item", {})["instructions"] = instructions(truth)
    elif grader is _CODE:
        row.setdefault("item", {})["tests"] = _tests(truth)
    else:
        row["reference"] = truth
    if grader is not None:
        row.setdefault("grader", grader)


def instructions(truth: Any) -> list[dict[str, Any]]:
    """IFEval's: [{"instruction_id": [...], "kwargs": [...]}], as JSON or as Python would write it."""
    groups = _literal(truth)
    groups = groups if isinstance(groups, list) else [groups]
    found: list[dict[str, Any]] = []
    for group in groups:
        if not isinstance(group, dict):
            raise Unusable("its instructions are not a list of objects")
        ids = group.get("instruction_id") or group.get("instruction_id_list") or group.get("id")
        ids = [ids] if isinstance(ids, str) else ids
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise Unusable("its instructions have no `instruction_id`")
        kwargs = group.get("kwargs") or [None] * len(ids)
        kwargs = [kwargs] if isinstance(kwargs, dict) else kwargs
        if not isinstance(kwargs, list) or len(kwargs) != len(ids):
            raise Unusable(f"{len(ids)} instructions have {len(kwargs)} `kwargs`")
        pairs = zip(ids, kwargs, strict=True)
        found += [
            {"id": one, "kwargs": {k: v for k, v in (given or {}).items() if v is not None}} for one, given in pairs
        ]
    if not found:
        raise Unusable("it has no instructions")
    return found


def _literal(truth: Any) -> Any:
    """A text as JSON, else as a Python literal; sizes are capped because literal_eval builds a tree of its text."""
    if not isinstance(truth, str):
        return truth
    try:
        return msgspec.json.decode(truth)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    if len(truth) > MAX_LITERAL_CHARACTERS or len(re.findall(r"[\[({]", truth)) > 1000:
        raise Unusable(f"its label is longer than {MAX_LITERAL_CHARACTERS:,} characters")
    try:
        plain = msgspec.json.encode(ast.literal_eval(truth.strip()))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise Unusable("its label is neither JSON nor a Python literal") from None
    if b"\\u0000" in plain:  # which Python can write without any trace in the bytes of the row
        raise Unusable("its label holds a NUL character")
    return msgspec.json.decode(plain)


def _tests(truth: Any) -> Any:
    """Assertions, or inputs with outputs; a list in a text is read, a test program stays a text."""
    if isinstance(truth, str) and truth.lstrip()[:1] in ("[", "{"):
        return _literal(truth)
    return truth
