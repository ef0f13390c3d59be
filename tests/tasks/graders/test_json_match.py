import json

import pytest

from tasks.errors import Invalid
from tasks.graders import json_match, registry
from tasks.types import Outcome

UNIVERSITY = {
    "university": "ETH Zürich",
    "founded": 1855,
    "languages": ["python", "c++", "java"],
    "address": {"city": "Zürich", "zip": "8092"},
    "public": True,
}


def grade(reply, reference=UNIVERSITY, **fields):
    completion = reply if isinstance(reply, str) else json.dumps(reply)
    return registry.grade({"type": "json_match", **fields}, completion, {"reference": reference})


def test_an_equal_object_is_correct_whatever_the_order_of_names_and_sets():
    found = grade({**dict(reversed(UNIVERSITY.items())), "languages": ["Java", "C++", "Python"]})

    assert found.correct
    assert found.sub_scores["languages.f1"] == 1


def test_the_parts_of_a_weak_list_are_reported():
    found = grade({**UNIVERSITY, "languages": ["python", "rust"]})

    assert found.outcome is Outcome.INCORRECT
    assert found.sub_scores["university"] == 1
    assert found.sub_scores["languages.precision"] == 0.5
    assert found.sub_scores["languages.recall"] == pytest.approx(1 / 3)
    assert found.sub_scores["languages.f1"] == found.sub_scores["languages"] == pytest.approx(0.4)


def test_the_score_is_the_weighted_mean_of_the_fields():
    fields = {"a": {"kind": "text", "weight": 3}, "b": {"kind": "set"}}

    found = grade({"a": "x", "b": ["y", "z"]}, {"a": "x", "b": ["y"]}, fields=fields)

    assert found.score == pytest.approx((3 * 1 + 2 / 3) / 4)


def test_a_field_of_weight_0_is_reported_and_not_counted():
    fields = {"a": {"kind": "text"}, "b": {"kind": "text", "weight": 0}}

    found = grade({"a": "x", "b": "no"}, {"a": "x", "b": "y"}, fields=fields)

    assert found.correct
    assert found.sub_scores == {"a": 1, "b": 0}


@pytest.mark.parametrize(
    ("kind", "wanted", "given", "correct"),
    [
        ("exact", "X", "X", True),
        ("exact", "X", "x", False),
        ("exact", 1, 1.0, True),
        ("exact", 1, True, False),
        ("exact", 1, "1", False),
        ("exact", None, None, True),
        ("exact", {"a": [1]}, {"a": [1.0]}, True),
        ("text", "ETH  Zürich", "eth zürich", True),
        ("text", "2024", 2024, True),
        ("text", "ETH", "EPFL", False),
        ("number", 5, 5.0, True),
        ("number", 1234, "1,234", True),
        ("number", 5, True, False),
        ("number", 5, "five", False),
        ("number", 5, [5], False),
        ("set", ["a", "b"], ["b", "a", "a"], True),
        ("set", ["a"], "A", True),
        ("set", [], [], True),
        ("set", [], ["a"], False),
        ("set", [{"a": 1}], [{"a": 1.0}], True),
        ("list", ["a", "b"], ["a", "b"], True),
        ("list", ["a", "b"], ["b", "a"], False),
        ("list", ["a"], ["a", "a"], False),
    ],
)
def test_each_kind_compares_in_its_way(kind, wanted, given, correct):
    assert grade({"f": given}, {"f": wanted}, fields={"f": {"kind": kind}}).correct is correct


def test_a_number_field_has_a_tolerance():
    fields = {"f": {"kind": "number", "tolerance": 0.5}}

    assert grade({"f": 5.5}, {"f": 5}, fields=fields).correct
    assert not grade({"f": 5.6}, {"f": 5}, fields=fields).correct


def test_a_number_field_has_a_relative_tolerance():
    assert grade({"f": 101}, {"f": 100}, fields={"f": {"kind": "number", "relative_tolerance": 0.01}}).correct


def test_a_list_in_order_counts_its_longest_common_subsequence():
    found = grade({"f": ["a", "c", "b"]}, {"f": ["a", "b"]}, fields={"f": {"kind": "list"}})

    assert found.sub_scores["f.precision"] == pytest.approx(2 / 3)
    assert found.sub_scores["f.recall"] == 1


def test_nested_fields_and_dotted_names_say_the_same():
    nested = {"address": {"kind": "object", "fields": {"city": {"kind": "text"}}}}

    for fields in (nested, {"address.city": {"kind": "text"}}):
        assert grade(UNIVERSITY, fields=fields).sub_scores == {"address.city": 1}


def test_a_name_that_holds_a_dot_is_found_as_it_stands():
    assert grade({"a.b": "x"}, {"a.b": "x"}).correct


def test_a_missing_field_is_the_models_fault_with_its_flag():
    found = grade({"university": "ETH Zürich"})

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("field_missing",))
    assert found.sub_scores["languages.recall"] == 0


@pytest.mark.parametrize(
    "wrapping",
    [
        "{}",
        "Here it is: {} I hope it helps.",
        "```json\n{}\n```",
        "Sure.\n```\n{}\n```\nDone {{really}}.",
        '{{"university": "a first try"}} and then {}',
        "<think>{{}}</think>{}",
    ],
)
def test_the_last_object_is_found_in_prose_and_fences(wrapping):
    assert grade(wrapping.format(json.dumps(UNIVERSITY))).correct


def test_of_a_repeated_key_the_last_value_counts():
    assert grade('{"f": "right", "f": "wrong"}', {"f": "wrong"}).correct


@pytest.mark.parametrize("reply", ["", "no json", "[1, 2]", '"text"', "{", '{"a": NaN}', "null"])
def test_a_reply_without_an_object_is_incorrect_with_its_flag(reply):
    found = grade(reply)

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("sample_parse_error",))


@pytest.mark.parametrize(
    "reply",
    [
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        "[" * 100_000,
        "{" * 100_000,
        '{"a" ' * 10_000,
        '{"f": "' + "x" * 500_000 + '"}',
        '{"founded": ' + "9" * 5000 + "}",
        '{"founded": 1e999}',
        json.dumps({"languages": [str(number) for number in range(20_000)]}),
        '{"university": "\\ud800", "languages": ["\\ud800"]} x',
    ],
)
@pytest.mark.timeout(20)
def test_hostile_replies_are_graded_in_no_time(reply):
    found = grade(reply)

    assert found.outcome is Outcome.INCORRECT


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('{"f": 1} {"f": 2}', 0),
        ('{"f": 2} {"f": 1}', 1),
        ('{"f": 2, "f": 1}', 1),
        ('{"f": 1, "f": 2}', 0),
        ('[{"f": 2}, {"f": 1}]', 1),
        ('{"f": 1} trailing words', 1),
        (r"\frac{1}{2} \sqrt{x} " * 300 + '{"f": 1}', 1),
        ('{"f": 1} ' * 100 + '{"f": 2}', 0),
        ('{"f": 1} ' * 300 + '{"f": 2}', 0),
        ('{"f": 1, // one\n}', 0),
        ("{'f': 1}", 0),
        ('{"f": 1,}', 0),
        ('{"f": NaN}', 0),
        ('{"g": {"f": 1}}', 0),
        ('"{}"', 0),
    ],
)
def test_the_last_object_counts_as_json_and_nothing_else(reply, score):
    assert grade(reply, {"f": 1}).score == score


@pytest.mark.timeout(20)
def test_a_hundred_thousand_beginnings_of_an_object_are_given_up():
    found = grade('{"\\' * 100_000)

    assert found.errors == ("sample_parse_error",)


def test_extra_fields_are_ignored_unless_forbidden():
    reply = {**UNIVERSITY, "address": {**UNIVERSITY["address"], "street": "?"}, "motto": "?"}

    assert grade(reply).correct
    found = grade(reply, extra_fields="forbid")
    assert found.score == 0
    assert "not wanted: address.street, motto" in found.reason


def test_forbidding_extra_fields_lets_the_expected_ones_pass():
    assert grade(UNIVERSITY, extra_fields="forbid").correct


def test_the_reference_may_be_a_text_that_holds_json():
    assert grade({"f": 1}, '{"f": 1}').correct


def test_a_reference_object_may_hold_templates():
    config = {"type": "json_match", "reference": {"city": "{{ item.city }}"}}

    assert registry.grade(config, '{"city": "Rome"}', {"city": "Rome"}).correct


@pytest.mark.parametrize("reference", [None, "text", [], {}, 5])
def test_a_reference_that_is_no_object_is_the_authors_fault(reference):
    found = grade({"f": 1}, reference)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("bad_reference",))


def test_a_field_that_the_reference_lacks_is_the_authors_fault():
    found = grade({"f": 1}, {"g": 1}, fields={"f": {"kind": "number"}})

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("invalid_variable_error",))


def test_a_reference_value_that_is_no_number_is_the_authors_fault():
    assert grade({"f": 1}, {"f": "many"}, fields={"f": {"kind": "number"}}).outcome is Outcome.UNGRADABLE


@pytest.mark.parametrize(
    "fields",
    [
        {"f": {"kind": "word"}},
        {"f": {"kind": "text", "weight": -1}},
        {"f": {"kind": "text", "weight": 0}},
        {"f": {"kind": "object"}},
        {"f": {"kind": "text", "fields": {"g": {"kind": "text"}}}},
        {"f": {"kind": "text", "colour": 1}},
    ],
)
def test_fields_that_cannot_be_right_are_refused(fields):
    assert grade({}, fields=fields).errors == ("bad_grader",)


def test_listing_every_candidate_has_full_recall_and_is_refused():
    config = registry.parse({"type": "json_match"})
    item = {"reference": {"name": "x", "languages": ["python"]}}

    reply = json_match.every_candidate(config, item, ['{"languages": ["java", "c"]}', "no json"])

    found = registry.grade(config, reply, item)
    assert found.sub_scores["languages.recall"] == 1
    assert not found.correct


SHAPED = {
    "type": "json_match",
    "reference": {"name": "Ada"},
    "schema": {"type": "object", "required": ["name"], "additionalProperties": False},
}


def test_a_reply_of_another_shape_scores_nothing_and_is_the_models_fault():
    grade = registry.grade(
        {**SHAPED, "schema": {"properties": {"age": {"type": "integer"}}}}, '{"name": "Ada", "age": "x"}', {}
    )

    assert (grade.outcome, grade.score, grade.errors) == (Outcome.INCORRECT, 0.0, ("schema_mismatch",))


def test_a_reply_of_the_shape_is_compared_field_by_field():
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}

    assert registry.grade({**SHAPED, "schema": schema}, '{"name": "Ada"}', {}).correct


def test_a_remote_reference_of_a_schema_is_refused_before_anything_is_graded():
    with pytest.raises(Invalid, match="which is not fetched"):
        registry.parse({**SHAPED, "schema": {"$ref": "https://example.org/person.json"}})


def test_double_braces_in_a_schema_are_no_template():
    config = {**SHAPED, "schema": {"properties": {"name": {"description": "{{ name }}"}}}}

    assert "{{ name }}" not in registry.template_sources(config)
    assert registry.grade(config, '{"name": "Ada"}', {}).correct
