import pytest

from tasks.graders import registry
from tasks.types import Outcome


def grader(operation, **fields):
    shape = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "{{ item.reference }}"}
    return {**shape, "operation": operation, **fields}


@pytest.mark.parametrize(
    ("operation", "completion", "correct"),
    [
        ("eq", "Paris", True),
        ("eq", "paris", False),
        ("eq", "Paris ", False),
        ("ne", "Paris", False),
        ("ne", "Rome", True),
        ("like", "It is Paris.", True),
        ("like", "It is paris.", False),
        ("ilike", "It is pARIS.", True),
        ("ilike", "It is Rome.", False),
    ],
)
def test_each_operation_decides_as_the_contract_says(operation, completion, correct):
    assert registry.grade(grader(operation), completion, {"reference": "Paris"}).correct is correct


def test_the_input_may_be_a_part_of_a_json_reply():
    config = grader("eq", input="{{ sample.output_json.city }}")

    assert registry.grade(config, '{"city": "Paris"}', {"reference": "Paris"}).correct


def test_a_reply_that_is_not_the_json_asked_for_is_incorrect_with_its_flag():
    found = registry.grade(grader("eq", input="{{ sample.output_json.city }}"), "Paris", {"reference": "Paris"})

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("sample_parse_error",))


def test_json_nested_a_hundred_thousand_deep_is_incorrect():
    found = registry.grade(grader("eq", input="{{ sample.output_json.city }}"), "[" * 100_000, {"reference": "x"})

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("sample_parse_error",))


def test_a_json_reply_without_the_field_is_incorrect_with_its_flag():
    found = registry.grade(grader("eq", input="{{ sample.output_json.city }}"), "{}", {"reference": "Paris"})

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("invalid_variable_error",))


def test_an_item_without_the_field_is_ungradable_with_its_flag():
    found = registry.grade(grader("eq"), "Paris", {})

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("invalid_variable_error",))
    assert found.reason == "The item has no 'item.reference'."


@pytest.mark.parametrize("field", ["input", "reference", "operation"])
def test_the_contracts_fields_are_required(field):
    config = grader("eq")
    del config[field]

    assert registry.grade(config, "x", {"reference": "x"}).errors == ("bad_grader",)


def test_the_gold_is_the_reference():
    assert registry.gold(grader("eq"), {"reference": "Paris"}) == "Paris"


def test_no_gold_follows_from_a_reference_that_the_reply_must_differ_from():
    assert registry.gold(grader("ne"), {"reference": "Paris"}) is None


def test_no_gold_follows_where_only_a_part_of_the_reply_is_compared():
    assert registry.gold(grader("eq", input="{{ sample.output_json.city }}"), {"reference": "Paris"}) is None


def test_data_that_looks_like_a_template_is_never_expanded():
    item = {"reference": "{{ item.secret }}", "secret": "x"}

    assert registry.grade(grader("eq"), "{{ item.secret }}", item).correct
    assert not registry.grade(grader("eq"), "x", item).correct


@pytest.mark.parametrize("completion", ["", " ", "<think>Rome", "<think>Rome</think>"])
def test_an_empty_reply_does_not_pass_for_being_different(completion):
    assert registry.grade(grader("ne"), completion, {"reference": "Paris"}).outcome is Outcome.INCORRECT


@pytest.mark.parametrize("operation", ["like", "ilike"])
def test_an_empty_reference_which_every_text_contains_is_the_authors_fault(operation):
    found = registry.grade(grader(operation), "x", {"reference": ""})

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("bad_reference",))
    assert registry.reference_problem(grader(operation), {"reference": ""}) == found.reason


def test_a_reply_after_its_reasoning_is_compared_to_the_blank():
    assert registry.grade(grader("eq"), "<think>Rome?</think>\n\nParis", {"reference": "Paris"}).correct
