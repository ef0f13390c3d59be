"""Judges model-written code: a fresh process for every program run, and one process each for functions and their tests.

The code's process is given inputs and function names and gives back outputs; what is expected stays in this process, or
in the tests' own. Whose fault an end is follows from which of the two processes was being waited for.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from tasks.sandbox import pool
from tasks.sandbox.modes.values import MAX_TEXT
from tasks.sandbox.protocol import SETUP_FAILED, Flavour, Limits, Lost, clean
from tasks.sandbox.session import Session

START_SECONDS = 10.0  # for code that is only read and defined to be so


@dataclass(frozen=True, slots=True)
class Budget:
    seconds: float  # the code's own time for one test
    total_seconds: float  # wall clock for all tests of one reply
    memory_bytes: int

    def limits(self, seconds: float) -> Limits:
        return Limits(seconds=seconds, memory_bytes=self.memory_bytes, disk_bytes=64 << 20)

    def backstop(self) -> Limits:
        """For sessions whose time is kept from outside, waiting for each other included."""
        return self.limits(2 * self.total_seconds + 6 * START_SECONDS)


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


class BadTests(Exception):
    """The tests, or what the author put beside them, do not work."""


class SandboxFault(Exception):
    """Nothing can be run at the moment."""


_MOST_NAMES = 5000  # of what the code defines: the tests are told of
_MOST_LETTERS = 200  # of such a name
_FLAGS = {"timeout": "code_timeout", "memory": "code_memory", "too_large": "code_output", "malformed": "code_error"}


def _blamed(lost: Lost, what: str = "The code was ended") -> Verdict:
    """The code's fault, unless other code comes to the same end. To be asked when the session is closed."""
    if lost.ours or (lost.kind == "died" and not sound()):
        raise SandboxFault(clean(lost.detail, 300))
    return Verdict(False, _FLAGS.get(lost.kind, "code_killed"), f"{what}: {clean(lost.detail, 300)}")


def sound() -> bool:
    """Whether a process that does nothing comes to a good end: then whatever ended another one was its own doing."""
    job = {"sources": [""], "stdin": ""}
    with pool.shared().session("program", job, Limits(seconds=START_SECONDS)) as session:
        try:
            return session.finish(START_SECONDS) == 0
        except Lost:
            return False


# Programs


@dataclass(frozen=True, slots=True)
class Output:
    text: str
    seconds: float
    verdict: Verdict | None  # set where the program did not come to a good end


def run_program(sources: Sequence[str], stdin: str, budget: Budget, seconds: float, flavour: Flavour) -> Output:
    """Run the first of the sources that compiles, as a program with this standard input."""
    output, status = _run_once(sources, stdin, budget.limits(seconds), flavour)
    if isinstance(status, Lost) and status.ours:  # nobody's fault: once more, with another worker
        output, status = _run_once(sources, stdin, budget.limits(seconds), flavour)
    return replace(output, verdict=_blamed(status)) if isinstance(status, Lost) else output


def _run_once(sources: Sequence[str], stdin: str, limits: Limits, flavour: Flavour) -> tuple[Output, int | Lost]:
    """What came of it, and its exit status or how it was lost."""
    job = {"sources": list(sources), "stdin": stdin}
    with pool.shared(flavour).session("program", job, limits) as session:
        started = time.monotonic()
        try:
            status: int | Lost = session.finish(limits.seconds)
        except Lost as lost:
            status = lost
        used = time.monotonic() - started
        text = session.stdout(limits.output_bytes).decode(errors="backslashreplace")
        told = _told(session, status) if isinstance(status, int) and status else None
    if isinstance(status, int) and (status < 0 or status == SETUP_FAILED):
        status = Lost("died", f"It ended with status {status}.")
    return Output(text, used, told), status


def _told(session: Session, status: int) -> Verdict:
    """A program that ended badly, with what it said about that, if anything."""
    try:
        fault = session.receive(0).get("fault")
    except Lost:
        fault = None
    text = (
        f"The code raised {clean(fault, 400)}." if isinstance(fault, str) else f"The code ended with status {status}."
    )
    return Verdict(False, "code_error", text)


# Functions


@dataclass(frozen=True, slots=True)
class Bench:
    """What a reply's code is put on: its author's source that both processes run first, the tests, the name to call."""

    shared: str
    tests: Sequence[str]
    entry_point: str  # "": the tests call whatever the code defines
    flavour: Flavour  # of the tests' process


def run_asserts(sources: Sequence[str], bench: Bench, budget: Budget, flavour: Flavour) -> list[Verdict]:
    """A verdict for each test; flavour: of the code's process. May raise any of the three faults."""
    job = {"shared": bench.shared, "tests": list(bench.tests), "entry_point": bench.entry_point}
    tests_pool = pool.shared(bench.flavour, beside=True)
    with tests_pool.session("asserts", job, budget.backstop()) as session, ExitStack() as stack:
        code = _Code(stack, {"sources": list(sources), "shared": bench.shared}, flavour)
        return _Meeting(session, code, bench, budget).verdicts()


class _Code:
    """The process that holds the code; started again for the next test when a test has cost it its life."""

    def __init__(self, stack: ExitStack, job: Mapping[str, Any], flavour: Flavour) -> None:
        self._stack = stack
        self._job = job
        self._flavour = flavour
        self._starts = 0
        self.session: Session | None = None

    def open(self, limits: Limits) -> Session:
        """Waits for a free worker."""
        job = {**self._job, "first_handle": self._starts * 1_000_000}
        self._starts += 1
        self.session = self._stack.enter_context(pool.shared(self._flavour).session("functions", job, limits))
        return self.session

    def lose(self) -> None:
        self.session = None
        self._stack.close()


class _Meeting:
    """Passes questions and answers between the tests and the code, and keeps the time of both."""

    def __init__(self, tests: Session, code: _Code, bench: Bench, budget: Budget) -> None:
        self._tests = tests
        self._code = code
        self._bench = bench
        self._budget = budget
        self._end = time.monotonic() + budget.total_seconds
        self._left = budget.seconds  # of the code's, in the running test
        self._lost: Verdict | None = None  # how the code came to its end in the running test
        self._involved = False  # whether the code has had any say in what becomes of the tests

    def verdicts(self) -> list[Verdict]:
        kind, text = self._from_tests()
        if kind != "prepared":
            raise BadTests(clean(text, 400))
        kinds = self._load()
        if (wanted := self._bench.entry_point) and kinds.get(wanted, "data") == "data":
            raise CodeFault("code_error", f"The code does not define a function '{wanted}'.")
        self._tests.send({"kind": "begin", "kinds": kinds})
        found: list[Verdict] = []
        while (left := len(self._bench.tests) - len(found)) > 0:
            try:
                found.append(self._next())
            except _Over as over:
                found += [over.verdict] * left
        return found

    def _load(self) -> dict[str, str]:
        """Start the code's process; name -> class, call or data. Raises CodeFault where it cannot be loaded."""
        asked = time.monotonic()
        session = self._code.open(self._budget.backstop())
        started = time.monotonic()
        self._end += started - asked  # nobody is to blame for having to wait for a worker
        try:
            kind, text = _message(session, max(min(self._left, START_SECONDS, self._end - started), 0.0))
        except Lost as lost:
            self._code.lose()
            verdict = _blamed(lost)
            raise CodeFault(verdict.flag, verdict.text) from None
        if kind != "ready":
            raise CodeFault("code_error", f"The code cannot be loaded: {clean(text, 400)}.")
        lines = (line.partition(" ") for line in text.splitlines()[:_MOST_NAMES] if len(line) <= _MOST_LETTERS)
        return {name: kind for kind, _, name in lines if kind in ("class", "call", "data") and name.isidentifier()}

    def _next(self) -> Verdict:
        """The running test's verdict. Raises _Over where there will be no other for all that are left."""
        self._left, self._lost = self._budget.seconds, None
        while (message := self._from_tests())[0] in ("call", "answer"):
            self._tests.send(self._from_code(*message))
        kind, text = message
        if self._lost:
            return self._lost
        if kind == "pass":
            return Verdict(True)
        if kind not in ("fail", "code"):
            raise BadTests(clean(text, 400))
        return Verdict(False, "code_error" if kind == "code" else "", clean(text, 400))

    def _from_tests(self) -> tuple[str, str]:
        started = time.monotonic()
        patience = min(max(self._budget.seconds, START_SECONDS), self._end - started)
        try:
            return _message(self._tests, patience)
        except Lost as lost:
            if lost.ours:
                raise SandboxFault(clean(lost.detail, 300)) from None
            if not self._involved:
                raise BadTests(f"their process was ended: {clean(lost.detail, 300)}") from None
            self._code.lose()  # whoever asks whether the sandbox works may need its worker
            raise _Over(_OUT_OF_TIME if time.monotonic() >= self._end else _blamed(lost, _OVERWHELMED)) from None

    def _from_code(self, kind: str, text: str) -> Mapping[str, Any]:
        """What to tell the tests: the code's answer, its question in return, or that there will be none."""
        self._involved = True
        try:
            if self._code.session is None:
                self._load()
            assert self._code.session is not None
            said, told = self._asked(self._code.session, {"kind": kind, "text": text})
        except (Lost, CodeFault) as end:
            self._code.lose()
            self._lost = _blamed(end) if isinstance(end, Lost) else end.verdict
            return {"kind": "lost", "text": "came to its end"}
        return {"kind": "callback" if said == "callback" else "answer", "text": told}

    def _asked(self, session: Session, question: Mapping[str, Any]) -> tuple[str, str]:
        started = time.monotonic()
        try:
            session.send(question)
            return _message(session, max(min(self._left, self._end - started), 0.0))
        finally:
            self._left -= time.monotonic() - started


class _Over(Exception):
    """The tests go no further, by the code's doing: it took too long, or gave what their process did not survive."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.text)
        self.verdict = verdict


_OVERWHELMED = "What the code gave ended the tests"
_OUT_OF_TIME = Verdict(False, "code_timeout", "The code has used up the time of all tests.")


def _message(session: Session, seconds: float) -> tuple[str, str]:
    """A kind and a text, put together from its frames."""
    end = time.monotonic() + seconds
    parts: list[str] = []
    size = 0
    while True:
        if parts and time.monotonic() >= end:  # a frame that has come already is given whatever the hour
            raise Lost("timeout", f"Not done within {seconds:.3g} seconds.")
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
