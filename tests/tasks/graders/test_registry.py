import pytest

from tasks.errors import Invalid
from tasks.graders import registry
from tasks.types import Outcome

NUMBER = {"type": "number", "reference": "{{ item.reference }}"}
# What a judge answers is its own: test_score_model and test_label_model ask one.
EXAMPLES = [row for row in registry.describe() if not registry.asks_a_model(row["grader"])]

# Nobody but its author knows what a python grader's function wants to read.
DERIVING = [row for row in EXAMPLES if row["grader"]["type"] != "python"]


def test_the_catalogue_is_the_package():
    assert {"choice", "json_match", "number", "set_match", "string_check"} <= set(registry.types())


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: row["type"])
def test_every_graders_documented_example_earns_full_score(row):
    found = registry.grade(row["grader"], row["completion"], row["item"])

    assert found.correct
    assert found.score == 1
    assert row["summary"]


@pytest.mark.parametrize("row", DERIVING, ids=lambda row: row["type"])
def test_every_graders_derived_gold_earns_full_score(row):
    gold = registry.gold(row["grader"], row["item"])

    assert gold is not None
    assert registry.grade(row["grader"], gold, row["item"]).score == 1


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: row["type"])
@pytest.mark.parametrize(
    "completion", ["", "\0", "\ud800", "{{ item.reference }}", "x" * 200_000, "[" * 100_000, "<think>"]
)
def test_no_reply_makes_a_grader_raise(row, completion):
    assert registry.grade(row["grader"], completion, row["item"]).outcome is Outcome.INCORRECT


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: row["type"])
@pytest.mark.parametrize(
    "item", [{}, {"reference": None}, {"reference": {}}, {"reference": [[]]}, {"reference": "\ud800"}]
)
def test_no_item_makes_a_grader_raise(row, item):
    assert registry.grade(row["grader"], "x", item).outcome in Outcome


def test_an_unknown_type_is_refused_with_the_known_ones():
    with pytest.raises(Invalid, match=r"no grader of type 'nmber'.*choice, .*json_match, .*number") as refused:
        registry.parse({"type": "nmber"})

    assert (refused.value.code, refused.value.param) == ("unknown_grader", "grader.type")


@pytest.mark.parametrize("config", [{}, {"type": 5}, {"type": None}])
def test_a_grader_without_a_type_is_unknown(config):
    with pytest.raises(Invalid) as refused:
        registry.parse(config)

    assert refused.value.code == "unknown_grader"


@pytest.mark.parametrize(
    ("config", "param"),
    [
        ({"type": "number", "tolerance": 1}, "grader.tolerance"),
        ({"type": "number", "absolute_tolerance": "wide"}, "grader.absolute_tolerance"),
        ({"type": "number", "absolute_tolerance": -1}, "grader.absolute_tolerance"),
        ({"type": "number", "pass_threshold": 2}, "grader.pass_threshold"),
        ({"type": "number", "reference": "{{ item.x | int }}"}, "grader.reference"),
        ({"type": "string_check", "input": "", "reference": ""}, "grader.operation"),
        (
            {"type": "score_model", "model": "judge", "input": [{"role": "user", "content": "{{ x }}"}]},
            "grader.input",
        ),
        ({"type": "score_model", "model": "judge", "input": [{"role": "user"}]}, "grader.input[0].content"),
        ({"type": "number", "reference": "many"}, "grader"),
        ({"type": "number", "name": "x" * 300_000}, "grader"),
        ({"type": "number", "reference": object()}, "grader"),
        ({"type": "string_check", "input": "", "reference": "", "operation": "is"}, "grader.operation"),
    ],
)
def test_a_bad_configuration_is_refused_and_names_its_field(config, param):
    with pytest.raises(Invalid) as refused:
        registry.parse(config)

    assert (refused.value.code, refused.value.param) == ("bad_grader", param)


def test_a_configuration_nested_without_end_is_refused():
    deep: dict = {}
    for _ in range(100_000):
        deep = {"a": deep}

    with pytest.raises(Invalid):
        registry.parse({"type": "json_match", "reference": deep})


def test_grading_with_a_bad_configuration_is_ungradable():
    found = registry.grade({"type": "nmber"}, "5", {})

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("unknown_grader",))


def test_the_digest_does_not_depend_on_order_name_and_spelt_out_defaults():
    spelt = {
        "pass_threshold": 1.0,
        "absolute_tolerance": 0,
        "name": "mine",
        "reference": "{{ item.reference }}",
        "type": "number",
    }

    assert registry.digest(spelt) == registry.digest({"type": "number"})


def test_the_digest_changes_with_what_decides():
    assert registry.digest({**NUMBER, "absolute_tolerance": 0.1}) != registry.digest(NUMBER)


def test_a_parsed_configuration_works_like_the_one_it_came_from():
    config = registry.parse(NUMBER)

    assert registry.parse(config) is config
    assert registry.digest(config) == registry.digest(NUMBER)
    assert registry.grade(config, "5", {"reference": 5}).correct


def test_a_grade_says_how_long_it_took():
    assert registry.compile(NUMBER)("5", {"reference": 5}).seconds > 0


def test_the_variables_that_a_grader_reads_are_known():
    config = {"type": "choice", "reference": "{{ item.answer }}", "choices": "{{ item.options.all }}"}

    assert [variable.source for variable in registry.item_variables(config)] == ["item.answer", "item.options.all"]


def test_an_unusable_reference_is_told_without_grading():
    assert registry.reference_problem(NUMBER, {"reference": 5}) is None
    assert registry.reference_problem(NUMBER, {"reference": "many"}) == "The reference is not one number: 'many'."


def test_answers_to_many_graders_are_graded_in_the_order_in_which_they_came():
    exact = {"type": "exact", "reference": "a"}
    asked = [(NUMBER, "5", True), (exact, "a", True), ({"type": "nmber"}, "5", None), (NUMBER, "6", False)] * 50
    requests = [(config, completion, {"reference": 5}) for config, completion, _ in asked]

    found = registry.grade_each(requests)

    said = {Outcome.CORRECT: True, Outcome.INCORRECT: False, Outcome.UNGRADABLE: None}
    assert [said[grade.outcome] for grade in found] == [right for _, _, right in asked]


def test_a_score_of_nothing_has_no_sign():
    config = {"type": "multi", "graders": {"a": NUMBER}, "calculate_output": "-a"}

    assert str(registry.grade(config, "6", {"reference": 5}).score) == "0.0"
