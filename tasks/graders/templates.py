"""A substituter for {{ item.a.b[0] }}, {{ sample.output_text }} and {{ sample.output_json.x }}: look-ups, no engine.

A template is filled in once; what came out of the item or the reply is data and is never expanded again.
Text in double braces that does not begin with a letter ({{1}} in LaTeX) is literal.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tasks.graders.outcome import AuthorFault, ModelFault
from tasks.graders.remembered import remembered
from tasks.text import nests_deeper

MAX_DEPTH = 64
LONGEST = 16_000_000  # characters of a template with its values, where it has more than a few
_FEW = 8
_STEP = re.compile(r"""\.([\w-]+)|\[(\d{1,9})\]|\["([^"]*)"\]|\['([^']*)'\]""")
_OPENING = re.compile(r"\{\{\s*(?=[A-Za-z_])")
_NAMESPACES = ("item", "sample")
_OBJECTS = (dict, Mapping)  # the first is told at once, the second asks an abstract class
_SAMPLE_FIELDS = ("output_text", "output_json", "output_tools", "choices")


@dataclass(frozen=True, slots=True)
class Variable:
    root: str  # item | sample
    steps: tuple[str | int, ...]
    source: str  # as written, for messages


@dataclass(frozen=True, slots=True)
class Template:
    parts: tuple[str | Variable, ...]

    def value(self, completion: str, item: Mapping[str, Any]) -> Any:
        """The bare JSON value where the template is one variable; otherwise the text."""
        parts = self.parts
        if len(parts) == 1 and isinstance(parts[0], Variable):
            return look_up(parts[0], completion, item)
        return self.text(completion, item)

    def text(self, completion: str, item: Mapping[str, Any]) -> str:
        parts = self.parts
        if len(parts) == 1:
            return _text(parts[0], completion, item)
        if len(parts) <= _FEW:
            return "".join([_text(part, completion, item) for part in parts])
        return "".join(_bounded(_text(part, completion, item) for part in parts))

    def variables(self) -> Iterator[Variable]:
        return (part for part in self.parts if isinstance(part, Variable))

    @property
    def reads_reply(self) -> bool:
        return any(variable.root == "sample" for variable in self.variables())


def _bounded(texts: Iterable[str]) -> Iterator[str]:
    """A template of thousands of variables and a row of megabytes would be more than the memory together."""
    left = LONGEST
    for text in texts:
        left -= len(text)
        if left < 0:
            raise AuthorFault(
                "other_error", f"Filled in, the template has more than {LONGEST:,} characters: shorten it."
            )
        yield text


def _text(part: str | Variable, completion: str, item: Mapping[str, Any]) -> str:
    return part if isinstance(part, str) else as_text(look_up(part, completion, item))


@remembered
def parse(source: str) -> Template:
    """Raises ValueError with a sentence on a variable that cannot be meant."""
    parts: list[str | Variable] = []
    position = 0
    for opening in _OPENING.finditer(source):
        if opening.start() < position:  # inside the variable before it, in a quoted key
            continue
        closing = source.find("}}", opening.end())
        if closing < 0:
            break
        if literal := source[position : opening.start()]:
            parts.append(literal)
        parts.append(_variable(source[opening.end() : closing].strip()))
        position = closing + 2
    if position < len(source) or not parts:
        parts.append(source[position:])
    return Template(tuple(parts))


def _variable(inside: str) -> Variable:
    root = next((name for name in _NAMESPACES if inside.startswith(name)), "")
    steps: list[str | int] = []
    position = len(root)
    while position < len(inside) and (step := _STEP.match(inside, position)):
        steps.append(int(step[2]) if step[2] else next(text for text in step.group(1, 3, 4) if text is not None))
        position = step.end()
    if not root or position != len(inside):
        raise ValueError(
            f"'{{{{ {inside[:80]} }}}}' is not a variable: write {{{{ item.name }}}} or {{{{ sample.output_text }}}}"
        )
    if root == "sample" and (not steps or steps[0] not in _SAMPLE_FIELDS):
        raise ValueError(f"'{inside[:80]}' is unknown: sample has {', '.join(_SAMPLE_FIELDS)}")
    return Variable(root, tuple(steps), inside)


def look_up(variable: Variable, completion: str, item: Mapping[str, Any]) -> Any:
    if variable.root == "item":
        try:
            return walk(item, variable.steps)
        except LookupError:
            raise AuthorFault("invalid_variable_error", f"The item has no '{variable.source[:80]}'.") from None
    first = variable.steps[0]
    if first == "output_text" and len(variable.steps) == 1:
        return completion
    try:
        return walk(_sample(str(first), completion), variable.steps[1:])
    except LookupError:
        raise ModelFault("invalid_variable_error", f"The reply has no '{variable.source[:80]}'.") from None


def walk(value: Any, steps: tuple[str | int, ...]) -> Any:
    for step in steps:
        if isinstance(value, _OBJECTS):
            value = value[str(step)]
        elif isinstance(value, list | tuple):
            value = value[int(step)] if isinstance(step, int) or _is_place(step) else _absent(step)
        else:
            _absent(step)
    return value


def _is_place(step: str) -> bool:
    return step.isdecimal() and len(step) < 10  # int() refuses thousands of digits with an error of its own


def _absent(step: str | int) -> Any:
    raise LookupError(step)


def _sample(field: str, completion: str) -> Any:
    if field == "output_json":
        return output_json(completion)
    if field == "choices":
        return [{"message": {"role": "assistant", "content": completion}}]
    return [] if field == "output_tools" else completion


def output_json(completion: str) -> Any:
    try:
        if nests_deeper(completion, MAX_DEPTH):
            raise ModelFault("sample_parse_error", f"The reply's JSON nests deeper than {MAX_DEPTH} levels.")
        return msgspec.json.decode(completion)
    except (msgspec.DecodeError, UnicodeError):
        raise ModelFault("sample_parse_error", "The reply is not JSON.") from None


def as_text(value: Any) -> str:
    """A string as it is, everything else as JSON."""
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # half of a surrogate pair, which the standard library escapes
        return json.dumps(value, separators=(",", ":"))
    except RecursionError:
        raise AuthorFault("bad_reference", "A value of the item nests too deep to be read.") from None


def fill(value: Any, completion: str, item: Mapping[str, Any]) -> Any:
    """A JSON value with every template in it filled in, one level of data deep."""
    if isinstance(value, str):
        return parse(value).value(completion, item) if "{{" in value else value
    if isinstance(value, Mapping):
        return {key: fill(inner, completion, item) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [fill(inner, completion, item) for inner in value]
    return value


def strings(value: Any) -> Iterator[str]:
    """Every string inside a JSON value: where templates can hide in a configuration."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings(inner)
