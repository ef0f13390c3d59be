"""What a grader may return, and what is said of what it may not. Run in the real sandbox, at its best level."""

from collections.abc import Iterator

import pytest

from tasks.sandbox import pool
from tasks.sandbox.pool import Pool


@pytest.fixture(scope="module")
def shared() -> Iterator[Pool]:
    yield pool.shared()
    pool.close_all()


@pytest.fixture
def returned(shared: Pool):
    def graded(body: str, before: str = "") -> dict:
        return run(f"{before}\ndef grade(sample, item):\n    {body}")

    def run(source: str) -> dict:
        with shared.session("grade", {"source": source, "calls": [{"sample": {}, "item": {}}]}) as session:
            return session.receive(20)

    graded.source = run
    return graded


@pytest.mark.parametrize(
    ("value", "score"), [("0.25", 0.25), ("1", 1.0), ("0", 0.0), ("True", 1.0), ("False", 0.0), ("-0.0", 0.0)]
)
def test_a_number_between_0_and_1_is_a_score(returned, value: str, score: float):
    assert returned(f"return {value}") == {"ok": score}


@pytest.mark.parametrize("kind", ["float64(0.5)", "float32(0.5)", "float16(0.5)"])
def test_a_number_of_numpy_is_a_score(returned, kind: str):
    assert returned(f"import numpy\n    return numpy.{kind}") == {"ok": 0.5}


@pytest.mark.parametrize("kind", ["int64(1)", "bool_(True)", "uint8(1)"])
def test_a_whole_number_of_numpy_is_a_score(returned, kind: str):
    assert returned(f"import numpy\n    return numpy.{kind}") == {"ok": 1.0}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("None", "nothing (None), not a number"),
        ("float('nan')", "nan, not a finite number"),
        ("float('inf')", "inf, not a finite number"),
        ("1.5", "1.5: a score lies between 0 and 1"),
        ("-0.1", "-0.1: a score lies between 0 and 1"),
        ("10 ** 5000", "a number of more than 18 digits"),
        ("'0.5'", "a value of type str"),
        ("[1.0]", "a value of type list"),
        ("1j", "a value of type complex"),
        ("grade", "a value of type function"),
    ],
)
def test_anything_else_is_a_bad_value_and_never_clamped(returned, value: str, said: str):
    answer = returned(f"return {value}")

    assert answer["error"] == "bad_value"
    assert said in answer["detail"]


HOSTILE = {
    "__float__": "def __float__(self): raise SystemExit('out')",
    "__class__": "__class__ = float",
    "__eq__": "def __eq__(self, o): return True\n    __hash__ = None",
    "__name__": "__module__ = 'numpy'\n    def item(self): raise KeyboardInterrupt",
    "__le__": "def __le__(self, o): return True\n    __ge__ = __le__",
}


@pytest.mark.parametrize("trick", HOSTILE)
def test_an_object_that_plays_a_number_is_a_bad_value(returned, trick: str):
    answer = returned("return Trick()", f"class Trick:\n    {HOSTILE[trick]}")

    assert answer["error"] == "bad_value"


def test_a_subclass_of_float_is_not_asked_what_it_is(returned):
    answer = returned(
        "return Trick(7)", "class Trick(float):\n    def __le__(self, o): return True\n    __ge__ = __le__"
    )

    assert answer["error"] == "bad_value"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("raise ValueError('no')", "ValueError: no (line 3 of the grader)"),
        ("raise SystemExit(3)", "SystemExit: 3 (line 3 of the grader)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt (line 3 of the grader)"),
        ("return item['missing']", "KeyError: 'missing' (line 3 of the grader)"),
        ("return grade(sample, item)", "RecursionError: maximum recursion depth exceeded"),
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library' (line 3 of the grader)"),
    ],
)
def test_an_exception_is_told_with_its_line(returned, statement: str, said: str):
    answer = returned(statement)

    assert answer["error"] == "raised"
    assert said in answer["detail"]


def test_an_exception_whose_text_raises_is_told_all_the_same(returned):
    answer = returned("raise Bad()", "class Bad(Exception):\n    def __str__(self): raise SystemExit")

    assert answer == {"error": "raised", "detail": "Bad: (its text cannot be read) (line 4 of the grader)"}


def test_an_exception_with_megabytes_of_text_is_cut(returned):
    assert len(returned("raise ValueError('é' * (8 << 20))")["detail"].encode()) < 4 << 10


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1", "defines no function `grade(sample, item)`"),
        ("grade = 3", "`grade` is not a function"),
        ("def grade(:", "SyntaxError: invalid syntax (line 1 of the grader)"),
        ("def grade(s, i):\n  return 1\n return 2", "IndentationError"),
        ("x = '\0'", "null bytes"),
        ("x = '\ud800'", "surrogates not allowed"),
        ("raise SystemExit", "SystemExit"),
        ("x = " + "(" * 255 + ")" * 255, "too many nested parentheses"),
        ("1/0\ndef grade(s, i): return 1", "ZeroDivisionError: division by zero (line 1 of the grader)"),
        ("from __future__ import nonsense", "future feature nonsense is not defined"),
    ],
)
def test_source_that_cannot_be_used_is_told_as_such(returned, source: str, said: str):
    answer = returned.source(source)

    assert answer["error"] == "source"
    assert said in answer["detail"]


@pytest.mark.parametrize(
    "source",
    [
        "# -*- coding: utf-7 -*-\ndef grade(s, i): return 1",
        "def grade(s, i): return 1\n#" + "x" * 1_000_000,
        "\ufeffdef grade(s, i): return 1",
        "def grade(s, i): return 1\r\n",
        "grade = lambda s, i: 1",
        "class G:\n    def __call__(self, s, i): return 1\ngrade = G()",
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    b: 'int'\ndef grade(s, i): return A(1).b",
        "import sys\nsys.stdout.close()\ndef grade(s, i): return 1",
        "__builtins__ = {}\ndef grade(s, i): return 1",
    ],
)
def test_unusual_source_works(returned, source: str):
    assert returned.source(source) == {"ok": 1.0}
