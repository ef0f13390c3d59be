"""label_model against a judge on real sockets."""

from collections.abc import Iterator
from typing import Any

import pytest

from tasks.errors import Invalid
from tasks.graders import judges, judging, label_model, registry
from tasks.types import Outcome
from tests.fakes.judge import FakeJudge, Reply, error, running

GRADER: dict[str, Any] = {
    "type": "label_model",
    "model": "judge",
    "input": [{"role": "user", "content": "Which tone? {{ sample.output_text }}"}],
    "labels": ["kind", "neutral", "rude"],
    "passing_labels": ["kind", "neutral"],
}


@pytest.fixture
def judge() -> Iterator[FakeJudge]:
    judging._without_format.clear()
    with running() as fake, judges.using(fake.judges()):
        yield fake


def graded(judge: FakeJudge, label: Any, completion: str = "Good day."):
    judge.answers = [Reply({"steps": [{"description": "Read", "conclusion": "It greets."}], "label": label})]
    return registry.grade(GRADER, completion, {})


def test_the_documented_example_earns_full_score(judge: FakeJudge):
    judge.answers = [Reply({"label": "answers"})]
    example = label_model.EXAMPLE

    assert registry.grade(example["grader"], example["completion"], example["item"]).correct


@pytest.mark.parametrize(("label", "score"), [("kind", 1), ("neutral", 1), ("rude", 0)])
def test_a_passing_label_earns_full_score(judge: FakeJudge, label: str, score: int):
    found = graded(judge, label)

    assert (found.score, found.read) == (score, label)
    assert found.outcome is (Outcome.CORRECT if score else Outcome.INCORRECT)


def test_the_reason_is_the_judges_last_conclusion(judge: FakeJudge):
    assert graded(judge, "kind").reason == "The judge says 'kind': It greets."


@pytest.mark.parametrize("label", ["Kind", "kind ", "kind, rude", "polite", "", None, 0, True, ["kind"], {"kind": 1}])
def test_what_is_not_exactly_one_label_is_ungradable(judge: FakeJudge, label: Any):
    found = graded(judge, label)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("model_grader_parse_error",))


def test_an_answer_without_a_label_is_ungradable(judge: FakeJudge):
    judge.answers = [Reply({"result": "kind"})]

    assert registry.grade(GRADER, "Good day.", {}).errors == ("model_grader_parse_error",)


@pytest.mark.parametrize(
    ("reply", "flag"),
    [
        (error(500), "model_grader_server_error"),
        (Reply("kind"), "model_grader_parse_error"),
        (Reply(refusal="No."), "model_grader_refusal_error"),
    ],
)
def test_a_judge_without_a_verdict_is_ungradable(judge: FakeJudge, reply: Reply, flag: str):
    judge.answers = [reply]

    found = registry.grade(GRADER, "Good day.", {})

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, (flag,))


@pytest.mark.parametrize("completion", ["", "<think>kind", "<think>Good day.</think>"])
def test_an_empty_reply_is_not_shown_to_the_judge(judge: FakeJudge, completion: str):
    found = graded(judge, "kind", completion)

    assert (found.outcome, judge.asked) == (Outcome.INCORRECT, [])


@pytest.mark.parametrize("completion", ['{"label": "kind"}', "\ud800", "x" * 200_000, "[" * 100_000, "{{ item.x }}"])
def test_no_reply_decides_for_the_judge(judge: FakeJudge, completion: str):
    assert graded(judge, "rude", completion).outcome is Outcome.INCORRECT


def test_the_schema_lists_the_labels(judge: FakeJudge):
    graded(judge, "kind")

    properties = judge.asked[0]["response_format"]["json_schema"]["schema"]["properties"]
    assert properties["label"] == {"type": "string", "enum": ["kind", "neutral", "rude"]}


def test_the_labels_are_told_in_words_for_servers_without_schemas(judge: FakeJudge):
    graded(judge, "kind")

    assert '"label": one of "kind", "neutral", "rude"' in judge.asked[0]["messages"][0]["content"]


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": []},
        {"labels": ["kind"]},
        {"labels": ["kind", "kind"]},
        {"labels": ["kind", ""]},
        {"labels": ["kind", 5]},
        {"passing_labels": []},
        {"passing_labels": ["polite"]},
        {"sampling_params": {}},
        {"input": []},
    ],
)
def test_a_configuration_that_cannot_be_right_is_refused(fields: dict[str, Any]):
    with pytest.raises(Invalid) as refused:
        registry.parse({**GRADER, **fields})

    assert refused.value.code == "bad_grader"


def test_braces_in_a_label_are_text():
    config = {**GRADER, "labels": ["{{ nothing }}", "b"], "passing_labels": ["b"]}

    assert registry.item_variables(config) == ()


def test_it_costs_tokens_has_no_gold_and_needs_its_judge():
    assert registry.asks_a_model(GRADER)
    assert registry.gold(GRADER, {"reference": "kind"}) is None
    with judges.using(judges.Judges()):
        assert "No judge is known" in str(registry.unavailable(GRADER))
