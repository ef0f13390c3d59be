import sys

import pytest

from tasks.sandbox.modes import running


def fault_of(source, filename="<code>"):
    try:
        exec(compile(source, filename, "exec"), {})
    except BaseException as fault:
        return fault
    raise AssertionError("nothing was raised")


def test_an_exception_is_described_with_its_innermost_line_in_the_file():
    source = "def f(x):\n    return 1 / x\n\nf(0)\n"

    found = running.described(fault_of(source), "<code>", source)

    assert found == "ZeroDivisionError: division by zero (line 2: return 1 / x)"


def test_a_line_elsewhere_is_not_told():
    assert running.described(fault_of("int('x')", "<other>"), "<code>").endswith("'x'")


def test_a_syntax_error_names_its_line():
    try:
        compile("x = 1\ny = (", "<code>", "exec")
    except SyntaxError as fault:
        found = running.described(fault, "<code>")

    assert found == "SyntaxError: '(' was never closed (line 2)"


@pytest.mark.parametrize("text", ["1 / 0", "'x' * 10**6", "None", "5"])
def test_a_hostile_text_of_an_exception_does_no_harm(text):
    fault = fault_of(f"class E(Exception):\n    def __str__(self): return {text}\nraise E")

    assert running.described(fault, "<code>").startswith("E")
    assert len(running.described(fault, "<code>")) <= running.MAX_DESCRIPTION


def test_the_first_source_that_compiles_is_taken():
    code = running.first_that_compiles(["x = (", "x = 1", "x = 2"], "<code>")
    namespace: dict[str, int] = {}
    exec(code, namespace)

    assert namespace["x"] == 1


@pytest.mark.parametrize("source", ["x = (", "\0", "x = '\ud800'", "(" * 1000])
def test_a_source_that_does_not_compile_says_why(source):
    with pytest.raises((SyntaxError, ValueError, MemoryError)):
        running.first_that_compiles([source, "also ("], "<code>")


def test_only_the_codes_own_classes_are_its_classes(monkeypatch):
    monkeypatch.setitem(sys.modules, "made_for_this_test", None)
    namespace = running.module("made_for_this_test")
    exec("from decimal import Decimal\nclass A: pass\nclass B(A): pass\nC = int\n", namespace)

    assert set(running.classes(namespace)) == {"A", "B"}
