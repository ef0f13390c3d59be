"""Judges model-written code: a fresh process for every program run, and one process each for functions and their tests.

The code's process is given inputs and function names and gives back outputs; what is expected stays in this process, or
in the tests' own. Whose fault an end is follows from which of the two processes was being waited for.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tasks.sandbox import pool
from tasks.sandbox.modes.values import MAX_TEXT
from tasks.sandbox.protocol import Flavour, Limits, Lost, clean
from tasks.sandbox.session import Session

START_SECONDS = 10.0  # for code that is only read and defined to be so


@dataclass(frozen=True, slots=True)
class Budget:
    seconds: float  # the code's own time for one test
    total_seconds: float  # wall clock for all tests of one reply
    memory_bytes: int
    flavour: Flavour = Flavour.BARE

    def limits(self, seconds: float) -> Limits:
        return Limits(seconds=seconds, memory_bytes=self.memory_bytes, disk_bytes=64 << 20)


@dataclass(frozen=True, slots=True)
class Verdict:
    passed: bool
    flag: str = ""  # "" where the outcome is merely wrong
    text: str = ""


class CodeFault(Exception):
    """The code cannot be tested at all, by its own fault."""

    def __init__(self, flag: str, text: str) -> None:
        super().__init__(text)
        self.verdict = Verdict(False, flag, text)


class TestsFault(Exception):
    """The tests, or what the author put beside them, do not work."""


_FLAGS = {"timeout": "code_timeout", "memory": "code_memory", "too_large": "code_output", "malformed": "code_error"}


def _blamed(lost: Lost) -> Verdict:
    return Verdict(False, _FLAGS.get(lost.kind, "code_killed"), f"The code was ended: {clean(lost.detail, 300)}")


# Programs


@dataclass(frozen=True, slots=True)
class Output:
    text: str
    verdict: Verdict | None  # set where the program did not come to a good end


def run_program(sources: Sequence[str], stdin: str, budget: Budget, seconds: float) -> Output:
    """Run the first of the sources that compiles, as a program with this standard input."""
    job = {"sources": list(sources), "stdin": stdin}
    limits = budget.limits(seconds)
    with pool.shared(budget.flavour).session("program", job, limits) as session:
        try:
            status = session.finish(seconds)
        except Lost as lost:
            return Output("", _blamed(lost))
        text = session.stdout(limits.output_bytes).decode(errors="backslashreplace")
        return Output(text, None if status == 0 else Verdict(False, "code_error", _told(session, status)))


def _told(session: Session, status: int) -> str:
    """What the program said about its end, if anything."""
    try:
        fault = session.receive(0).get("fault")
    except Lost:
        fault = None
    return (
        f"The code raised {clean(fault, 400)}." if isinstance(fault, str) else f"The code ended with status {status}."
    )


# Functions


def run_asserts(
    sources: Sequence[str], shared: str, tests: Sequence[str], entry_point: str, budget: Budget
) -> list[Verdict]:
    """A verdict for each test. shared: the author's source that both processes run first. May raise either fault."""
    job = {"shared": shared, "tests": list(tests), "entry_point": entry_point}
    limits = budget.limits(budget.total_seconds + START_SECONDS)
    with pool.shared(budget.flavour, beside=True).session("asserts", job, limits) as session, ExitStack() as stack:
        code = _Code(stack, sources, shared, budget)
        return _Meeting(session, code, len(tests), budget).verdicts(entry_point)


class _Code:
    """The process that holds the code; started again for the next test when a test has cost it its life."""

    def __init__(self, stack: ExitStack, sources: Sequence[str], shared: str, budget: Budget) -> None:
        self._stack = stack
        self._job = {"sources": list(sources), "shared": shared}
        self._budget = budget
        self._starts = 0
        self.session: Session | None = None

    def start(self, seconds: float) -> str:
        """What it defines, a line each: "kind name". Raises CodeFault where the code cannot be loaded."""
        job = {**self._job, "first_handle": self._starts * 1_000_000}
        limits = self._budget.limits(self._budget.total_seconds + START_SECONDS)
        self._starts += 1
        try:
            self.session = self._stack.enter_context(
                pool.shared(self._budget.flavour).session("functions", job, limits)
            )
            kind, text = _message(self.session, seconds)
        except Lost as lost:
            raise CodeFault(_blamed(lost).flag, _blamed(lost).text) from None
        if kind != "ready":
            raise CodeFault("code_error", f"The code cannot be loaded: {clean(text, 400)}.")
        return text

    def lose(self) -> None:
        self.session = None
        self._stack.close()


class _Meeting:
    """Passes questions and answers between the tests and the code, and keeps the time of both."""

    def __init__(self, tests: Session, code: _Code, count: int, budget: Budget) -> None:
        self._tests = tests
        self._code = code
        self._count = count
        self._budget = budget
        self._end = time.monotonic() + budget.total_seconds
        self._left = budget.seconds  # of the code's, in the running test
        self._used = {"tests": 0.0, "code": 0.0}
        self._lost: Verdict | None = None  # how the code came to its end in the running test

    def verdicts(self, entry_point: str) -> list[Verdict]:
        kind, text = self._from_tests()
        if kind != "prepared":
            raise TestsFault(clean(text, 400))
        names = self._code.start(min(self._budget.seconds, START_SECONDS))
        if entry_point and entry_point not in {line.partition(" ")[2] for line in names.splitlines()}:
            raise CodeFault("code_error", f"The code does not define '{entry_point}'.")
        self._tests.send({"kind": "begin", "text": names})
        found: list[Verdict] = []
        while len(found) < self._count:
            verdict = self._next()
            found += [verdict] if verdict else [_OUT_OF_TIME] * (self._count - len(found))
        return found

    def _next(self) -> Verdict | None:
        """The running test's verdict; None where the code has used up the time of all tests."""
        self._left, self._lost = self._budget.seconds, None
        try:
            while (message := self._from_tests())[0] in ("call", "answer"):
                self._tests.send(self._from_code(*message))
        except _OutOfTime:
            return None
        kind, text = message
        if self._lost:
            return self._lost
        if kind == "pass":
            return Verdict(True)
        if kind not in ("fail", "code"):
            raise TestsFault(clean(text, 400))
        return Verdict(False, "code_error" if kind == "code" else "", clean(text, 400))

    def _from_tests(self) -> tuple[str, str]:
        started = time.monotonic()
        try:
            return _message(self._tests, min(max(self._budget.seconds, START_SECONDS), self._end - started))
        except Lost as lost:
            self._used["tests"] += time.monotonic() - started
            if lost.kind == "timeout" and self._used["code"] > self._used["tests"]:
                raise _OutOfTime from None
            raise TestsFault(f"Their process was ended: {clean(lost.detail, 300)}") from None
        finally:
            self._used["tests"] += time.monotonic() - started

    def _from_code(self, kind: str, text: str) -> Mapping[str, Any]:
        """What to tell the tests: the code's answer, its question in return, or that there will be none."""
        started = time.monotonic()
        patience = min(self._left, self._end - started)
        try:
            if self._code.session is None:
                self._code.start(patience)
            assert self._code.session is not None
            self._code.session.send({"kind": kind, "text": text})
            said, told = _message(self._code.session, patience)
            return {"kind": "callback" if said == "callback" else "answer", "text": told}
        except (Lost, CodeFault) as end:
            self._lost = _blamed(end) if isinstance(end, Lost) else end.verdict
            self._code.lose()
            return {"kind": "lost", "text": "came to its end"}
        finally:
            self._left -= time.monotonic() - started
            self._used["code"] += time.monotonic() - started


class _OutOfTime(Exception):
    pass


_OUT_OF_TIME = Verdict(False, "code_timeout", "The code has used up the time of all tests.")


def _message(session: Session, seconds: float) -> tuple[str, str]:
    """A kind and a text, put together from its frames."""
    end = time.monotonic() + seconds
    parts: list[str] = []
    size = 0
    while True:
        frame = session.receive(max(end - time.monotonic(), 0.0))
        kind, text, more = frame.get("kind"), frame.get("text"), frame.get("more")
        if not isinstance(kind, str) or not isinstance(text, str):
            raise Lost("malformed", "Its answer means nothing.")
        parts.append(text)
        size += len(text)
        if size > MAX_TEXT + 1000:
            raise Lost("too_large", f"An answer of more than {MAX_TEXT // 1_000_000} MB.")
        if more is not True:
            return kind, "".join(parts)
