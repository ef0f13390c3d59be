import pytest

from tasks.graders import registry
from tasks.graders.reasoning import without_reasoning


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("5", "5"),
        ("<think>4</think>5", "5"),
        ("a<think>4</think>5<think>6</think>b", "a5b"),
        ("<think>4", ""),
        ("5<think>4", ""),
        ("<think>4</think>5<think>", ""),
        ("4</think>5", "5"),
        ("<think>a<think>b</think>4</think>5", "5"),
        ("<think></think>", ""),
        ("<THINK>4</Think>5", "5"),
        ("<thinking>4</thinking>5", "5"),
        ("< think >4</ think >5", "5"),
        ("<thinking>4</think>5", "5"),
        ("<Thinking>4", ""),
        ("5</THINK>", ""),
        ("6</think>4</think>5", "5"),
        ("<thi<think>4</think>nk>5</think>", ""),
        ("<thinker>5", "<thinker>5"),
    ],
)
def test_only_what_stands_outside_the_reasoning_is_the_answer(completion, answer):
    assert without_reasoning(completion) == answer


def test_the_blanks_between_a_reasoning_and_the_answer_belong_to_neither():
    assert without_reasoning("<think>\n4\n</think>\n\nParis\n") == "Paris\n"


def test_a_reply_without_reasoning_keeps_its_blanks():
    assert without_reasoning("\n Paris ") == "\n Paris "


def test_an_answer_found_only_in_the_reasoning_does_not_count():
    assert not registry.grade({"type": "number", "reference": 5}, "<think>It is 5.</think>I do not know.", {}).correct


@pytest.mark.timeout(20)
def test_many_unclosed_blocks_take_no_time():
    assert without_reasoning("<think>" * 200_000) == ""


@pytest.mark.timeout(20)
def test_many_closing_marks_take_no_time():
    assert without_reasoning("5</think>" * 200_000) == ""


@pytest.mark.timeout(20)
def test_many_beginnings_of_marks_take_no_time():
    assert without_reasoning("<  / think  " * 200_000).startswith("<")
