"""Holds the tests, and what they expect, and calls the code under test in another process.

A test fails by the code's fault when an assertion does not hold, when the code raises, or when what it gave makes the
test stumble. It fails by the author's fault when the tests do not compile, use a name that nobody defines, or raise
before the code has answered once.
"""

import ast
import builtins
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tasks.sandbox.modes import running
from tasks.sandbox.modes.conversation import Conversation, Gone, send
from tasks.sandbox.modes.remote import Class, Function, Iterator, Thing
from tasks.sandbox.modes.values import Handle, Uncarried

_FILE = "<tests>"
_AUTHORS = (SyntaxError, NameError, ImportError, MemoryError, Uncarried)  # whatever the code has answered


def run(job: Mapping[str, Any], channel: Any) -> None:
    """job: shared (source that both sides run first), tests (sources), entry_point ("": whatever the tests call)."""
    running.silence()
    namespace = running.module("tests")
    filename, source = "<shared>", job["shared"]
    try:
        exec(running.first_that_compiles([source], filename), namespace)  # noqa: S102
        filename, compiled = _FILE, []
        for source in job["tests"]:
            compiled.append(running.first_that_compiles([source], filename))
    except BaseException as problem:
        send(channel, "author", running.described(problem, filename, source))
        return
    send(channel, "prepared")
    kinds = channel.receive()["kinds"]
    side = _Tests(channel, running.classes(namespace))
    entry_point = job["entry_point"]
    wanted = {entry_point} if entry_point else _unbound(job["tests"], namespace)
    found = _found(wanted & kinds.keys(), kinds, side)
    namespace.update({name: value for name, value in found.items() if not hasattr(builtins, name)})
    for source, code in zip(job["tests"], compiled, strict=True):
        side.answers = sum(kinds[name] == "data" for name in found)
        candidate = [found[entry_point]] if entry_point else []
        fault = _fault_of(code, namespace, candidate)
        send(channel, *_verdict(fault, source, side.answers, wanted - found.keys()))
    send(channel, "done")


def _found(names: Iterable[str], kinds: Mapping[str, str], side: "_Tests") -> dict[str, Any]:
    """What the code defines of what the tests want."""
    found = {}
    for name in sorted(names):
        with suppress(Gone, Exception):  # a value that cannot be carried is as good as none
            found[name] = side.named(name, kinds[name])
    return found


def _fault_of(code: Any, namespace: dict[str, Any], candidate: list[Any]) -> BaseException | None:
    namespace.pop("check", None)
    try:
        if candidate:
            namespace["candidate"] = candidate[0]
        exec(code, namespace)  # noqa: S102
        if callable(check := namespace.get("check")):
            check(*candidate)
    except BaseException as fault:
        return fault
    return None


def _verdict(fault: BaseException | None, source: str, answers: int, missing: set[str]) -> tuple[str, str]:
    """pass, fail (the assertion does not hold), code (the code is at fault) or author; and a text about it."""
    if fault is None:
        return "pass", ""
    text = running.described(fault, _FILE, source)
    if isinstance(fault, Gone):
        return "code", f"The code {fault}."
    if getattr(fault, "_from_code", False):
        return "code", f"The code raised {text}."
    if isinstance(fault, AssertionError):
        return "fail", text
    if isinstance(fault, NameError) and fault.name in missing:
        return "code", f"The code does not define '{fault.name}'."
    if answers and isinstance(fault, Exception) and not isinstance(fault, _AUTHORS):
        return "code", f"The tests stumble over what the code gave: {text}."
    return "author", text


def _unbound(tests: Sequence[str], namespace: Mapping[str, Any]) -> set[str]:
    """What the code has to define: names that the tests use, and that nobody else defines."""
    used: set[str] = set()
    bound: set[str] = set(namespace) | set(dir(builtins))
    for source in tests:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Name):
                (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                bound.add(node.name)
            elif isinstance(node, ast.arg):
                bound.add(node.arg)
            elif isinstance(node, ast.alias):
                bound.add((node.asname or node.name).partition(".")[0])
            elif isinstance(node, ast.ExceptHandler) and node.name:
                bound.add(node.name)
    return used - bound


class _Tests(Conversation):
    asks, is_asked = "call", "callback"
    answers = 0  # of the code, since the running test began

    def __init__(self, channel: Any, authored: Mapping[str, type]) -> None:
        super().__init__(channel, authored, trusting=False)

    def ask(self, what: str, target: Any, arguments: Sequence[Any] = (), named: Mapping[str, Any] | None = None) -> Any:
        found = super().ask(what, target, arguments, named)
        self.answers += 1
        return found

    def named(self, name: str, kind: str) -> Any:
        """A function or class of the code by its name; of anything else the value."""
        if kind == "data":
            return self.ask("value", Function(self, name, name))
        return (Class if kind == "class" else Function)(self, name, name)

    def _raised(self, told: Any) -> BaseException:
        fault = super()._raised(told)
        fault._from_code = True  # type: ignore[attr-defined]
        self.answers += 1
        return fault

    def _perform(self, what: str, target: Any, arguments: list[Any], named: dict[str, Any]) -> Any:
        """The code may call what it was given to call and step what it was given to step: nothing else here is its."""
        if not any(target is given for given in self._handed.values()):
            raise TypeError("not a function of the tests")
        return target(*arguments, **named) if what == "call" and callable(target) else next(target)

    def _kind(self, value: Any) -> str | None:
        return "call" if callable(value) else "next" if hasattr(value, "__next__") else None

    def _theirs(self, handle: Handle) -> Any:
        number, kind, label = handle
        return {"call": Function, "next": Iterator}.get(kind, Thing)(self, number, label)
