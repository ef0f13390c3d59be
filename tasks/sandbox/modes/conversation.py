"""Two processes that call each other's functions: the tests ask the code, the code may ask for a callback in between.

Each request and each answer is one text of tasks/sandbox/modes/values.py, cut into frames. Arguments that the other
side changed in place are changed here too.
"""

import builtins
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.sandbox.modes.values import Border, Handle, Packing, Remote, Uncarried, Unpacking

_PLAIN = (str, int, float, type(None))
PIECE = 24_000  # characters of a text in one frame: escaped twice they still fit


class Gone(BaseException):
    """No value will come. No `except Exception` of a test holds it up."""


def send(channel: Any, kind: str, text: str = "") -> None:
    for start in range(0, max(len(text), 1), PIECE):
        channel.send({"kind": kind, "text": text[start : start + PIECE], "more": start + PIECE < len(text)})


class Conversation:
    """One side of it. Subclasses say what the other side may do here and what stands for what stays over there."""

    asks: str  # kinds of frame
    is_asked: str
    asked = 0  # how often the other side was

    def __init__(self, channel: Any, authored: Mapping[str, type], trusting: bool, first_handle: int = 0) -> None:
        self._channel = channel
        self._handed: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}
        self._next_handle = first_handle
        self._border = Border(authored, self._export, self._mine, self._theirs, trusting)

    def ask(self, what: str, target: Any, arguments: Sequence[Any] = (), named: Mapping[str, Any] | None = None) -> Any:
        named = dict(named or {})
        packing = Packing(self._border)
        question = packing.text(what, target, list(arguments), named)
        self.asked += 1
        send(self._channel, self.asks, question)
        while (message := self._channel.receive())["kind"] == self.is_asked:
            self.answer(message["text"])
        if message["kind"] == "lost":
            raise Gone(message["text"])
        try:
            found = Unpacking(self._border, packing.objects).values(message["text"])
            how, result, changed = found
        except (Uncarried, ValueError) as fault:
            raise Gone(f"gave {fault}") from None
        if changed is not None:
            try:
                settle([*arguments, named], changed)
            except Exception as fault:
                raise Gone(f"made something impossible of its arguments ({type(fault).__name__})") from None
        if how == "value":
            return result
        raise self._raised(result) if how == "raised" else Gone(str(result))

    def answer(self, text: str) -> None:
        """Do what the other side asks and tell it what came of it."""
        unpacking = Unpacking(self._border)
        try:
            what, target, arguments, named = unpacking.values(text)
            before = _mutable_text(self._border, unpacking.objects, arguments, named)
            how, result = self._performed(what, target, arguments, named)
            packing = Packing(self._border, unpacking.objects)
            changed = None
            if before is not None and before != _mutable_text(self._border, unpacking.objects, arguments, named):
                changed = [*arguments, named]
            answer = packing.text(how, result, changed)
        except Exception as fault:  # the values may be objects of hostile classes
            told = str(fault) if isinstance(fault, Uncarried) else f"a value that raises {type(fault).__name__}"
            answer = Packing(self._border).text("gone", f"gave {told}", None)
        send(self._channel, "answer", answer)

    def _performed(self, what: str, target: Any, arguments: list[Any], named: dict[str, Any]) -> tuple[str, Any]:
        try:
            return "value", self._perform(what, target, arguments, named)
        except Gone:
            raise
        except BaseException as fault:
            return "raised", self._told(fault)

    def _perform(self, what: str, target: Any, arguments: list[Any], named: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _theirs(self, handle: Handle) -> Any:
        raise NotImplementedError

    def _kind(self, value: Any) -> str | None:
        """As what this side hands a value over that cannot be copied; None: not at all."""
        raise NotImplementedError

    def _export(self, value: Any) -> Handle:
        kind = self._kind(value)
        if kind is None:
            raise Uncarried(f"a value of type {type(value).__name__}")
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = self._next_handle
            self._handed[number] = value
            self._next_handle += 1
        return number, kind, str(getattr(value, "__name__", type(value).__name__))[:80]

    def _mine(self, key: int | str) -> Any:
        return self._handed[key] if isinstance(key, int) else None

    def _told(self, fault: BaseException) -> list[Any]:
        """An exception as plain data: its own name, the builtin class nearest to it, its plain arguments, its text."""
        nearest = next(kind for kind in type(fault).__mro__ if getattr(builtins, kind.__name__, None) is kind)
        plain = [value for value in fault.args if isinstance(value, _PLAIN)]
        try:
            said = str(fault)[:2000]
        except BaseException:  # the class is the code's own
            said = ""
        arguments = [value[:2000] if isinstance(value, str) else value for value in plain]
        return [type(fault).__name__, nearest.__name__, arguments if len(plain) == len(fault.args) else [said]]

    def _raised(self, told: Any) -> BaseException:
        try:
            name, nearest, arguments = told
            kind = getattr(builtins, str(nearest))
            if not issubclass(kind, BaseException) or not all(isinstance(value, _PLAIN) for value in arguments):
                raise TypeError
            made = kind if name == nearest else type(str(name), (kind,), {})
            fault: BaseException = made.__new__(made, *arguments)
            fault.args = tuple(arguments)
        except (TypeError, ValueError, AttributeError):
            return Gone("raised an exception that cannot be told")
        return fault if isinstance(fault, Exception) else Gone(f"raised {name}")


def _mutable_text(border: Border, objects: Iterable[Any], arguments: list[Any], named: dict[str, Any]) -> str | None:
    """The arguments as a text, to see afterwards whether they were changed; None where they cannot be."""
    values = [*arguments, *named.values()]
    if all(isinstance(value, str | int | float | bytes | range | Remote | None) for value in values):
        return None
    return Packing(border, objects).text(*arguments, named)


def settle(old: Any, new: Any) -> Any:
    """Make the old value equal to the new one, in place as far as it can be, so that every name for it sees that."""
    if type(old) is not type(new) or isinstance(old, Remote):
        return new
    if isinstance(old, list):
        old[:] = [*map(settle, old, new), *new[len(old) :]]
    elif isinstance(old, dict):
        settled = {key: settle(old[key], value) if key in old else value for key, value in new.items()}
        old.clear()
        old.update(settled)
    elif isinstance(old, set):
        old.clear()
        old.update(new)
    elif isinstance(old, deque | bytearray):
        old.clear()
        old.extend(new)
    elif isinstance(old, tuple) and len(old) == len(new):
        return old if all(settle(one, other) is one for one, other in zip(old, new, strict=True)) else new
    elif type(old).__name__ == "ndarray" and old.shape == new.shape:
        old[...] = new
    else:
        return new
    return old
