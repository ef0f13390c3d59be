import pytest

from tasks.graders import registry
from tasks.types import Message, Row
from tasks.validation import check_against, validate

NUMBER = {"type": "number"}


def only(raw, default=None):
    (found,) = validate(raw, line=7, default=default)
    return found


def test_a_right_row_is_a_row():
    found = validate({"prompt": "2 + 2?", "reference": 4, "domain": "maths"}, line=7, default=NUMBER)

    assert found == Row(7, (Message("user", "2 + 2?"),), {"reference": 4}, None, None, "maths", {})


def test_a_row_without_any_grader_is_right_and_waits():
    assert isinstance(validate({"prompt": "2 + 2?"}, line=1), Row)


def test_the_rows_own_grader_goes_before_the_default():
    raw = {"prompt": "Who?", "reference": "Ada", "grader": {"type": "set_match"}}

    assert validate(raw, line=1, default=NUMBER).grader == {"type": "set_match"}


def test_an_unknown_grader_is_named_with_the_known_types():
    found = only({"prompt": "a", "grader": {"type": "oracle"}})

    assert (found.code, found.field) == ("unknown_grader", "grader.type")
    assert "oracle" in found.sentence
    assert "json_match" in found.sentence


@pytest.mark.parametrize("grader", ["number", 5, [], {"type": "number", "colour": 1}])
def test_a_grader_that_cannot_be_read_is_an_issue(grader):
    assert only({"prompt": "a", "reference": 1, "grader": grader}).code == "bad_grader"


def test_a_missing_reference_is_named():
    found = only({"prompt": "a"}, NUMBER)

    assert (found.code, found.field, found.line) == ("reference_missing", "reference", 7)


def test_a_missing_item_field_is_named():
    found = only({"prompt": "a"}, {"type": "choice", "reference": "A", "choices": "{{ item.options[0] }}"})

    assert (found.code, found.field) == ("variable_missing", "item.options[0]")


def test_a_reference_that_the_grader_cannot_read_is_shown():
    found = only({"prompt": "a", "reference": "many"}, NUMBER)

    assert (found.code, found.sentence, found.value) == (
        "reference_bad",
        "The reference is not one number: 'many'.",
        "many",
    )


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"prompt": "a\0"}, "prompt"),
        ({"prompt": "a", "item": {"b": ["c", "d\0"]}}, "item.b[1]"),
        ({"prompt": "a", "metadata": {"b\0": 1}}, "metadata"),
    ],
)
def test_a_nul_is_refused_wherever_it_stands(raw, field):
    found = only(raw)

    assert (found.code, found.field) == ("nul", field)


def test_half_a_surrogate_pair_is_refused():
    assert only({"prompt": "a\ud800"}).code == "lone_surrogate"


def test_faults_of_the_prompt_and_of_the_grader_are_reported_together():
    found = validate({"grader": {"type": "oracle"}}, line=1)

    assert [fault.code for fault in found] == ["prompt_missing", "unknown_grader"]


def test_a_stored_item_can_be_checked_when_its_dataset_gets_a_grader():
    config = registry.parse(NUMBER)

    assert check_against(config, {"reference": 4}, 1) == []
    assert [fault.code for fault in check_against(config, {}, 1)] == ["reference_missing"]


def test_a_judge_that_nobody_knows_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr("tasks.graders.number.unavailable", lambda config: "There is no such judge.", raising=False)
    monkeypatch.setattr("tasks.graders.number.ASKS_A_MODEL", True, raising=False)

    issues = validate({"prompt": "1 + 1?", "reference": 2, "grader": {"type": "number", "name": "asking"}}, line=3)

    assert [(found.line, found.code, found.sentence) for found in issues] == [
        (3, "grader_unavailable", "There is no such judge.")
    ]


def test_a_row_is_taken_though_the_sandbox_for_its_grader_is_missing_today(monkeypatch):
    monkeypatch.setenv("SANDBOX_LEVELS", "none")
    grader = {"type": "python", "source": "def grade(sample, item):\n    return 1.0\n"}

    assert not isinstance(validate({"prompt": "1 + 1?", "gold": "2", "grader": grader}, line=3), list)
