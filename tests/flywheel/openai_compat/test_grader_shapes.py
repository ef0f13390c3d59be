"""Translation of configurations, without a server."""

from typing import Any

import pytest

from flywheel.openai_compat.grader_shapes import completed, name_of, ours
from tasks.errors import Invalid
from tasks.graders import registry

EQUAL = {
    "type": "string_check",
    "name": "equal",
    "input": "{{ sample.output_text }}",
    "reference": "a",
    "operation": "eq",
}
JUDGED: dict[str, Any] = {"type": "score_model", "name": "j", "model": "m", "input": [{"role": "user", "content": "?"}]}
LABELLED = {
    "type": "label_model",
    "model": "m",
    "input": [{"role": "user", "content": "?"}],
    "labels": ["a", "b"],
    "passing_labels": ["a"],
}


def multi(formula: str, **graders: Any) -> dict[str, Any]:
    return {"type": "multi", "name": "all", "graders": graders, "calculate_output": formula}


@pytest.mark.parametrize("grader", [EQUAL, JUDGED, multi("a", a=EQUAL), {"type": "number", "name": "n"}])
def test_what_is_the_same_in_both_passes_as_it_is(grader: dict[str, Any]):
    assert ours(grader) == grader


def test_translation_leaves_what_it_was_given_alone():
    grader = {**JUDGED, "range": None, "input": [{"role": "user", "content": "?", "type": None}]}

    ours(grader)

    assert (grader["range"], grader["input"][0]["type"]) == (None, None)


@pytest.mark.parametrize("limits", [None, [0, 1], [0.0, 1.0]])
def test_a_formula_over_shares_reads_shares(limits: Any):
    assert "score_units" not in ours(multi("j", j={**JUDGED, "range": limits}))


def test_a_formula_over_a_range_reads_the_range():
    assert ours(multi("j / 10", j={**JUDGED, "range": [0, 10]}))["score_units"] == "range"


def test_a_formula_that_says_what_it_reads_is_believed():
    grader = {**multi("j", j={**JUDGED, "range": [0, 10]}), "score_units": "share"}

    assert ours(grader)["score_units"] == "share"


@pytest.mark.parametrize("type_", [None, 7, ["multi"], {"multi": 1}, "unheard"])
def test_a_type_that_is_none_is_left_to_the_registry(type_: Any):
    with pytest.raises(Invalid) as refused:
        registry.parse(ours({"type": type_, "graders": {"type": "multi"}}))

    assert (refused.value.code, refused.value.param) == ("unknown_grader", "grader.type")


@pytest.mark.parametrize("children", [None, [], "a", {"a": None}, {"a": []}, {"a": {"type": []}}, {}])
def test_children_that_are_none_are_left_to_the_registry(children: Any):
    with pytest.raises(Invalid) as refused:
        registry.parse(ours({**multi("a"), "graders": children}))

    assert (refused.value.param or "").startswith("grader.graders")


@pytest.mark.parametrize(
    "messages", [None, {}, "?", [None], ["?"], [{"role": "user"}], [{"role": "user", "content": 7}]]
)
def test_messages_that_are_none_are_left_to_the_registry(messages: Any):
    with pytest.raises(Invalid) as refused:
        registry.parse(ours({**JUDGED, "input": messages}))

    assert (refused.value.param or "").startswith("grader.input")


def test_an_image_inside_a_multi_is_refused_by_its_place():
    image = {"type": "input_image", "image_url": "https://example.com/a.png"}
    judged = {**JUDGED, "input": [{"role": "user", "content": ["?", image]}]}

    with pytest.raises(Invalid, match="leave images out") as refused:
        ours(multi("j", j=judged))

    assert refused.value.param == "grader.graders.j.input[0].content[1]"


def test_a_label_model_stands_alone_only_where_it_may():
    with pytest.raises(Invalid, match="inside a multi"):
        ours(LABELLED)

    assert ours(LABELLED, labels_alone=True) == LABELLED


def test_ours_are_completed_with_every_default():
    told = completed({"type": "number"})

    assert (told["type"], told["absolute_tolerance"]) == ("number", 0.0)
    assert told["name"].startswith("number-")


def test_a_completed_grader_is_complete():
    once = completed(multi("a + j", a={**EQUAL, "name": None}, j=JUDGED))

    assert completed(once) == once


def test_a_completed_grader_is_the_same_grader():
    grader = {key: value for key, value in EQUAL.items() if key != "name"}

    assert registry.digest(ours(completed(grader))) == registry.digest(ours(grader))


def test_two_graders_without_a_name_have_two_names():
    unnamed = {key: value for key, value in EQUAL.items() if key != "name"}

    names = {name_of(registry.parse({**unnamed, "operation": operation})) for operation in ("eq", "ne")}

    assert len(names) == 2
