"""multi: children side by side, one formula over their scores. Judges are on real sockets."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import Invalid
from tasks.graders import judges, judging, registry
from tasks.types import Outcome
from tests.fakes.judge import FakeJudge, Reply, error, running, score

NUMBER = {"type": "number"}
LENGTH = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "because", "operation": "like"}
JUDGE = {"type": "score_model", "model": "judge", "input": [{"role": "user", "content": "{{ sample.output_text }}"}]}
LABEL = {
    "type": "label_model",
    "model": "other-judge",
    "input": [{"role": "user", "content": "{{ sample.output_text }}"}],
    "labels": ["good", "bad"],
    "passing_labels": ["good"],
}
JSON_X = {"type": "string_check", "input": "{{ sample.output_json.x }}", "reference": "1", "operation": "eq"}
PAGE = (Path(__file__).resolve().parents[3] / "docs" / "graders.md").read_text()


@pytest.fixture
def judge() -> Iterator[FakeJudge]:
    judging._without_format.clear()
    with running() as fake, judges.using(fake.judges()):
        fake.answers = lambda body: Reply({"label": "good"}) if body["model"] == "other-judge" else score(1)
        yield fake


def multi(formula: str, **graders: Any) -> dict[str, Any]:
    return {"type": "multi", "graders": graders, "calculate_output": formula}


def grade(formula: str, completion: str, item: Any = None, **graders: Any):
    return registry.grade(multi(formula, **graders), completion, {"reference": 4} if item is None else item)


# The score


@pytest.mark.parametrize(
    ("completion", "score_", "outcome"),
    [("4, because", 1, "correct"), ("4", 0.75, "incorrect"), ("because", 0.25, "incorrect"), ("5", 0, "incorrect")],
)
def test_the_formula_makes_one_score_of_the_childrens(completion: str, score_: float, outcome: str):
    found = grade("0.75 * number + 0.25 * length", completion, number=NUMBER, length=LENGTH)

    assert (found.score, found.outcome) == (score_, outcome)


def test_the_childrens_scores_stay_visible():
    found = grade("min(number, length)", "4", number=NUMBER, length=LENGTH)

    assert found.sub_scores == {"number": 1, "length": 0}


def test_correct_is_the_multis_own_threshold():
    config = {**multi("0.75 * number + 0.25 * length", number=NUMBER, length=LENGTH), "pass_threshold": 0.7}

    assert registry.grade(config, "4", {"reference": 4}).correct


def test_the_formula_sees_scores_and_not_outcomes():
    lenient = {"type": "set_match", "pass_threshold": 0.1}

    assert grade("a", "red", {"reference": ["red", "green", "blue"]}, a=lenient).score == pytest.approx(0.5)


def test_the_last_bits_of_a_sum_do_not_leave_the_range():
    assert grade("0.1 * a + 0.2 * a + 0.7 * a", "4", a=NUMBER).score == 1


def test_the_reason_shows_the_formula_and_its_parts():
    found = grade("0.5 * a + 0.5 * b", "4", a=NUMBER, b=LENGTH)

    assert found.reason.startswith("0.5 * a + 0.5 * b = 0.5: a 1 (Matches the reference.); b 0 (Expected")


# Whose fault


@pytest.mark.parametrize("formula", ["a + b", "2 * a", "a - 2", "-a"])
def test_a_result_that_is_no_score_is_the_authors_fault(formula: str):
    found = grade(formula, "4 because", a=NUMBER, b=LENGTH)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("other_error",))


@pytest.mark.parametrize("formula", ["a / b", "sqrt(b - a)", "log(b)", "9^9^9^9 * a", "b ^ -a"])
def test_a_formula_without_a_value_is_the_authors_fault(formula: str):
    found = grade(formula, "4", a=NUMBER, b=LENGTH)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("formula_parse_error",))
    assert found.sub_scores == {"a": 1, "b": 0}


def test_what_a_child_cannot_grade_the_whole_cannot():
    found = grade("0.5 * a + 0.5 * b", "4 because", {}, a=NUMBER, b=LENGTH)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("invalid_variable_error",))
    assert found.reason == "'a' cannot grade this: The item has no 'item.reference'."
    assert found.sub_scores == {"b": 1}


def test_a_child_that_the_formula_does_not_read_holds_nothing_up():
    found = grade("b", "4 because", {}, a=NUMBER, b=LENGTH)

    assert (found.score, found.errors, found.sub_scores) == (1, (), {"b": 1})


def test_what_the_model_did_wrong_keeps_its_flag():
    found = grade("0.5 * a + 0.5 * x", "4", a=NUMBER, x=JSON_X, item={"reference": 4})

    assert (found.outcome, found.score, found.errors) == (Outcome.INCORRECT, 0.5, ("invalid_variable_error",))


def test_a_flag_of_two_children_is_told_once():
    assert grade("min(x, y)", "none", x=JSON_X, y=JSON_X).errors == ("sample_parse_error",)


@pytest.mark.parametrize("completion", ["", "<think>4", "<think>4</think>", "<think>4</think>because"])
def test_an_answer_only_in_the_reasoning_does_not_count(completion: str):
    assert grade("a", completion, a=NUMBER).score == 0


# Configurations


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"graders": {}}, "grader.graders"),
        ({"graders": {f"g{n}": NUMBER for n in range(27)}}, "grader.graders"),
        ({"graders": {"a-b": NUMBER}}, "grader.graders.a-b"),
        ({"graders": {"": NUMBER}}, "grader.graders."),
        ({"graders": {"1a": NUMBER}}, "grader.graders.1a"),
        ({"graders": {"ä": NUMBER}}, "grader.graders.ä"),
        ({"graders": {"max": NUMBER}}, "grader.graders.max"),
        ({"graders": {"a": multi("b", b=NUMBER)}}, "grader.graders.a"),
        ({"graders": {"a": {"type": "nmber"}}}, "grader.graders.a.type"),
        ({"graders": {"a": {"type": "number", "absolute_tolerance": "wide"}}}, "grader.graders.a.absolute_tolerance"),
        ({"graders": {"a": {**NUMBER, "pass_threshold": 2}}}, "grader.graders.a.pass_threshold"),
        ({"graders": {"a": "number"}}, "grader.graders.a"),
        ({"graders": {"a": None}}, "grader.graders.a"),
        ({"graders": [NUMBER]}, "grader.graders"),
        ({"calculate_output": ""}, "grader.calculate_output"),
        ({"calculate_output": "a +"}, "grader.calculate_output"),
        ({"calculate_output": "b"}, "grader.calculate_output"),
        ({"calculate_output": "1"}, "grader.calculate_output"),
        ({"calculate_output": 1}, "grader.calculate_output"),
        ({"calculate_output": "__import__('os')"}, "grader.calculate_output"),
        ({"calculate_output": "(" * 100_000}, "grader.calculate_output"),
        ({"pass_threshold": 2}, "grader.pass_threshold"),
    ],
)
def test_a_configuration_that_cannot_be_right_is_refused_and_names_its_field(fields: dict[str, Any], param: str):
    with pytest.raises(Invalid) as refused:
        registry.parse({**multi("a", a=NUMBER), **fields})

    assert refused.value.param == param
    assert refused.value.sentence.endswith(".")


def test_a_fault_in_the_formula_names_the_position():
    with pytest.raises(Invalid, match="no grader 'b' \\(position 5\\): there is a"):
        registry.parse(multi("a + b", a=NUMBER))


@pytest.mark.parametrize("kind", [kind for kind in registry.types() if kind != "multi"])
def test_every_other_grader_may_be_a_child(kind: str):
    child = registry.modules()[kind].EXAMPLE["grader"]

    assert registry.parse(multi("a", a=child))


def test_the_digest_does_not_depend_on_spelt_out_defaults_of_children_and_their_names():
    spelt = multi("a", a={**NUMBER, "name": "mine", "absolute_tolerance": 0, "reference": "{{ item.reference }}"})

    assert registry.digest(spelt) == registry.digest(multi("a", a=NUMBER))


def test_the_digest_changes_with_a_child_and_with_the_formula():
    one = multi("a", a=NUMBER)
    others = [multi("a ^ 2", a=NUMBER), multi("a", a={**NUMBER, "absolute_tolerance": 1}), multi("b", b=NUMBER)]

    assert registry.digest(one) not in {registry.digest(other) for other in others}


def test_a_parsed_configuration_works_like_the_one_it_came_from():
    config = registry.parse(multi("a", a=NUMBER))

    assert registry.parse(config) is config
    assert registry.digest(config) == registry.digest(multi("a", a=NUMBER))
    assert registry.grade(config, "4", {"reference": 4}).correct


# What its users ask of it


def test_the_variables_of_all_children_are_known():
    child = {**LENGTH, "reference": "{{ item.why }}"}
    config = multi("a + b", a=NUMBER, b=child)

    assert [variable.source for variable in registry.item_variables(config)] == ["item.reference", "item.why"]


def test_an_unusable_reference_of_a_child_is_told():
    config = multi("a + b", a=LENGTH, b=NUMBER)

    assert registry.reference_problem(config, {"reference": "many"}) == "'b': The reference is not one number: 'many'."
    assert registry.reference_problem(config, {"reference": 4}) is None


def test_it_costs_tokens_if_a_child_does():
    assert registry.asks_a_model(multi("a + b", a=NUMBER, b=JUDGE))
    assert not registry.asks_a_model(multi("a", a=NUMBER))


def test_a_child_without_its_judge_makes_it_unavailable():
    with judges.using(judges.Judges()):
        assert str(registry.unavailable(multi("a + b", a=NUMBER, b=JUDGE))).startswith("'b': No judge is known")
        assert registry.unavailable(multi("a", a=NUMBER)) is None


def test_its_gold_earns_full_score():
    exact = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "4", "operation": "eq"}
    config = multi("0.5 * a + 0.5 * b", a=NUMBER, b=exact)

    assert registry.gold(config, {"reference": 4}) == "4"


def test_children_that_want_different_replies_have_no_gold():
    five = {"type": "number", "reference": "5"}

    assert registry.gold(multi("0.5 * a + 0.5 * b", a=NUMBER, b=five), {"reference": 4}) is None


def test_a_gold_is_found_without_asking_a_judge(judge: FakeJudge):
    assert registry.gold(multi("a * b", a=NUMBER, b=JUDGE), {"reference": 4}) == "4"
    assert judge.asked == []


def test_a_formula_that_does_not_reward_the_gold_has_none():
    assert registry.gold(multi("1 - a", a=NUMBER), {"reference": 4}) is None


# Judges and programs among the children


def test_a_math_answer_may_be_checked_by_code_and_by_a_model_together(judge: FakeJudge):
    found = grade("a * b", "4", a=NUMBER, b=JUDGE)

    assert (found.score, found.sub_scores) == (1, {"a": 1, "b": 1})


def test_the_tokens_of_all_children_are_added_up(judge: FakeJudge):
    found = grade("min(a, b, c, d)", "4", a=NUMBER, b=JUDGE, c=LABEL, d={**JUDGE, "range": [0, 2], "pass_threshold": 1})

    assert found.usage == {
        "judge/prompt_tokens": 22,
        "judge/completion_tokens": 14,
        "other-judge/prompt_tokens": 11,
        "other-judge/completion_tokens": 7,
    }


def test_a_judge_that_is_down_makes_the_whole_ungradable(judge: FakeJudge):
    judge.answers = [error(503)]

    found = grade("0.5 * a + 0.5 * b", "4", a=NUMBER, b=JUDGE)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("model_grader_server_error",))


def test_tokens_count_even_where_nothing_can_be_graded(judge: FakeJudge):
    found = grade("0 * a + b", "4", {}, a=NUMBER, b=JUDGE)

    assert found.outcome is Outcome.UNGRADABLE
    assert found.usage["judge/prompt_tokens"] == 11


def test_two_judges_are_asked_at_the_same_time(judge: FakeJudge):
    both = threading.Barrier(2, timeout=20)

    def meet(body: dict[str, Any]) -> Reply:
        both.wait()
        return Reply({"label": "good", "result": 1})

    judge.answers = meet

    assert grade("min(a, b)", "4", a=JUDGE, b=LABEL).correct


def test_every_reply_gets_its_own_scores_in_order(judge: FakeJudge):
    judge.answers = lambda body: score(int(body["messages"][-1]["content"]) / 100)

    found = registry.grade_many(multi("b", a=NUMBER, b=JUDGE), [(str(n), {"reference": n}) for n in range(40)])

    assert [grade.score for grade in found] == [n / 100 for n in range(40)]


def test_a_served_model_is_looked_up_in_the_thread_that_grades(judge: FakeJudge):
    threads = []
    endpoint = judge.judges().endpoints["*"]
    judges.resolve_with(lambda model, team: threads.append(threading.current_thread()) or endpoint)

    with judges.using(judges.Judges(pause_seconds=0.001)):
        found = grade("min(a, b)", "4", a=JUDGE, b=LABEL)

    assert found.correct
    assert set(threads) == {threading.current_thread()}


# Its page


def documented(title: str) -> dict[str, Any]:
    return json.loads(re.findall(rf"\*\*{title}\*\*.*?```json\n(.*?)```", PAGE, re.DOTALL)[0])


@pytest.mark.parametrize(
    ("completion", "verdict", "score_"),
    [(r"\boxed{\frac{1}{2}}", 0, 1), ("one half", 1, 1), ("one half", 0.9, 0), ("one third", 0, 0)],
)
def test_the_documented_pair_of_math_and_judge(judge: FakeJudge, completion: str, verdict: float, score_: float):
    judge.answers = [score(verdict)]

    assert registry.grade(documented("A math answer.*?"), completion, {"reference": "1/2"}).score == score_


@pytest.mark.parametrize(
    ("completion", "number", "label", "score_"),
    [
        ("Please sit.", 1, "polite", 1),
        ("Please sit.", 0, "polite", 1),
        ("Please sit.", 0.9, "rude", 0),
        ("Sit.", 1, "polite", 1),
        ("Sit.", 1, "rude", 0),
        ("Sit.", 0, "rude", 0),
    ],
)
def test_the_documented_majority_of_two_judges_and_a_program(
    judge: FakeJudge, completion: str, number: float, label: str, score_: int
):
    judge.answers = lambda body: Reply({"label": label} if body["model"] == "judge-two" else {"result": number})

    assert registry.grade(documented("Two judges.*?"), completion, {}).score == score_


@pytest.mark.parametrize("formula", ["a + b", "a / (1 - b)"])
def test_a_formula_without_a_score_for_a_right_answer_is_shown_by_its_gold_not_hidden_by_none(formula: str):
    config = multi(formula, a=NUMBER, b=NUMBER)

    gold = registry.gold(config, {"reference": 4})

    assert gold == "4"
    assert registry.grade(config, gold, {"reference": 4}).outcome is Outcome.UNGRADABLE


def test_what_a_child_without_a_gold_marks_down_is_no_gold():
    """Or proof would reject a row whose right answer nobody has told."""
    config = multi("0.5 * a + 0.5 * x", a=NUMBER, x=JSON_X)

    assert registry.gold(config, {"reference": 4}) is None


def test_a_child_without_a_gold_that_cannot_grade_the_row_is_shown_by_its_gold():
    broken = {**JSON_X, "input": "{{ item.absent }}"}
    config = multi("0.5 * a + 0.5 * x", a=NUMBER, x=broken)

    gold = registry.gold(config, {"reference": 4})

    assert gold == "4"
    assert registry.grade(config, gold, {"reference": 4}).outcome is Outcome.UNGRADABLE


# Units


OF_TEN = {**JUDGE, "range": [1, 10]}


@pytest.mark.parametrize(("formula", "value"), [("judge / 10", 0.4), ("floor(judge) / 10", 0.4), ("judge - 3.5", 0.5)])
def test_a_formula_may_read_a_judge_in_the_units_of_its_range(judge: FakeJudge, formula: str, value: float):
    judge.answers = [score(4)]

    found = registry.grade({**multi(formula, judge=OF_TEN), "score_units": "range"}, "A reply.", {})

    assert found.score == value


def test_the_sub_score_of_a_judge_stays_a_share_of_its_range(judge: FakeJudge):
    judge.answers = [score(5.5)]

    found = registry.grade({**multi("judge / 10", judge=OF_TEN), "score_units": "range"}, "A reply.", {})

    assert found.sub_scores == {"judge": 0.5}


def test_a_formula_reads_shares_unless_it_says_otherwise(judge: FakeJudge):
    judge.answers = [score(5.5)]

    assert registry.grade(multi("judge", judge=OF_TEN), "A reply.", {}).score == 0.5


def test_a_multi_that_reads_shares_keeps_the_digest_it_had_before_there_was_a_choice():
    config = multi("a", a=NUMBER)

    assert registry.digest({**config, "score_units": "share"}) == registry.digest(config)
    assert b"score_units" not in registry.canonical(config)


def test_the_units_of_the_formula_are_part_of_the_digest():
    config = multi("judge / 10", judge=OF_TEN)

    assert registry.digest({**config, "score_units": "range"}) != registry.digest(config)
