import math

import pytest

from tasks.graders import formula
from tasks.graders.formula import FormulaError

SCORES = {"a": 0.5, "b": 0.25, "c": 1.0, "zero": 0.0}


def value(source: str) -> float:
    return formula.parse(source, list(SCORES)).value(SCORES)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("a", 0.5),
        ("0.5 * a + 0.5 * b", 0.375),
        ("a - b - b", 0.0),
        ("a / b / 2", 1.0),
        ("1 - a * b", 0.875),
        ("(a + b) * 2", 1.5),
        ("2 ^ 3 ^ 2", 512.0),
        ("2 ** 3", 8.0),
        ("-a ^ 2", -0.25),
        ("(-a) ^ 2", 0.25),
        ("2 ^ -1", 0.5),
        ("--a", 0.5),
        ("+-+a", -0.5),
        ("1 - -a", 1.5),
        ("a * -b", -0.125),
        (".5 + 1. + 1e-1 + 2E0", 3.6),
        ("min(a, b, c)", 0.25),
        ("max(a)", 0.5),
        ("max(min(a, b), 0.3)", 0.3),
        ("abs(b - a)", 0.25),
        ("floor(a) + ceil(b)", 1.0),
        ("exp(zero) + log(c)", 1.0),
        ("log(exp(2))", 2.0),
        ("sqrt(b)", 0.5),
        ("zero ^ zero", 1.0),
        (" a\t+\n b ", 0.75),
        ("ceil((a + b + c) / 3 - 0.5)", 1.0),
    ],
)
def test_a_formula_has_the_value_of_mathematics(source, wanted):
    assert math.isclose(value(source), wanted)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("", "missing at position 1, before the end"),
        ("   ", "missing at position 1, before the end"),
        ("a +", "missing at position 4, before the end"),
        ("a b", "An operator is missing at position 3, before b"),
        ("2a", "An operator is missing at position 2, before a"),
        ("a ++* b", "missing at position 5, before *"),
        ("(a", "position 1 is not closed before the end"),
        ("a)", "An operator is missing at position 2, before )"),
        ("()", "missing at position 2, before )"),
        ("min()", "missing at position 5"),
        ("min(a,)", "missing at position 7"),
        ("sqrt(a, b)", "sqrt takes one value, and has another at position 7"),
        ("d", "no grader 'd' (position 1): there is a, b, c, zero"),
        ("min", "no grader 'min'"),
        ("sin(a)", "no function 'sin' (position 1)"),
        ("a(b)", "no function 'a'"),
        ("a, b", "An operator is missing at position 2, before ,"),
        ("a; b", "';' at position 2"),
        ("a == b", "'=' at position 3"),
        ("a.b", "'.' at position 2"),
        ("a[0]", "'[' at position 2"),
        ("'a'", "position 1"),
        ("a % b", "'%' at position 3"),
        ("a // b", "missing at position 4, before /"),
        ("1e999", "too large"),
        ("٣", "position 1"),
        ("a\0", "position 2"),
    ],
)
def test_a_formula_that_cannot_be_read_is_refused_with_the_position(source, sentence):
    with pytest.raises(FormulaError) as refused:
        formula.parse(source, list(SCORES))

    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("a / zero", "0.5 / 0 divides by zero"),
        ("zero / zero", "divides by zero"),
        ("zero ^ -1", "has no value"),
        ("sqrt(-a)", "sqrt(-0.5) has no value"),
        ("(-a) ^ 0.5", "has no value"),
        ("log(zero)", "log(0) has no value"),
        ("9^9^9^9", "has no value"),
        ("exp(1000)", "has no value"),
        ("1e308 * 10", "1e+308 * 10 has no finite value"),
        ("1e308 + 1e308 - 1e308 - 1e308", "no finite value"),
    ],
)
def test_a_formula_without_a_value_says_where(source, sentence):
    with pytest.raises(FormulaError) as refused:
        value(source)

    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("(" * 1_000 + "a", "deeper than 50 levels"),
        ("a" + "^a" * 900, "deeper than 50 levels"),
        ("min(" * 300 + "a" + ")" * 300, "deeper than 50 levels"),
        ("a" * 3_000, "longer than 2,000 characters"),
        ("(" * 10**6, "longer than 2,000 characters"),
    ],
)
def test_no_formula_exhausts_the_parser(source, sentence):
    with pytest.raises(FormulaError, match=sentence):
        formula.parse(source, list(SCORES))


def test_signs_nest_nothing():
    assert value("-" * 1_999 + "a") == -0.5


@pytest.mark.parametrize("source", ["__import__('os')", "().__class__", "lambda: 0", "a if b else c", "f'{a}'", "a:=b"])
def test_python_is_not_a_formula(source):
    with pytest.raises(FormulaError):
        formula.parse(source, list(SCORES))


def test_a_formula_knows_the_names_that_it_reads():
    assert formula.parse("min(a, 1) + a", list(SCORES)).names == {"a"}


def test_a_function_name_as_a_graders_name_is_still_the_function_before_a_bracket():
    assert formula.parse("max(max, 0)", ["max"]).value({"max": 0.5}) == 0.5
