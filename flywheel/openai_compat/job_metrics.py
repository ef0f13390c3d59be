"""A step's metrics (trainer.contract.StepMetrics, as stored) under the names of the original: seconds, tokens, rewards.

What was not measured at a step is null, never 0.
"""

from collections.abc import Mapping
from typing import Any

# Kinds of fault in the original's order; what our graders flag otherwise is an other_error.
KINDS = (
    *("sample_parse_error", "invalid_variable_error", "python_grader_server_error"),
    *("python_grader_runtime_error", "model_grader_server_error", "other_error"),
)


def metrics(step: Mapping[str, Any], grader: Mapping[str, Any], total_steps: int) -> dict[str, Any]:
    valid = (step.get("validation_reward") or {}).get("mean")
    tokens = step.get("completion_tokens_mean")
    graded = {"train": step.get("grading"), "valid": step.get("validation_grading")}
    return {
        "step": step.get("step", 0),
        "total_steps": step.get("total_steps", total_steps),
        "train_mean_reward": step.get("reward_mean"),
        "full_valid_mean_reward": valid,
        "full_valid_mean_parse_error": _share(graded["valid"], "sample_parse_error"),
        "mean_unresponsive_rewards": _share(graded["train"], "unresponsive_reward_error"),
        "completion_tokens_mean": tokens,
        "reasoning_tokens_mean": None if tokens is None else 0.0,
        "valid_reasoning_tokens_mean": None if valid is None else 0.0,
        "model_graders_token_usage": _usage(graded["train"]),
        "scores": {
            "train_reward_mean": step.get("reward_mean"),
            "valid_reward_mean": valid,
            "graders": _scores(step, grader, graded),
        },
        "usage": {"samples": (graded["train"] or {}).get("answers"), "graders": _graders_usage(graded["train"])},
        "errors": {"graders": [{**_named(grader), **_errors(graded)}]},
        "timing": _timing(step, grader, graded),
        "kl": (step.get("kl") or {}).get("mean"),
        "entropy": step.get("entropy"),
    }


def _named(grader: Mapping[str, Any]) -> dict[str, Any]:
    kind = grader.get("type", "multi")
    return {"name": grader.get("name") or kind, "type": kind}


def _scores(step: Mapping[str, Any], grader: Mapping[str, Any], graded: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of a multi one for each of its graders, by its key; else the grader itself."""
    children = grader.get("graders") if grader.get("type") == "multi" else None
    if not isinstance(children, Mapping) or "type" in children:
        means = {"train": step.get("reward_mean"), "valid": (step.get("validation_reward") or {}).get("mean")}
        return [{**_named(grader), **{f"{side}_reward_mean": mean for side, mean in means.items()}}]
    return [
        {
            **_named(child),
            "name": key,
            **{f"{side}_reward_mean": ((graded[side] or {}).get("parts") or {}).get(key) for side in graded},
        }
        for key, child in children.items()
    ]


def _share(graded: Mapping[str, Any] | None, flag: str) -> float | None:
    if not graded or not graded.get("answers"):
        return None
    return float((graded.get("errors") or {}).get(flag, 0)) / float(graded["answers"])


def _errors(graded: Mapping[str, Any]) -> dict[str, Any]:
    """By side and kind: the share of answers, and how many."""
    told: dict[str, Any] = {}
    for side, found in graded.items():
        flags = dict((found or {}).get("errors") or {})
        flags["other_error"] = sum(count for flag, count in flags.items() if flag not in KINDS)
        for kind in KINDS:
            count = flags.get(kind, 0) if found else None
            share = None if count is None else count / max(int((found or {}).get("answers") or 0), 1)
            told |= {f"{side}_{kind}_mean": share, f"{side}_{kind}_count": count}
    return told


def _usage(graded: Mapping[str, Any] | None) -> dict[str, dict[str, int]]:
    """By judge: our counts are kept by MODEL/prompt_tokens and MODEL/completion_tokens."""
    told: dict[str, dict[str, int]] = {}
    for name, count in ((graded or {}).get("tokens") or {}).items():
        model, _, kind = name.rpartition("/")
        told.setdefault(model, {})[kind] = count
    return told


def _graders_usage(graded: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return [{"model": model, **counts} for model, counts in _usage(graded).items()]


def _timing(step: Mapping[str, Any], grader: Mapping[str, Any], graded: Mapping[str, Any]) -> dict[str, Any]:
    whole, sampling = step.get("seconds_step"), step.get("seconds_sampling")
    spent = (sampling or 0.0) + (step.get("seconds_grading") or 0.0)
    latencies = {f"{side}_execution_latency_mean": (found or {}).get("seconds") for side, found in graded.items()}
    return {
        "step": {
            "sampling": sampling,
            "training": None if whole is None else max(0.0, whole - spent),
            "eval": step.get("seconds_measuring"),
            "full_iteration": whole,
        },
        "graders": [{**_named(grader), **latencies}],
    }
