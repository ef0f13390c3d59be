import pytest

from tasks.graders import registry
from tasks.types import Outcome

PLANETS = ["Mars", "Venus", "Jupiter", "Saturn"]


def grade(completion, reference="B", choices=PLANETS):
    config = {"type": "choice", "choices": "{{ item.choices }}"}
    return registry.grade(config, completion, {"reference": reference, "choices": choices})


@pytest.mark.parametrize(
    "completion",
    [
        "B",
        "b",
        "(B)",
        "B.",
        "**B**",
        "The answer is B",
        "The answer is (B).",
        "Answer: b",
        "Answer:\nB",
        "The correct answer is **B**.",
        "The answer is: B. Venus",
        "Option B",
        "I pick B",
        "It's B",
        "\\boxed{B}",
        "$\\boxed{\\text{B}}$",
        "A is wrong, so the answer is B",
        "The answer is A. No: the answer is B.",
        "B) Venus",
        "Venus",
        "venus.",
        "The answer is Venus.",
    ],
)
def test_the_choice_is_read_by_letter_and_by_text(completion):
    assert grade(completion).correct


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "C",
        "Jupiter",
        "The answer is C",
        "the answer is correct",
        "A cat",
        "The answer is a matter of taste",
        "I think so",
        "bad",
        "B's",
        "E",
        "BB",
    ],
)
def test_another_choice_or_none_is_incorrect(completion):
    assert grade(completion).outcome is Outcome.INCORRECT


@pytest.mark.parametrize(
    "completion",
    ["A, B, C, D", "A or B", "A and B", "The answer is A or B", "Answer: A, B", "A) Mars\nB) Venus", "\\boxed{A, B}"],
)
def test_a_reply_that_names_several_choices_has_not_chosen(completion):
    found = grade(completion)

    assert found.outcome is Outcome.INCORRECT
    assert "several choices" in found.reason


@pytest.mark.parametrize(
    "completion",
    [
        "Answer: B or maybe C",
        "Answer: B, maybe C",
        "Answer: B (or C)",
        "Answer: B - or C",
        "Answer: B. Or C.",
        "Answer: B; alternatively C",
        "Answer: B\nor C",
        "answer: B|C",
        "Answer: B+C",
        "\\boxed{B, or perhaps C}",
    ],
)
def test_a_second_thought_beside_the_first_is_no_choice(completion):
    assert "several choices" in grade(completion).reason


@pytest.mark.parametrize(
    "completion",
    [
        "not B",
        "It is not B.",
        "The answer is not B",
        "The answer is: not B",
        "The answer is not (B)",
        "The answer isn't B",
        "The answer can't be B",
        "Everything but B",
        "All but B",
        "I would never choose B",
        "I don't think it is B",
        "neither option B",
        "Option A. I would never choose B.",
        "option A, not option B",
        "It is not Venus",
        "The answer is not Venus",
    ],
)
def test_what_is_denied_is_not_chosen(completion):
    assert grade(completion).outcome is Outcome.INCORRECT


@pytest.mark.parametrize(
    "completion",
    [
        "B, not A",
        "It is not A, it is B",
        "The answer is B, not C.",
        "Not A but B",
        "C is not right, so the answer is B",
        "Don't worry, the answer is B",
        "It does not matter: B",
        "Answer: B. A is too small.",
        "\\boxed{Venus}",
        "$\\boxed{\\text{Venus}}$",
        "Ｂ",
        "（Ｂ）",
        "Ⓑ",
        "\u200fB\u200f",
    ],
)
def test_a_choice_among_denials_and_in_other_letters_is_read(completion):
    assert grade(completion).correct


def test_two_choices_with_one_text_are_told_apart_by_their_letters():
    same = ["red", "red", "blue"]

    assert grade("B", choices=same).correct
    assert not grade("red", choices=same).correct
    assert grade("B", reference="red", choices=same).errors == ("bad_reference",)


def test_a_choice_without_a_text_is_the_authors_fault():
    assert grade("***", reference="A", choices=["", "x"]).errors == ("bad_reference",)


def test_the_last_letter_of_a_list_does_not_win():
    assert not grade("A, B, C, D", reference="D").correct


def test_the_reference_may_be_the_text_of_a_choice():
    assert grade("B", reference="Venus").correct


def test_choices_may_be_given_by_letter():
    assert grade("C", reference="Jupiter", choices={"A": "Mars", "B": "Venus", "C": "Jupiter"}).correct


@pytest.mark.parametrize("reference", ["E", "Pluto", "", 7])
def test_a_reference_that_is_no_choice_is_the_authors_fault(reference):
    found = grade("B", reference=reference)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("bad_reference",))


@pytest.mark.parametrize("choices", ["Mars", ["Mars"], 5, [str(number) for number in range(27)]])
def test_choices_that_are_no_list_of_2_to_26_are_the_authors_fault(choices):
    assert grade("B", choices=choices).errors == ("bad_reference",)


def test_without_texts_the_letters_decide():
    config = {"type": "choice", "reference": "C", "letters": "ABC"}

    assert registry.grade(config, "(c)", {}).correct
    assert registry.grade(config, "D", {}).outcome is Outcome.INCORRECT


@pytest.mark.parametrize("letters", ["", "AA", "A1", "Aa"])
def test_letters_must_be_different_letters(letters):
    assert registry.grade({"type": "choice", "reference": "A", "letters": letters}, "A", {}).errors == ("bad_grader",)


def test_the_gold_is_the_letter():
    assert registry.gold({"type": "choice", "choices": PLANETS}, {"reference": "Venus"}) == "B"


@pytest.mark.parametrize(
    "completion",
    [
        "answer is " * 20_000,
        "A, " * 30_000,
        "answer: A, B " * 10_000,
        "(" * 100_000,
        "answer " + "*" * 100_000,
        "not " * 50_000,
        "answer is B or maybe " * 9_000 + "C",
        "not is " * 30_000,
    ],
)
@pytest.mark.timeout(20)
def test_hostile_replies_are_graded_in_no_time(completion):
    found = grade(completion)

    assert found.outcome is Outcome.INCORRECT
