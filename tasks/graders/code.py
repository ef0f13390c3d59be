"""code: runs the reply's code against tests, inputs with outputs or assertions; the score is the share that passes.

Every reply gets fresh confined processes. Expected answers never enter the one that runs its code: a program is given
an input and its output is compared here; a function is called, with arguments, from the process that holds the tests.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import msgspec

from tasks.graders import fences, stdout, templates
from tasks.graders.outcome import AuthorFault, CheckMany, ModelFault, of_fault, scored, ungradable, wrong
from tasks.sandbox import pool, programs
from tasks.sandbox.programs import Bench, Budget, Verdict
from tasks.sandbox.protocol import Flavour, Unavailable
from tasks.types import Grade

EXAMPLE: Mapping[str, Any] = {
    "grader": {"type": "code", "entry_point": "double", "solution": "{{ item.solution }}"},
    "item": {
        "tests": ["assert double(4) == 8", "assert double('ab') == 'abab'"],
        "solution": "def double(x):\n    return 2 * x",
    },
    "completion": "```python\ndef double(x):\n    return x + x\n```",
}

MAX_TESTS = 1000
MAX_CODE_CHARACTERS = 256_000
MAX_SUB_SCORES = 100  # of the first tests; the score counts them all
_SCIENCE = re.compile(r"\b(?:numpy|scipy|pandas|sklearn|sympy)\b")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="code", tag_field="type"):
    tests: str | list[Any] = "{{ item.tests }}"
    kind: Literal["auto", "stdin", "assert"] = "auto"
    entry_point: str = ""  # assert only; "": the tests call whatever the code defines
    prefix: str = ""  # what the prompt has begun: goes before a reply that does not define the entry point itself
    setup: str = ""  # runs before the code and before the tests
    solution: str = ""  # code, or a body for the prefix, that passes: proof tries it where the item has it
    compare: Literal["lines", "tokens"] = "lines"  # stdin only
    tolerance: float = 0.0  # stdin only, between numbers; absolute below 1, relative above
    seconds: float = 10.0  # the code's own, for one test
    total_seconds: float = 60.0  # wall clock, for all tests of a reply
    memory_mb: int = 1024
    name: str = ""
    pass_threshold: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= self.total_seconds <= 120:
            raise ValueError("`seconds` must lie above 0 and below `total_seconds`, which is at most 120")
        if not 64 <= self.memory_mb <= 2048:
            raise ValueError("`memory_mb` must lie between 64 and 2048")
        if not 0 <= self.tolerance < float("inf"):
            raise ValueError("`tolerance` must be 0 or more")
        if self.tolerance and self.compare != "tokens":
            raise ValueError('`tolerance` needs "compare": "tokens"')
        templates.parse(self.solution)


@dataclass(frozen=True, slots=True)
class Work:
    """One reply, ready to be run."""

    code: str
    sources: Sequence[str]  # the first that compiles is the program
    shared: str  # what the author gives to both processes
    entry_point: str
    tests: Sequence[str] = ()  # assert statements, or programs
    cases: Sequence[stdout.Case] = ()  # inputs and outputs


def compile_many(config: Config) -> CheckMany:
    if isinstance(config.tests, list) and not any("{{" in text for text in templates.strings(config.tests)):
        _tests(config, config.tests)

    def check_many(answers: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Grade]:
        if len(answers) == 1:
            return [_checked(config, *answers[0])]
        with ThreadPoolExecutor(pool.workers_wanted(), "code") as threads:
            return list(threads.map(lambda answer: _checked(config, *answer), answers))

    return check_many


def _checked(config: Config, completion: str, item: Mapping[str, Any]) -> Grade:
    started = perf_counter()
    try:
        grade = _graded(config, _work(config, completion, item))
    except (ModelFault, AuthorFault) as fault:
        grade = of_fault(fault)
    except Unavailable as refusal:
        grade = ungradable(refusal.sentence, "sandbox_unavailable")
    return msgspec.structs.replace(grade, seconds=perf_counter() - started)


def _work(config: Config, completion: str, item: Mapping[str, Any]) -> Work:
    tests, cases = _tests(config, templates.fill(config.tests, completion, item))
    entry_point, prefix, setup = (
        templates.parse(source).text(completion, item).strip(stripped)
        for source, stripped in ((config.entry_point, None), (config.prefix, "\n"), (config.setup, "\n"))
    )
    if entry_point and not entry_point.isidentifier():
        raise AuthorFault("bad_tests", f"The entry point '{entry_point[:60]}' is not the name of a function.")
    code = fences.code_of(completion)
    if not code.strip():
        raise ModelFault("sample_parse_error", "The reply holds no code.")
    if len(code) > MAX_CODE_CHARACTERS:
        raise ModelFault("sample_parse_error", f"The reply's code is longer than {MAX_CODE_CHARACTERS:,} characters.")
    opening, sources = _assembled(prefix, code, entry_point)
    shared = f"{setup}\n\n{opening}" if opening else setup
    if tests:
        return Work(code, sources, shared, entry_point, tests=tests)
    return Work(code, [f"{shared}\n\n{source}" if shared else source for source in sources], "", "", cases=cases)


def _assembled(prefix: str, code: str, entry_point: str) -> tuple[str, list[str]]:
    """(what of the prefix runs before the code, what the code may mean).

    Code that defines the entry point itself replaces what the prefix has begun of it. Other code goes on where the
    prefix stops; chat servers strip replies, so its first line, or all of it, may lack the body's indentation.
    """
    if not prefix:
        return "", [code]
    begun = re.search(rf"^(?:async[ \t]+def|def|class)[ \t]+{entry_point}\b", prefix, re.M) if entry_point else None
    if not begun:
        return prefix, [code]
    opening = prefix[: begun.start()]
    if re.search(rf"^(?:(?:async[ \t]+def|def|class)[ \t]+{entry_point}\b|{entry_point}[ \t]*=)", code, re.M):
        return opening, [code]
    started = prefix[begun.start() :]
    indented = "\n".join(f"    {line}" for line in code.splitlines())
    return opening, [f"{started}\n{body}" for body in (code, f"    {code.lstrip()}", indented)]


def _tests(config: Config, value: Any) -> tuple[Sequence[str], Sequence[stdout.Case]]:
    """The tests of one kind, the other empty; raises AuthorFault where there are none, or too many."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{") and config.kind != "assert":
        with suppress(msgspec.DecodeError, UnicodeError, RecursionError):  # a test program may begin with a bracket
            value = msgspec.json.decode(value)
    cases = (stdout.cases_of(value) or []) if config.kind != "assert" else []
    tests = _sources_of(value) if config.kind != "stdin" and not cases else []
    if not tests and not cases:
        programs = 'a list of {"input": "…", "output": "…"}'
        asserts = "a list of assert statements or one test program"
        wanted = {"stdin": programs, "assert": asserts}.get(config.kind, f"{programs}, or {asserts}")
        raise AuthorFault("bad_tests", f"The tests are not what they must be: give {wanted}.")
    if max(len(tests), len(cases)) > MAX_TESTS:
        raise AuthorFault("bad_tests", f"There are more than {MAX_TESTS:,} tests: give fewer.")
    return tests, cases


def _sources_of(value: Any) -> list[str]:
    """Nothing where not every test is a text with something in it."""
    tests = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
    sources = [test for test in tests if isinstance(test, str) and test.strip()]
    return sources if len(sources) == len(tests) else []


def _graded(config: Config, work: Work) -> Grade:
    try:
        verdicts = _verdicts(config, work)
    except programs.BadTests as fault:
        raise AuthorFault("tests_error", f"The tests do not work: {fault}") from None
    except programs.SandboxFault as fault:
        raise AuthorFault("sandbox_error", f"The sandbox does not work at the moment: {fault}") from None
    except programs.CodeFault as fault:
        return wrong(work.code, fault.verdict.text, fault.verdict.flag)
    return _summed(config, work, verdicts)


def _verdicts(config: Config, work: Work) -> Sequence[Verdict]:
    budget = Budget(config.seconds, config.total_seconds, config.memory_mb << 20)
    flavour = _flavour(*work.sources, work.shared)
    if work.cases:
        return list(_of_cases(config, work, budget, flavour))
    bench = Bench(work.shared, work.tests, work.entry_point, _flavour(*work.tests, work.shared))
    return programs.run_asserts(work.sources, bench, budget, flavour)


def _flavour(*sources: str) -> Flavour:
    return Flavour.SCIENCE if any(map(_SCIENCE.search, sources)) else Flavour.BARE


def _of_cases(config: Config, work: Work, budget: Budget, flavour: Flavour) -> Iterator[Verdict]:
    left = config.total_seconds
    for case in work.cases:
        if left <= 0:
            yield Verdict(False, "code_timeout", "The code has used up the time of all tests.")
            continue
        output = programs.run_program(work.sources, case.input, budget, min(config.seconds, left), flavour)
        left -= output.seconds
        tokens = config.compare == "tokens"
        text = stdout.difference(output.text, case.output, tokens=tokens, tolerance=config.tolerance)
        yield output.verdict or Verdict(not text, "", text)


def _summed(config: Config, work: Work, verdicts: Sequence[Verdict]) -> Grade:
    passed = sum(verdict.passed for verdict in verdicts)
    failed = next(((number, verdict) for number, verdict in enumerate(verdicts, 1) if not verdict.passed), None)
    reason = f"All {passed} tests pass." if passed > 1 else "The test passes."
    if failed:
        reason = f"{passed} of {len(verdicts)} tests pass. Test {failed[0]}: {failed[1].text}"
    shares = {f"test {number}": float(verdict.passed) for number, verdict in enumerate(verdicts[:MAX_SUB_SCORES], 1)}
    flags = tuple(dict.fromkeys(verdict.flag for verdict in verdicts if verdict.flag))
    return scored(passed / len(verdicts), config.pass_threshold, work.code, reason, shares, flags)


def unavailable(config: Config) -> str | None:
    sentence: str | None = pool.available()
    return sentence


def template_sources(config: Config) -> Sequence[str]:
    """Not the solution: a row may well have none."""
    return [*templates.strings(config.tests), config.entry_point, config.prefix, config.setup]


def gold(config: Config, item: Mapping[str, Any]) -> str | None:
    """The solution as a reply, completed by the prefix where it only goes on from it."""
    code = _solution(config, item)
    return None if code is None else fences.fenced(code)


def _solution(config: Config, item: Mapping[str, Any]) -> str | None:
    if not config.solution:
        return None
    try:
        code, prefix, entry_point = (
            templates.parse(source).text("", item) for source in (config.solution, config.prefix, config.entry_point)
        )
    except (AuthorFault, ModelFault):
        return None
    if not code.strip():
        return None
    _, sources = _assembled(prefix.strip("\n"), code, entry_point.strip())
    return code if sources == [code] else f"{prefix.rstrip()}\n{code}"


def coincides(config: Config, item: Mapping[str, Any], completion: str) -> bool:
    """Only the solution itself: other code that passes shows tests that accept too much."""
    solution = _solution(config, item)
    return solution is not None and fences.code_of(completion).split() == solution.split()
