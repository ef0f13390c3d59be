import pytest

from tasks.graders import final_answer


def read(reply, **fields):
    return final_answer.read(reply, **fields).text


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (r"\boxed{4}", "4"),
        (r"so $x = \boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed {4}", "4"),
        (r"\\boxed{4}", "4"),
        (r"\fbox{4}", "4"),
        (r"\boxed{\boxed{4}}", r"\boxed{4}"),
        ("\\boxed{\n4\n}", "4"),
        (r"{ an open brace, then \boxed{4}", "4"),
        (r"} a stray one, then \boxed{4}", "4"),
    ],
)
def test_the_content_of_the_last_box_is_the_answer(reply, answer):
    assert read(reply) == answer


def test_a_box_before_other_words_is_working():
    assert read(r"The half is \boxed{3}, so that the whole is \boxed{6}.") == "6"


@pytest.mark.parametrize(
    "reply",
    [
        r"\boxed{3} or \boxed{4}",
        r"$\boxed{3}$, $\boxed{4}$",
        "\\boxed{3}\n\n\\boxed{4}",
        r"either \boxed{3} or maybe \boxed{4}.",
        r"$x = \boxed{3} \text{ or } x = \boxed{4}$",
        r"\boxed{3} and \boxed{4}",
        r"\boxed{3} \quad \boxed{4}",
    ],
)
def test_boxes_joined_by_nothing_but_or_are_one_list(reply):
    assert read(reply) == "3, 4"


def test_the_same_box_twice_is_one_answer():
    assert read(r"\boxed{4}, \boxed{4}") == "4"


@pytest.mark.parametrize("reply", [r"\boxed{4", r"It was \boxed{3}, no: \boxed{4", r"\boxed{\frac{1}{2}", r"\boxed{"])
def test_a_last_box_that_is_never_closed_states_nothing(reply):
    found = final_answer.read(reply)

    assert found.text is None
    assert "never closed" in found.problem


@pytest.mark.parametrize("reply", [r"\boxed{}", r"\boxed{ }", r"Put the answer into \boxed{}."])
def test_an_empty_box_states_nothing(reply):
    assert read(reply) is None


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("The answer is 72.", "72"),
        ("The answer is 3.5. It was easy.", "3.5"),
        ("Answer: 72", "72"),
        ("**Answer:** 72", "72"),
        ("The final answer is $\\frac{1}{2}$ of it.", r"\frac{1}{2}"),
        ("The answer is: \\(x^2\\)", "x^2"),
        ("The answer is 3.\nNo, the answer is 4 because 3 is odd.", "4"),
        ("48/2 = 24\n#### 72", "72"),
        ("72", "72"),
        (" -1,234.5 ", "-1,234.5"),
        ("x = 4", "x = 4"),
        ("$\\sqrt{2}$", "$\\sqrt{2}$"),
    ],
)
def test_without_a_box_the_stated_answer_counts(reply, answer):
    assert read(reply) == answer


@pytest.mark.parametrize("reply", ["", "Compute $2+2$.", "It costs 5 dollars.", "What is the answer?", "The answer is"])
def test_a_formula_somewhere_in_the_text_is_no_answer(reply):
    assert read(reply) is None


def test_a_reply_without_a_box_has_no_answer_where_only_boxes_count():
    assert read("The answer is 72.", only_boxed=True) is None


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "reply",
    [
        r"\boxed{" * 100_000,
        r"\boxed{" * 100_000 + "}" * 100_000,
        r"\boxed{1}" * 100_000,
        r"\boxed{1} or " * 50_000,
        "{" * 1_000_000,
        "answer is " * 100_000,
        "answer: $" * 100_000,
        "$" * 1_000_000,
        "\\" * 1_000_000 + "boxed{4}",
        "#" * 1_000_000,
        " " * 1_000_000 + r"\boxed{4}",
    ],
)
def test_a_hostile_reply_costs_little(reply):
    found = final_answer.read(reply)

    assert found.problem or len(found.text) <= len(reply)


def test_more_boxes_than_one_statement_may_have_are_no_answer():
    boxes = " or ".join(rf"\boxed{{{number}}}" for number in range(100))

    assert read(boxes) is None
