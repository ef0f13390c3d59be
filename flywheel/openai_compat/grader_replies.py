"""A grade as graders/run tells it: the reward, those of a multi's children, and what went wrong. Values only.

What cannot be graded has reward 0 and is marked by at least one flag, so that nobody takes it for a wrong answer.
"""

from collections.abc import Iterator
from typing import Any

from flywheel.openai_compat.grader_shapes import name_of
from tasks.graders import multi, python, registry
from tasks.types import Grade, Outcome

FLAGS = (
    "formula_parse_error",
    "sample_parse_error",
    "truncated_observation_error",
    "unresponsive_reward_error",
    "invalid_variable_error",
    "other_error",
    "python_grader_server_error",
    "python_grader_runtime_error",
    "model_grader_server_error",
    "model_grader_refusal_error",
    "model_grader_parse_error",
)
_SAID_OTHERWISE = {
    "too_long": "truncated_observation_error",
    "sandbox_unavailable": "python_grader_server_error",
    "sandbox_error": "python_grader_server_error",
}
_SANDBOX = ("sandbox_unavailable", "sandbox_error", "python_grader_server_error")


def told(config: registry.Config, grade: Grade) -> dict[str, Any]:
    usage = _usage(grade)
    return {
        "reward": _reward(config, grade.score, graded=grade.outcome is not Outcome.UNGRADABLE),
        "sub_rewards": _sub_rewards(config, grade),
        "model_grader_token_usage_per_model": usage,
        "metadata": {
            "name": name_of(config),
            "type": config.__struct_config__.tag,
            "errors": _errors(grade),
            "execution_time": grade.seconds,
            "scores": dict(grade.sub_scores),
            "token_usage": sum(counts["total_tokens"] for counts in usage.values()) if usage else None,
            "sampled_model_name": _only(_models(config)),
            "reason": grade.reason,  # ours: the types of the client let it pass
        },
    }


def unanswered(config: registry.Config, sentence: str, seconds: float) -> Grade:
    """The grade where a grader took longer than a request may wait."""
    flags = ["unresponsive_reward_error"]
    if registry.asks_a_model(config):
        flags.append("model_grader_server_error")
    elif any(isinstance(child, python.Config) for child in _children(config)):
        flags.append("python_grader_runtime_error")
    return Grade(Outcome.UNGRADABLE, 0.0, None, sentence, errors=tuple(flags), seconds=seconds)


def _reward(config: registry.Config, score: float, *, graded: bool) -> float:
    """A judge's in the units of its range, as it gave it; 0 where there is none."""
    return multi.in_range(config, score) if graded else 0.0


def _sub_rewards(config: registry.Config, grade: Grade) -> dict[str, float]:
    if not isinstance(config, multi.Config):
        return {}
    return {
        key: _reward(child, grade.sub_scores.get(key, 0.0), graded=key in grade.sub_scores)
        for key, child in config.graders.items()
    }


def _errors(grade: Grade) -> dict[str, Any]:
    flags = {_SAID_OTHERWISE.get(flag, flag) for flag in grade.errors} & set(FLAGS)
    if grade.outcome is Outcome.UNGRADABLE and not flags:
        flags = {"other_error"}

    def detail(flag: str) -> str | None:
        return grade.reason if flag in flags else None

    return {
        **{flag: flag in flags for flag in FLAGS},
        "python_grader_server_error_type": next((flag for flag in _SANDBOX if flag in grade.errors), None),
        "python_grader_runtime_error_details": detail("python_grader_runtime_error"),
        "model_grader_server_error_details": detail("model_grader_server_error"),
    }


def _usage(grade: Grade) -> dict[str, dict[str, int]]:
    """By model. A grade counts under MODEL/prompt_tokens and MODEL/completion_tokens."""
    usage: dict[str, dict[str, int]] = {}
    for counted, tokens in grade.usage.items():
        model, _, kind = counted.rpartition("/")
        usage.setdefault(model, {"prompt_tokens": 0, "completion_tokens": 0})[kind] = tokens
    return {model: {**counts, "total_tokens": sum(counts.values())} for model, counts in usage.items()}


def _children(config: registry.Config) -> Iterator[registry.Config]:
    yield from config.graders.values() if isinstance(config, multi.Config) else [config]


def _models(config: registry.Config) -> set[str]:
    return {child.model for child in _children(config) if registry.asks_a_model(child)}  # type: ignore[attr-defined]


def _only(models: set[str]) -> str | None:
    return next(iter(models)) if len(models) == 1 else None
