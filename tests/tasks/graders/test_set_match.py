import pytest

from tasks.graders import registry, set_match
from tasks.types import Outcome


def grade(completion, reference=("red", "green", "blue"), **fields):
    reference = list(reference) if isinstance(reference, tuple) else reference
    return registry.grade({"type": "set_match", **fields}, completion, {"reference": reference})


@pytest.mark.parametrize(
    "completion",
    [
        "red, green, blue",
        "blue,green ,RED.",
        "- blue\n- red\n- green",
        "1. red\n2) green\n* blue",
        '["blue", "red", "green"]',
        '```json\n["blue", "red", "green"]\n```',
        "Answer: red, green, blue",
        "The colours are:\nred\ngreen\nblue",
        "red, red, green, blue",
        '"red", `green`, **blue**',
        "<think>purple</think>red, green, blue",
    ],
)
def test_items_are_compared_without_order_and_dress(completion):
    assert grade(completion).correct


def test_a_partial_list_is_incorrect_and_reports_its_parts():
    found = grade("red, green, yellow, pink")

    assert found.outcome is Outcome.INCORRECT
    assert found.sub_scores == {"precision": 0.5, "recall": pytest.approx(2 / 3), "f1": pytest.approx(4 / 7)}
    assert found.score == pytest.approx(4 / 7)
    assert found.reason == "Of 3 items 2 were named; missing: blue; not wanted: pink, yellow."


def test_full_recall_with_extra_items_is_incorrect():
    assert not grade("red, green, blue, black").correct


def test_a_lower_threshold_lets_a_partial_list_pass():
    assert grade("red, green", pass_threshold=0.8).correct


def test_a_reference_may_be_text():
    assert grade("blue, green, red", reference="red, green, blue").correct
    assert grade("blue, green, red", reference='["red", "green", "blue"]').correct


def test_numbers_and_their_text_are_the_same_item():
    assert grade("1, 2", reference=[1, 2]).correct


def test_case_counts_when_asked():
    assert not grade("RED, green, blue", case_sensitive=True).correct


@pytest.mark.parametrize("completion", ["[]", "none", "None."])
def test_an_empty_reference_is_met_by_saying_none(completion):
    assert grade(completion, reference=[]).correct


@pytest.mark.parametrize("completion", ["I found these:", "I [think]:", ",", "**", ".", "\u200b"])
def test_an_empty_reference_is_not_met_by_a_reply_that_lists_nothing(completion):
    assert grade(completion, reference=[]).outcome is Outcome.INCORRECT


@pytest.mark.parametrize("completion", ["none", '["none"]', "[]"])
def test_a_reference_that_says_none_is_the_empty_set(completion):
    assert grade(completion, reference=["none"]).correct


def test_none_among_others_is_an_item():
    assert not grade("x", reference=["none", "x"]).correct


@pytest.mark.parametrize("completion", ["1, 2", "[1.0, 2]", '["1", 2.0]'])
def test_a_whole_number_is_the_same_item_with_and_without_its_point(completion):
    assert grade(completion, reference=[1, 2.0]).correct


@pytest.mark.parametrize(
    "completion", ["red, green and blue", "red green blue", "red; green; blue", "[red, green, blue]"]
)
def test_words_and_other_signs_divide_no_items(completion):
    assert grade(completion).outcome is Outcome.INCORRECT


@pytest.mark.parametrize("completion", ["red, green, not blue", "not red, not green, not blue", "red or green or blue"])
def test_what_is_denied_is_not_named(completion):
    assert grade(completion).outcome is Outcome.INCORRECT


def test_an_empty_reply_is_incorrect_even_where_nothing_is_wanted():
    assert grade("", reference=[]).outcome is Outcome.INCORRECT


@pytest.mark.parametrize("reference", [None, {"a": 1}])
def test_a_reference_that_is_no_list_is_the_authors_fault(reference):
    found = grade("red", reference=reference)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("bad_reference",))


def test_the_gold_survives_items_that_hold_commas():
    item = {"reference": ["Paris, Texas", "Rome"]}
    gold = registry.gold({"type": "set_match"}, item)

    assert registry.grade({"type": "set_match"}, gold, item).correct


def test_listing_every_candidate_has_full_recall_and_is_refused():
    config = registry.parse({"type": "set_match"})
    item = {"reference": ["red", "green"]}

    found = registry.grade(config, set_match.every_candidate(config, item, ["blue", "black, red"]), item)

    assert found.sub_scores["recall"] == 1
    assert not found.correct


@pytest.mark.parametrize(
    "completion",
    ["," * 500_000, "[" * 100_000, "a," * 100_000, "- " * 100_000, "".join(f"{n}," for n in range(50_000))],
)
@pytest.mark.timeout(20)
def test_hostile_replies_are_graded_in_no_time(completion):
    found = grade(completion)

    assert found.outcome is Outcome.INCORRECT
