"""Grades as graders/run tells them, without a server."""

from typing import Any

import pytest

from flywheel.openai_compat.grader_replies import FLAGS, told, unanswered
from tasks.graders import registry
from tasks.types import Grade, Outcome

NUMBER = registry.parse({"type": "number", "name": "n"})
JUDGED = {"type": "score_model", "name": "j", "model": "org/m", "input": [{"role": "user", "content": "?"}]}
OF_TEN = registry.parse({**JUDGED, "range": [1, 10]})
BOTH = registry.parse(
    {
        "type": "multi",
        "graders": {"n": {"type": "number"}, "j": {**JUDGED, "range": [1, 10]}},
        "calculate_output": "n * j",
    }
)


def flags(reply: dict[str, Any]) -> set[str]:
    return {name for name in FLAGS if reply["metadata"]["errors"][name]}


def ungradable(*errors: str, reason: str = "Because.") -> Grade:
    return Grade(Outcome.UNGRADABLE, 0.0, None, reason, errors=errors)


def test_a_judges_share_is_told_in_its_range():
    assert told(OF_TEN, Grade(Outcome.INCORRECT, 0.333333333333, None, ""))["reward"] == 4.0


def test_no_verdict_has_reward_0_though_the_range_begins_above_it():
    assert told(OF_TEN, ungradable("model_grader_parse_error"))["reward"] == 0.0


def test_a_child_without_a_score_has_reward_0():
    grade = Grade(Outcome.UNGRADABLE, 0.0, None, "", sub_scores={"n": 1.0}, errors=("model_grader_refusal_error",))

    assert told(BOTH, grade)["sub_rewards"] == {"n": 1.0, "j": 0.0}


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_of_ours_that_is_openais_keeps_its_name(flag: str):
    assert flags(told(NUMBER, ungradable(flag))) == {flag}


@pytest.mark.parametrize(
    ("flag", "theirs"),
    [
        ("too_long", "truncated_observation_error"),
        ("sandbox_unavailable", "python_grader_server_error"),
        ("sandbox_error", "python_grader_server_error"),
        ("bad_reference", "other_error"),
        ("unheard_of", "other_error"),
    ],
)
def test_every_other_flag_is_told_by_the_nearest(flag: str, theirs: str):
    assert flags(told(NUMBER, ungradable(flag))) == {theirs}


def test_what_cannot_be_graded_without_a_flag_is_marked_all_the_same():
    assert flags(told(NUMBER, ungradable())) == {"other_error"}


def test_a_wrong_answer_with_a_flag_of_ours_is_a_wrong_answer():
    grade = Grade(Outcome.INCORRECT, 0.5, None, "", errors=("field_missing",))

    assert flags(told(NUMBER, grade)) == set()


@pytest.mark.parametrize(
    ("flag", "field"),
    [
        ("python_grader_runtime_error", "python_grader_runtime_error_details"),
        ("model_grader_server_error", "model_grader_server_error_details"),
    ],
)
def test_the_details_are_the_reason(flag: str, field: str):
    reply = told(NUMBER, ungradable(flag, reason="KeyError: 'x' (line 2)."))

    assert reply["metadata"]["errors"][field] == "KeyError: 'x' (line 2)."


def test_tokens_are_told_by_model_and_together():
    usage = {"org/m/prompt_tokens": 11, "org/m/completion_tokens": 7, "k/prompt_tokens": 2}

    reply = told(BOTH, Grade(Outcome.CORRECT, 1.0, None, "", usage=usage))

    assert reply["model_grader_token_usage_per_model"] == {
        "org/m": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        "k": {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2},
    }
    assert reply["metadata"]["token_usage"] == 20


def test_the_only_judge_is_named():
    grade = Grade(Outcome.CORRECT, 1.0, None, "")

    named = [told(config, grade)["metadata"]["sampled_model_name"] for config in (NUMBER, OF_TEN, BOTH)]

    assert named == [None, "org/m", "org/m"]


def test_no_answer_in_time_is_no_reward():
    reply = told(BOTH, unanswered(BOTH, "Too slow.", 10.0))

    assert (reply["reward"], reply["metadata"]["execution_time"], reply["metadata"]["reason"]) == (
        0.0, 10.0, "Too slow.",
    )  # fmt: skip
    assert flags(reply) == {"unresponsive_reward_error", "model_grader_server_error"}
