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
    ],
)
def test_only_what_stands_outside_the_reasoning_is_the_answer(completion, answer):
    assert without_reasoning(completion) == answer


def test_an_answer_found_only_in_the_reasoning_does_not_count():
    assert not registry.grade({"type": "number", "reference": 5}, "<think>It is 5.</think>I do not know.", {}).correct


@pytest.mark.timeout(20)
def test_many_unclosed_blocks_take_no_time():
    assert without_reasoning("<think>" * 200_000) == ""
