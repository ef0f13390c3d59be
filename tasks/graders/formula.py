"""Formulas of a multi grader: + - * / ^, parentheses, min, max, abs, floor, ceil, exp, sqrt and log over named scores.

Parsed by hand into a program for a stack, never by Python: what stands in a configuration is text from a stranger.
`-a^2` is -(a^2), `^` (also written `**`) groups from the right, log is the natural logarithm.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

MAX_CHARACTERS = 2_000
MAX_DEPTH = 50
_TOKEN = re.compile(
    r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([A-Za-z_]\w*)|(\*\*|[-+*/^(),]))", re.ASCII
)

_FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "min": lambda *of: min(of), "max": lambda *of: max(of), "abs": abs, "floor": math.floor, "ceil": math.ceil,
    "exp": math.exp, "sqrt": math.sqrt, "log": math.log,
}  # fmt: skip
FUNCTIONS = frozenset(_FUNCTIONS)
_OF_MANY = ("min", "max")
_OPERATORS: Mapping[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b, "^": math.pow,
}  # fmt: skip


class FormulaError(ValueError):
    """The formula cannot be read, or has no value for these scores. The sentence has no full stop."""


@dataclass(frozen=True, slots=True)
class Step:
    """Takes `takes` values from the stack and puts one there."""

    kind: str  # number | name | operator | function
    name: str
    number: float = 0.0
    takes: int = 0


@dataclass(frozen=True, slots=True)
class Formula:
    source: str
    program: tuple[Step, ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(step.name for step in self.program if step.kind == "name")

    def value(self, scores: Mapping[str, float]) -> float:
        """A finite number; raises FormulaError where there is none (a division by zero, a root of less than zero)."""
        stack: list[float] = []
        for step in self.program:
            if step.kind == "number":
                stack.append(step.number)
            elif step.kind == "name":
                stack.append(scores[step.name])
            else:
                given = stack[len(stack) - step.takes :]
                del stack[len(stack) - step.takes :]
                stack.append(_applied(step, given))
        return stack[0]


def _applied(step: Step, given: Sequence[float]) -> float:
    shown = f"{step.name}({', '.join(f'{value:g}' for value in given)})"
    if step.kind == "operator" and len(given) == 2:
        shown = f"{given[0]:g} {step.name} {given[1]:g}"
    try:
        if step.kind == "function":
            value = float(_FUNCTIONS[step.name](*given))
        else:
            value = -given[0] if len(given) == 1 else _OPERATORS[step.name](*given)
    except ZeroDivisionError:
        raise FormulaError(f"{shown} divides by zero") from None
    except (ValueError, OverflowError):
        raise FormulaError(f"{shown} has no value") from None
    if not math.isfinite(value):
        raise FormulaError(f"{shown} has no finite value")
    return value


def parse(source: str, names: Sequence[str]) -> Formula:
    """Raises FormulaError with the position, counted from 1."""
    if len(source) > MAX_CHARACTERS:
        raise FormulaError(f"The formula is longer than {MAX_CHARACTERS:,} characters")
    reader = _Reader(_tokens(source), frozenset(names))
    reader.sum()
    reader.end()
    return Formula(source, tuple(reader.program))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number | name | sign | end
    text: str
    position: int


def _tokens(source: str) -> list[_Token]:
    tokens: list[_Token] = []
    position, end = 0, len(source.rstrip())
    while position < end:
        found = _TOKEN.match(source, position)
        if not found:
            blanks = len(source[position:]) - len(source[position:].lstrip())
            wrong = position + blanks
            raise FormulaError(f"The formula has {source[wrong]!r} at position {wrong + 1}, which means nothing here")
        number, name, sign = found.groups()
        kind = "number" if number else "name" if name else "sign"
        text = number or name or ("^" if sign == "**" else sign)
        tokens.append(_Token(kind, text, found.end() - len(found[0].lstrip()) + 1))
        position = found.end()
    return [*tokens, _Token("end", "the end", end + 1)]


@dataclass(slots=True)
class _Reader:
    """Recursive descent, one method a level of precedence; each puts its part of the program behind what is there."""

    tokens: Sequence[_Token]
    names: frozenset[str]
    program: list[Step] = field(default_factory=list)
    position: int = 0
    depth: int = 0

    def sum(self) -> None:
        self._chain("+-", self._product)

    def _product(self) -> None:
        self._chain("*/", self._signed)

    def _chain(self, signs: str, part: Callable[[], None]) -> None:
        part()
        while self._next.kind == "sign" and self._next.text in signs:
            sign = self._take().text
            part()
            self.program.append(Step("operator", sign, takes=2))

    def _signed(self) -> None:
        """Any number of signs, then a power: a minus binds weaker than ^."""
        negative = False
        while self._next.text in ("+", "-"):
            negative ^= self._take().text == "-"
        self._power()
        if negative:
            self.program.append(Step("operator", "-", takes=1))

    def _power(self) -> None:
        self._atom()
        if self._next.text == "^":
            self._take()
            self._deeper(self._signed)
            self.program.append(Step("operator", "^", takes=2))

    def _atom(self) -> None:
        token = self._take()
        if token.kind == "number":
            self._number(token)
        elif token.kind == "name" and self._next.text == "(":
            self._call(token)
        elif token.kind == "name":
            if token.text not in self.names:
                known = ", ".join(sorted(self.names))
                raise FormulaError(
                    f"There is no grader '{token.text[:60]}' (position {token.position}): there is {known}"
                )
            self.program.append(Step("name", token.text))
        elif token.text == "(":
            self._deeper(self.sum)
            self._closing(token)
        else:
            raise FormulaError(f"A number, a name or ( is missing at position {token.position}, before {token.text}")

    def _number(self, token: _Token) -> None:
        value = float(token.text)
        if not math.isfinite(value):
            raise FormulaError(f"The number at position {token.position} is too large")
        self.program.append(Step("number", "", value))

    def _call(self, name: _Token) -> None:
        if name.text not in FUNCTIONS:
            known = ", ".join(sorted(FUNCTIONS))
            raise FormulaError(f"There is no function '{name.text[:60]}' (position {name.position}): there is {known}")
        opening = self._take()
        self._deeper(self.sum)
        count = 1
        while self._next.text == "," and name.text in _OF_MANY:
            self._take()
            self._deeper(self.sum)
            count += 1
        if self._next.text == ",":
            raise FormulaError(f"{name.text} takes one value, and has another at position {self._next.position}")
        self._closing(opening)
        self.program.append(Step("function", name.text, takes=count))

    def _closing(self, opening: _Token) -> None:
        if self._next.text != ")":
            raise FormulaError(
                f"The ( at position {opening.position} is not closed before {self._next.text} "
                f"(position {self._next.position})"
            )
        self._take()

    def _deeper(self, part: Callable[[], None]) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise FormulaError(f"The formula nests deeper than {MAX_DEPTH} levels")
        part()
        self.depth -= 1

    def end(self) -> None:
        if self._next.kind != "end":
            raise FormulaError(f"An operator is missing at position {self._next.position}, before {self._next.text}")

    @property
    def _next(self) -> _Token:
        return self.tokens[self.position]

    def _take(self) -> _Token:
        token = self.tokens[self.position]
        self.position += token.kind != "end"
        return token
