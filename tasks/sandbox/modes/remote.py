"""What the tests hold of things that stay with the code: functions, classes, iterators and objects.

No operation hands the code a value that a test compares with: an object of the code equals nothing but itself, has no
arithmetic and no order, and its methods can be called only where the test made it from a class with a capital letter.
So `candidate(x) == 5`, `5 in candidate(x)`, `abs(candidate(x) - 5) < 0.1` and `candidate(x).startswith("five")` cannot
be answered by an object that says yes to everything.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tasks.sandbox.modes.values import Remote


class Side(Protocol):
    def ask(
        self, what: str, target: Any, arguments: Sequence[Any] = (), named: Mapping[str, Any] | None = None
    ) -> Any: ...


class _Held(Remote):
    def __init__(self, side: Side, key: int | str, label: str) -> None:
        super().__init__(key, label)
        object.__setattr__(self, "_side", side)

    _side: Side

    def __repr__(self) -> str:
        return f"<{self._label} of the code>"


class Function(_Held):
    @property
    def __name__(self) -> str:
        return self._label

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._side.ask("call", self, arguments, named)


class Iterator(_Held):
    def __iter__(self) -> "Iterator":
        return self

    def __next__(self) -> Any:
        return self._side.ask("next", self)


class Thing(_Held):
    """An object that the code gave: its plain attributes, items and texts can be read."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = self._side.ask("get", self, [name])
        if isinstance(value, Function):
            raise TypeError(f"a method of an object that the code gave ({self._label}) cannot be called")
        return value

    def __getitem__(self, key: Any) -> Any:
        return self._side.ask("item", self, [key])

    def __len__(self) -> int:
        return _of(int, self._side.ask("size", self))

    def __iter__(self) -> Any:
        return iter(self._side.ask("iterate", self))

    def __bool__(self) -> bool:
        return _of(bool, self._side.ask("truth", self))

    def __str__(self) -> str:
        return _of(str, self._side.ask("text", self))

    def __repr__(self) -> str:
        return _of(str, self._side.ask("shown", self))


class Made(Thing):
    """An object that the tests made themselves from a class of the code: all of it is there to be used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._side.ask("get", self, [name])

    def __setattr__(self, name: str, value: Any) -> None:
        self._side.ask("set", self, [name, value])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._side.ask("put", self, [key, value])

    def __delitem__(self, key: Any) -> None:
        self._side.ask("drop", self, [key])

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._side.ask("call", self, arguments, named)

    def __next__(self) -> Any:
        return self._side.ask("next", self)

    def __enter__(self) -> Any:
        self._side.ask("enter", self)
        return self

    def __exit__(self, *_: object) -> None:
        self._side.ask("leave", self)


class Class(Function):
    """A class of the code. One without a capital letter is taken for a function that happens to be one."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        made = super().__call__(*arguments, **named)
        if isinstance(made, _Held) and self._label[:1].isupper():
            return Made(self._side, made._key, self._label)
        return made

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not self._label[:1].isupper():
            raise AttributeError(name)
        return self._side.ask("get", self, [name])

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, Thing) and value._label == self._label


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"the code gave a {type(value).__name__} where Python wants {kind.__name__}")
    return value
