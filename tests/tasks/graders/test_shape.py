import json
import socket

import pytest

from tasks.graders import shape
from tasks.graders.outcome import ModelFault

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}


def _reason(schema, reply):
    with pytest.raises(ModelFault) as fault:
        shape.compile(schema)(reply)
    return fault.value.reason


def _fits(schema, reply):
    """Whether a reply has the shape: a check says so by raising nothing."""
    try:
        shape.compile(schema)(reply)
    except ModelFault:
        return False
    return True


def test_a_reply_of_the_shape_passes():
    assert _fits(PERSON, {"name": "Ada", "age": 36})


def test_a_reply_of_another_shape_is_the_models_fault_with_the_place():
    assert _reason(PERSON, {"name": "Ada", "age": -1}).startswith("age: -1 is less than")


def test_a_field_that_is_missing_is_named():
    assert "'name' is a required property" in _reason(PERSON, {"age": 1})


def test_a_field_that_is_not_wanted_is_named():
    assert "'likes' is not wanted" in _reason(PERSON, {"name": "Ada", "likes": []})


def test_a_reference_into_the_schema_itself_is_followed():
    schema = {"$defs": {"word": {"type": "string"}}, "properties": {"name": {"$ref": "#/$defs/word"}}}

    assert "is not of type 'string'" in _reason(schema, {"name": 1})


@pytest.mark.parametrize(
    "target", ["https://example.org/s.json", "http://127.0.0.1:9/s", "file:///etc/passwd", "other"]
)
def test_a_reference_to_another_document_is_refused_and_never_fetched(target, monkeypatch):
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("a connection was opened"))

    with pytest.raises(ValueError, match="which is not fetched"):
        shape.compile({"properties": {"name": {"$ref": target}}})


def test_an_identity_does_not_lend_a_reference_another_base():
    """{"$id": "https://…", "$ref": "#"} stays within the schema."""
    assert _fits({"$id": "https://example.org/s.json", "properties": {"inner": {"$ref": "#"}}}, {"inner": {}})


def test_a_reference_that_leads_nowhere_is_refused_when_the_grader_is_made():
    with pytest.raises(ValueError, match="which is not in it"):
        shape.compile({"$ref": "#/$defs/absent"})


def test_what_is_no_schema_is_refused_when_the_grader_is_made():
    with pytest.raises(ValueError, match="is not a JSON Schema"):
        shape.compile({"type": "persons"})


def test_a_pattern_takes_linear_time():
    schema = {"properties": {"name": {"pattern": "^(a+)+$"}}}

    assert "does not match" in _reason(schema, {"name": "a" * 5000 + "!"})


def test_a_pattern_of_names_takes_linear_time():
    schema = {"patternProperties": {"^(a+)+$": {"type": "string"}}, "additionalProperties": False}

    assert "is not wanted" in _reason(schema, {"a" * 5000 + "!": "x"})


def test_the_values_under_a_pattern_of_names_are_checked():
    assert "is not of type" in _reason({"patternProperties": {"^n": {"type": "string"}}}, {"name": 1})


def test_a_pattern_that_needs_backtracking_is_refused_with_its_text():
    with pytest.raises(ValueError, match="which RE2 refuses"):
        shape.compile({"properties": {"name": {"pattern": r"(a)\1"}}})


def test_a_schema_of_a_hundred_thousand_levels_is_refused():
    schema = {}
    for _ in range(100_000):
        schema = {"not": schema}

    with pytest.raises(ValueError, match="simplify it"):
        shape.compile(schema)


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"anyOf": [{"not": {"$ref": "#"}}]}])
def test_a_schema_that_calls_itself_for_ever_is_refused_when_the_grader_is_made(schema):
    with pytest.raises(ValueError, match="calls itself for ever"):
        shape.compile(schema)


def test_a_schema_of_trees_is_no_schema_that_calls_itself_for_ever():
    tree = {"properties": {"branches": {"items": {"$ref": "#"}}}, "required": ["name"]}

    assert "'name' is a required property" in _reason(tree, {"name": "a", "branches": [{"branches": []}]})


def test_a_schema_that_doubles_with_every_reference_is_refused_when_the_grader_is_made():
    levels = {f"d{level}": {"allOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(60)}

    with pytest.raises(ValueError, match="doubles"):
        shape.compile({"$defs": {**levels, "d60": {}}, "$ref": "#/$defs/d0"})


def test_a_schema_that_doubles_with_every_level_of_the_reply_ends_with_a_flag():
    schema = {"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}
    reply: dict = {}
    for _ in range(40):
        reply = {"a": reply}

    with pytest.raises(ModelFault) as fault:
        shape.compile(schema)(reply)

    assert fault.value.flag == "too_long"


def test_many_alternatives_for_a_long_reply_end_with_a_flag():
    schema = {"anyOf": [{"type": "string", "minLength": length} for length in range(900)]}

    with pytest.raises(ModelFault) as fault:
        shape.compile(schema)({"a": [[number] for number in range(50_000)]})

    assert fault.value.flag == "too_long"


def test_unique_items_of_every_kind_take_linear_time():
    schema = {"properties": {"all": {"uniqueItems": True}}}
    mixed = [kind for number in range(5_000) for kind in ([number], {"k": number}, str(number), number)]

    assert _fits(schema, {"all": [*mixed, True, False, None]})


@pytest.mark.parametrize("twice", [[1, 1.0], [{"a": 1, "b": 2}, {"b": 2, "a": 1}], [[1, "x"], [1, "x"]], [True, True]])
def test_an_item_named_twice_is_not_unique(twice):
    assert "names an item twice" in _reason({"properties": {"all": {"uniqueItems": True}}}, {"all": twice})


@pytest.mark.parametrize("different", [[1, True], [0, False], [1, "1"], [[1], [True]], [None, False]])
def test_different_items_are_unique(different):
    assert _fits({"properties": {"all": {"uniqueItems": True}}}, {"all": different})


def test_a_keyword_that_would_match_patterns_with_backtracking_is_refused():
    with pytest.raises(ValueError, match="not supported"):
        shape.compile({"patternProperties": {"^a": {}}, "unevaluatedProperties": False})


def test_the_check_is_the_same_after_a_trip_through_json():
    assert _fits(json.loads(json.dumps(PERSON)), {"name": "Ada"})
