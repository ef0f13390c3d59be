"""Holds model-written code and answers calls of its functions. It is given names and arguments, never what is expected.

Everything in this process is the code's to overwrite: what leaves it is taken as data by the other side.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tasks.sandbox.modes import running
from tasks.sandbox.modes.conversation import Conversation, Gone, send
from tasks.sandbox.modes.values import Handle, Remote

_FILE = "<code>"


def run(job: Mapping[str, Any], channel: Any) -> None:
    """job: sources (the first that compiles runs), shared (source that both sides run first), first_handle."""
    running.silence()
    namespace = running.module("solution")
    try:
        exec(running.first_that_compiles([job["shared"]], "<shared>"), namespace)  # noqa: S102
        authored = running.classes(namespace)
        exec(running.first_that_compiles(job["sources"], _FILE), namespace)  # noqa: S102
    except MemoryError:
        raise  # the worker tells it by the exit status
    except BaseException as fault:
        send(channel, "failed", running.described(fault, _FILE))
        return
    # A class that the code writes again is the one that its functions know.
    current = {name: found for name in authored if isinstance(found := namespace.get(name), type)}
    send(channel, "ready", "\n".join(f"{_kind(value)} {name}" for name, value in namespace.items() if _public(name)))
    _Solution(channel, current, namespace, job["first_handle"]).serve()


def _public(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier() and not name.startswith("__")


def _kind(value: Any) -> str:
    return "class" if isinstance(value, type) else "call" if callable(value) else "data"


class _Solution(Conversation):
    asks, is_asked = "callback", "call"

    def __init__(
        self, channel: Any, authored: Mapping[str, type], namespace: dict[str, Any], first_handle: int
    ) -> None:
        super().__init__(channel, authored, trusting=True, first_handle=first_handle)
        self._namespace = namespace

    def serve(self) -> None:
        while True:
            self.answer(self._channel.receive()["text"])

    def _performed(self, what: str, target: Any, arguments: list[Any], named: dict[str, Any]) -> tuple[str, Any]:
        try:
            return super()._performed(what, target, arguments, named)
        except Gone as fault:  # a callback gave nothing that could be used
            return "gone", str(fault)

    def _perform(self, what: str, target: Any, arguments: list[Any], named: dict[str, Any]) -> Any:
        return target(*arguments, **named) if what == "call" else _DOES[what](target, *arguments)

    def _mine(self, key: int | str) -> Any:
        return self._handed[key] if isinstance(key, int) else self._namespace[key]

    def _kind(self, value: Any) -> str:
        if callable(value) and not isinstance(value, type):
            return "call"
        return "next" if hasattr(value, "__next__") else "object"

    def _theirs(self, handle: Handle) -> Any:
        number, kind, label = handle
        return _Callback(self, number, label) if kind == "call" else _Iterator(self, number, label)


# What a test may do to an object of the code, besides calling it.
_DOES: Mapping[str, Callable[..., Any]] = {
    "value": lambda target: target,
    "get": getattr,
    "set": setattr,
    "item": lambda target, key: target[key],
    "put": lambda target, key, value: target.__setitem__(key, value),
    "drop": lambda target, key: target.__delitem__(key),
    "size": len,
    "iterate": iter,
    "next": next,
    "text": str,
    "shown": repr,
    "truth": bool,
    "enter": lambda target: target.__enter__(),
    "leave": lambda target: target.__exit__(None, None, None),
}


class _Callback(Remote):
    """A function of the tests, passed as an argument."""

    def __init__(self, side: Conversation, key: int, label: str) -> None:
        super().__init__(key, label)
        self._side = side
        self.__name__ = label

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._side.ask("call", self, arguments, named)


class _Iterator(_Callback):
    def __iter__(self) -> "_Iterator":
        return self

    def __next__(self) -> Any:
        return self._side.ask("next", self)
