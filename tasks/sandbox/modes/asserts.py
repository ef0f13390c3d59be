"""Holds the tests, and what they expect, and calls the code under test in another process.

A test fails by the code's fault when an assertion does not hold, when the code raises, or when what it gave makes this
test or a later one stumble. It fails by the author's fault when the tests do not compile, use a name that nobody
defines, import what is not there, or raise before the code was asked for anything. Whatever the code could bring about
by what it gives must be its own fault: else it could choose to be ungradable where it would be wrong.
"""

import ast
import builtins
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from tasks.sandbox.modes import running
from tasks.sandbox.modes.conversation import Conversation, Gone, send
from tasks.sandbox.modes.remote import Class, Function, Iterator, Thing
from tasks.sandbox.modes.values import Handle

_FILE = "<tests>"
_EVALUATED = "<string>"  # where Python says that text given to eval or exec stands


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
    names = _names(job["tests"])
    wanted = {entry_point} if entry_point else _unbound(names, namespace)
    found = _found(wanted & kinds.keys(), kinds, side)
    # Plain assertions call the code's own `sum`; a `check` has it as its candidate, and may well use Python's.
    own = set() if "check" in names.bound else {entry_point}
    namespace.update({name: value for name, value in found.items() if name in own or not hasattr(builtins, name)})
    lacking = _Lacking(frozenset(wanted - found.keys()), names.used - names.bound)
    for source, code in zip(job["tests"], compiled, strict=True):
        fault = _fault_of(code, namespace, [found[entry_point]] if entry_point else [])
        send(channel, *_verdict(fault, source, side.asked, lacking))
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


def _verdict(fault: BaseException | None, source: str, asked: int, lacking: "_Lacking") -> tuple[str, str]:
    """pass, fail (the assertion does not hold), code (the code is at fault) or author; and a text about it.

    asked: how often the code was, in this test and those before, whose names and objects this one may use.
    """
    if fault is None:
        return "pass", ""
    text = running.described(fault, _FILE, source)
    if isinstance(fault, Gone):
        return "code", f"The code {fault}."
    if getattr(fault, "_from_code", False):
        return "code", f"The code raised {text}."
    if isinstance(fault, AssertionError):
        return "fail", text
    if isinstance(fault, NameError) and fault.name in lacking.of_the_code:
        return "code", f"The code does not define '{fault.name}'."
    if asked and not _authors_own(fault, lacking):
        return "code", f"The tests stumble over what the code gave: {text}."
    return "author", text


def _authors_own(fault: BaseException, lacking: "_Lacking") -> bool:
    """Whether it would have been raised whatever the code gives: not so where a test evaluates a text of the code, or
    where a name is missing because an earlier test did not get as far as to bind it."""
    if isinstance(fault, NameError):
        return fault.name in lacking.of_anybody
    return isinstance(fault, ImportError) and _file_of(fault) != _EVALUATED


def _file_of(fault: BaseException) -> str:
    innermost = fault.__traceback__
    while innermost and innermost.tb_next:
        innermost = innermost.tb_next
    return innermost.tb_frame.f_code.co_filename if innermost else ""


class _Lacking(NamedTuple):
    of_the_code: frozenset[str]  # names that it had to define
    of_anybody: frozenset[str]  # names that the tests use and do not bind: the author's, unless the code has to


class _Names(NamedTuple):
    """Of all tests together."""

    used: frozenset[str]
    bound: frozenset[str]


def _unbound(names: _Names, namespace: Mapping[str, Any]) -> set[str]:
    """What the code has to define: names that the tests use, and that nobody else defines."""
    return set(names.used - names.bound - set(namespace) - set(dir(builtins)))


def _names(tests: Sequence[str]) -> _Names:
    used: set[str] = set()
    bound: set[str] = set()
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
    return _Names(frozenset(used), frozenset(bound))


class _Tests(Conversation):
    asks, is_asked = "call", "callback"

    def __init__(self, channel: Any, authored: Mapping[str, type]) -> None:
        super().__init__(channel, authored, trusting=False)

    def named(self, name: str, kind: str) -> Any:
        """A function or class of the code by its name; of anything else the value."""
        if kind == "data":
            return self.ask("value", Function(self, name, name))
        return (Class if kind == "class" else Function)(self, name, name)

    def _raised(self, told: Any) -> BaseException:
        fault = super()._raised(told)
        fault._from_code = True  # type: ignore[attr-defined]
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
