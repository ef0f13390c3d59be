from typing import Any

import pytest

from tasks.types import Grade, Outcome
from trainer.evaluation import eval_items
from trainer.evaluation.eval_items import Answer, Result

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
FITS = eval_items.schema_fits(SCHEMA)


def result(outcome: Outcome, key: str = "a", **more: Any) -> Result:
    return Result(key, outcome.value, float(outcome is Outcome.CORRECT), "why", **more)


def test_a_row_that_fits_has_no_problem():
    assert eval_items.row_problem({"item": {"n": 1}, "sample": {"output_text": "1"}}, FITS) is None


@pytest.mark.parametrize(
    ("row", "field", "why"),
    [
        ("text", "item", "no `item`"),
        ({"item": 1}, "item", "no `item`"),
        ({"item": {"n": "1"}}, "item", "does not fit the schema: n:"),
        ({"item": {}}, "item", "required property"),
        ({"item": {"n": 1}, "sample": "1"}, "sample", "not an object"),
        ({"item": {"n": 1}, "label": "1"}, "label", "inside `item`"),
        ({"item": {"n": 1, "x": "a\0"}}, "item", "a NUL character"),
        ({"item": {"n": 1, "\ud800": 1}}, "item", "half of a surrogate pair"),
    ],
)
def test_a_row_that_cannot_be_used_says_where_and_why(row: Any, field: str, why: str):
    found = eval_items.row_problem(row, FITS)

    assert found is not None
    assert (found[0], why in found[1]) == (field, True)


def test_a_row_that_nests_without_end_is_refused():
    deep: Any = []
    for _ in range(200):
        deep = [deep]

    assert "levels deep" in str(eval_items.row_problem({"item": {"n": 1, "x": deep}}, FITS))


@pytest.mark.parametrize("schema", [{"type": "thing"}, {"$ref": "https://example.com/a.json"}, {"pattern": "("}])
def test_a_schema_that_cannot_be_used_is_refused(schema: Any):
    with pytest.raises(ValueError, match="The item schema"):
        eval_items.schema_fits(schema)


@pytest.mark.parametrize(
    ("sample", "text"),
    [
        ({"output_text": "42"}, "42"),
        ({"choices": [{"message": {"content": "42"}}], "output_json": {}}, "42"),
        ({"output_json": {"n": 42}}, '{"n":42}'),
        ({"choices": []}, ""),
        ({"choices": "none"}, ""),
        (None, ""),
    ],
)
def test_the_answer_is_what_a_row_brought(sample: Any, text: str):
    assert eval_items.given_answer(sample).text == text


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([Outcome.CORRECT, Outcome.CORRECT], "pass"),
        ([Outcome.CORRECT, Outcome.INCORRECT], "fail"),
        ([Outcome.INCORRECT, Outcome.UNGRADABLE], "error"),
    ],
)
def test_a_row_passes_where_every_criterion_does(outcomes: list[Outcome], status: str):
    assert eval_items.status_of([result(outcome) for outcome in outcomes]) == status


def test_sums_go_on_from_those_before():
    before = {"a": {"passed": 2, "failed": 0, "errored": 0}}
    spent = {"judge": {"calls": 1, "prompt_tokens": 5, "completion_tokens": 1}}
    tally = eval_items.tally_from(before, spent)

    judged = result(Outcome.INCORRECT, usage={"judge/prompt_tokens": 7, "judge/completion_tokens": 3})
    tally.add("fail", [judged], Answer("1", prompt_tokens=2, completion_tokens=1), "mine")

    assert tally.by_criterion == {"a": {"passed": 2, "failed": 1, "errored": 0}}
    assert tally.usage["judge"] == {"calls": 2, "prompt_tokens": 12, "completion_tokens": 4}
    assert tally.usage["mine"] == {"calls": 1, "prompt_tokens": 2, "completion_tokens": 1}
    assert before["a"]["failed"] == 0


def test_a_grade_is_kept_with_its_flags():
    found = eval_items.result_of("a", Grade(Outcome.UNGRADABLE, 0.0, None, "broken", errors=("other_error",)))

    assert (found.outcome, found.errors, found.reason) == ("ungradable", ["other_error"], "broken")


def test_what_a_model_says_is_kept_as_far_as_it_can_be():
    assert eval_items.storable({"a\0": ["b\ud800", 1, None]}) == {"a\ufffd": ["b\ufffd", 1, None]}
