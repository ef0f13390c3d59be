from flywheel.openai_compat.job_metrics import metrics

MULTI = {
    "type": "multi",
    "name": "both",
    "graders": {
        "form": {"type": "string_check", "name": "its form"},
        "value": {"type": "python", "name": "its value"},
    },
}
STEP = {
    "step": 3,
    "total_steps": 9,
    "reward_mean": 0.4,
    "validation_reward": {"mean": 0.5, "standard_error": 0.1, "n": 10},
    "seconds_step": 10.0,
    "seconds_sampling": 6.0,
    "seconds_grading": 1.0,
    "grading": {
        "answers": 10,
        "parts": {"form": 0.9, "value": 0.2},
        "errors": {"sample_parse_error": 2, "weird": 1},
        "seconds": 0.01,
        "tokens": {"judge/v1/prompt_tokens": 30, "judge/v1/completion_tokens": 5},
    },
}


def test_the_graders_of_a_multi_are_told_by_their_keys():
    told = metrics(STEP, MULTI, 9)["scores"]["graders"]

    assert [(one["name"], one["type"], one["train_reward_mean"]) for one in told] == [
        ("form", "string_check", 0.9),
        ("value", "python", 0.2),
    ]


def test_a_grader_of_one_part_is_told_by_its_name():
    told = metrics(STEP, {"type": "string_check", "name": "same"}, 9)["scores"]["graders"]

    assert told == [{"name": "same", "type": "string_check", "train_reward_mean": 0.4, "valid_reward_mean": 0.5}]


def test_errors_are_shares_and_counts_by_kind():
    told = metrics(STEP, MULTI, 9)["errors"]["graders"][0]

    assert (told["train_sample_parse_error_mean"], told["train_sample_parse_error_count"]) == (0.2, 2)
    assert (told["train_other_error_count"], told["train_invalid_variable_error_count"]) == (1, 0)


def test_what_was_not_measured_is_null():
    told = metrics({"step": 1}, MULTI, 9)

    assert told["full_valid_mean_reward"] is None
    assert told["errors"]["graders"][0]["valid_sample_parse_error_count"] is None
    assert told["timing"]["step"]["training"] is None


def test_the_time_of_training_is_what_drawing_and_grading_leave():
    assert metrics(STEP, MULTI, 9)["timing"]["step"]["training"] == 3.0


def test_tokens_of_judges_are_told_by_model():
    told = metrics(STEP, MULTI, 9)

    assert told["model_graders_token_usage"] == {"judge/v1": {"prompt_tokens": 30, "completion_tokens": 5}}
