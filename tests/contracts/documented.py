"""Every field that the reference documents, by object; a reply leaves none out, also where there is nothing to tell."""

import json
from collections.abc import Mapping
from typing import Any

FILE = ["id", "object", "bytes", "created_at", "expires_at", "filename", "purpose", "status", "status_details"]
UPLOAD = ["id", "object", "bytes", "created_at", "expires_at", "filename", "purpose", "status", "file"]
PART = ["id", "object", "created_at", "upload_id"]
DELETED = ["id", "object", "deleted"]
JOB = [
    "id",
    "object",
    "model",
    "created_at",
    "finished_at",
    "estimated_finish",
    "fine_tuned_model",
    "organization_id",
    "result_files",
    "status",
    "training_file",
    "validation_file",
    "hyperparameters",
    "trained_tokens",
    "error",
    "seed",
    "integrations",
    "metadata",
    "method",
    "user_provided_suffix",
    "usage_metrics",
    "shared_with_openai",
    "eval_id",
]
JOB_ERROR = ["code", "message", "param"]
HYPERPARAMETERS = [
    "n_epochs",
    "batch_size",
    "learning_rate_multiplier",
    "compute_multiplier",
    "eval_interval",
    "eval_samples",
    "reasoning_effort",
]
EVENT = ["id", "object", "created_at", "level", "message", "type", "data"]
METRICS = [
    "step",
    "total_steps",
    "train_mean_reward",
    "full_valid_mean_reward",
    "full_valid_mean_parse_error",
    "mean_unresponsive_rewards",
    "reasoning_tokens_mean",
    "valid_reasoning_tokens_mean",
    "completion_tokens_mean",
    "model_graders_token_usage",
    "scores",
    "usage",
    "errors",
    "timing",
]
SCORES = ["train_reward_mean", "valid_reward_mean", "graders"]
SCORES_OF_GRADER = ["name", "type", "train_reward_mean", "valid_reward_mean"]
USAGE = ["samples", "graders"]
ERROR_KINDS = [
    "other_error",
    "sample_parse_error",
    "invalid_variable_error",
    "python_grader_server_error",
    "python_grader_runtime_error",
    "model_grader_server_error",
]
ERRORS_OF_GRADER = ["name", "type"] + [
    f"{split}_{kind}_{figure}" for split in ("train", "valid") for kind in ERROR_KINDS for figure in ("mean", "count")
]
TIMING_OF_STEP = ["sampling", "training", "eval", "full_iteration"]
TIMING_OF_GRADER = ["name", "type", "train_execution_latency_mean", "valid_execution_latency_mean"]
CHECKPOINT = [
    "id",
    "object",
    "created_at",
    "fine_tuned_model_checkpoint",
    "fine_tuning_job_id",
    "step_number",
    "metrics",
]
CHECKPOINT_METRICS = ["step", "train_reward_mean", "valid_reward_mean"]
PERMISSION = ["id", "object", "created_at", "project_id"]
MODEL = ["id", "object", "created", "owned_by"]
GRADED = ["reward", "sub_rewards", "model_grader_token_usage_per_model", "metadata"]
GRADED_METADATA = ["name", "type", "execution_time", "scores", "token_usage", "sampled_model_name", "errors"]
GRADED_ERRORS = [
    "formula_parse_error",
    "sample_parse_error",
    "truncated_observation_error",
    "unresponsive_reward_error",
    "invalid_variable_error",
    "other_error",
    "python_grader_server_error",
    "python_grader_server_error_type",
    "python_grader_runtime_error",
    "python_grader_runtime_error_details",
    "model_grader_server_error",
    "model_grader_refusal_error",
    "model_grader_parse_error",
    "model_grader_server_error_details",
]
COMPLETION = ["id", "object", "created", "model", "choices", "usage"]
CHUNK = ["id", "object", "created", "model", "choices"]
CHOICE = ["index", "message", "finish_reason", "logprobs"]
CHOICE_OF_CHUNK = ["index", "delta", "finish_reason"]
TOKENS = ["prompt_tokens", "completion_tokens", "total_tokens"]
EVAL = ["id", "object", "name", "created_at", "data_source_config", "testing_criteria", "metadata"]
EVAL_DELETED = ["object", "deleted", "eval_id"]
EVAL_RUN = [
    "id",
    "object",
    "eval_id",
    "status",
    "model",
    "name",
    "created_at",
    "report_url",
    "result_counts",
    "per_testing_criteria_results",
    "per_model_usage",
    "data_source",
    "error",
    "metadata",
]
RESULT_COUNTS = ["total", "passed", "failed", "errored"]
CRITERION_RESULTS = ["testing_criteria", "passed", "failed"]
MODEL_USAGE = ["model_name", "invocation_count", "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens"]
RUN_DELETED = ["object", "deleted", "run_id"]
OUTPUT_ITEM = [
    "id",
    "object",
    "run_id",
    "eval_id",
    "created_at",
    "status",
    "datasource_item",
    "datasource_item_id",
    "results",
    "sample",
]
RESULT = ["name", "passed", "score", "sample", "type"]
OUTPUT_SAMPLE = [
    "input",
    "output",
    "finish_reason",
    "model",
    "usage",
    "error",
    "temperature",
    "top_p",
    "seed",
    "max_completion_tokens",
]


def whole(found: Any, *kinds: list[str]) -> Any:
    """The object has every field of these and fits the client's type without any leniency; itself."""
    raw = sent(found)
    for kind in kinds:
        has(raw, kind)
    type(found).model_validate_json(json.dumps(raw), strict=True)
    return found


def sent(found: Any) -> dict[str, Any]:
    """What the server sent of it."""
    return dict(found.to_dict(exclude_unset=True, mode="json"))


def has(raw: Mapping[str, Any], kind: list[str]) -> None:
    missing = [name for name in kind if name not in raw]
    assert not missing, f"without {missing}: {raw}"
