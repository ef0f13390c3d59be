import pytest

from tasks.graders import stdout
from tasks.graders.stdout import Case, cases_of


@pytest.mark.parametrize("printed", ["1 2\n3", "1 2\n3\n", "1 2  \n3\t\n\n\n", "1 2\r\n3\r\n"])
def test_blanks_at_the_end_of_lines_and_text_never_count(printed):
    assert stdout.difference(printed, "1 2\n3\n") == ""


@pytest.mark.parametrize("printed", ["1  2\n3", " 1 2\n3", "1 2 3", "\n1 2\n3", "1 2\n\n3", "", "1 2", "1 2\n3\n4"])
def test_every_other_blank_counts(printed):
    assert stdout.difference(printed, "1 2\n3\n") != ""


def test_tokens_may_stand_on_any_line():
    assert stdout.difference("1\n2  3", "1 2\n3", tokens=True) == ""
    assert stdout.difference("1 2", "1 2\n3", tokens=True) == "Expected 3 tokens of output, read 2."


@pytest.mark.parametrize(
    ("printed", "expected", "equal"),
    [
        ("0.3333", "0.333333", True),
        ("1e-5", "0", True),
        ("1000001", "1000000", True),
        (".5", "0.5", True),
        ("0.34", "0.333333", False),
        ("-1", "1", False),
        ("nan", "1", False),
        ("inf", "1e309", False),
        ("nan", "nan", True),
        ("x", "1", False),
        ("1_0", "10", False),
        ("1" * 500, "1" * 499 + "2", False),
    ],
)
def test_numbers_may_differ_by_the_tolerance(printed, expected, equal):
    assert (stdout.difference(printed, expected, tokens=True, tolerance=1e-4) == "") is equal


def test_the_first_difference_is_told():
    assert stdout.difference("a\nc\n", "a\nb\n") == "Expected 'b' in line 2, read 'c'."


def test_cases_are_read_in_both_shapes():
    assert cases_of([{"input": "1", "output": "2"}]) == [Case("1", "2")]
    assert cases_of({"inputs": ["1", "3"], "outputs": ["2", "4"]}) == [Case("1", "2"), Case("3", "4")]


@pytest.mark.parametrize(
    "value",
    [
        None,
        "assert True",
        ["assert True"],
        [{"input": "1"}],
        [{"input": 1, "output": "2"}],
        [{"input": "1", "output": "2", "testtype": "functional"}],
        {"inputs": ["1"], "outputs": []},
        {"inputs": "1", "outputs": "2"},
        [{"input": "1", "output": "2"}, None],
    ],
)
def test_everything_else_is_no_case(value):
    assert cases_of(value) is None


def test_no_case_at_all_is_an_empty_list():
    assert cases_of([]) == []
