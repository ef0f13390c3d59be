"""Evals, runs and output items as OpenAI's types tell them. Values only."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.urls import reverse

from flywheel.openai_compat import grader_shapes, ids
from tasks.graders import multi, registry
from tasks.types import Outcome
from trainer.models import Eval, EvalItem, EvalRun
from trainer.states import EvaluationState

STATUS: Mapping[EvaluationState, str] = {
    EvaluationState.QUEUED: "queued",
    EvaluationState.RUNNING: "in_progress",
    EvaluationState.SUCCEEDED: "completed",
    EvaluationState.FAILED: "failed",
    EvaluationState.CANCELLED: "canceled",
}
STATES = {status: state for state, status in STATUS.items()}
_SAMPLE_SCHEMA = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "choices": {"type": "array", "items": {"type": "object"}},
        "output_text": {"type": "string"},
        "output_json": {"type": "object"},
        "output_tools": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["model", "choices"],
}


def eval_shown(of: Eval) -> dict[str, Any]:
    return {
        "id": ids.encode(ids.EVAL, of.pk),
        "object": "eval",
        "name": of.name,
        "created_at": int(of.created_at.timestamp()),
        "data_source_config": {"type": "custom", "schema": _schema(of)},
        "testing_criteria": [_criterion(one) for one in of.criteria],
        "metadata": of.metadata,
    }


def _schema(of: Eval) -> dict[str, Any]:
    """Of a row: the item's and, where it was announced, the sample's."""
    parts: dict[str, Any] = {"item": of.item_schema}
    if of.include_sample_schema:
        parts["sample"] = _SAMPLE_SCHEMA
    return {"type": "object", "properties": parts, "required": list(parts)}


def criterion_id(criterion: Mapping[str, Any]) -> str:
    """Names may repeat, so results name a criterion by this."""
    return f"{criterion['name']}-{criterion['key']}"


def _criterion(criterion: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": criterion_id(criterion), **grader_shapes.completed(criterion["grader"])}


def run_shown(run: EvalRun, *, whole: bool = True) -> dict[str, Any]:
    """`whole`: with the rows that came with its request."""
    return {
        "id": ids.encode(ids.EVAL_RUN, run.pk),
        "object": "eval.run",
        "eval_id": ids.encode(ids.EVAL, run.eval_id),
        "created_at": int(run.created_at.timestamp()),
        "status": STATUS[EvaluationState(run.state)],
        "model": run.model or None,
        "name": run.name,
        "report_url": settings.PORTAL_URL + reverse("eval-run", args=[run.eval_id, run.pk]),
        "result_counts": {
            "total": run.total,
            "passed": run.passed,
            "failed": run.failed,
            "errored": run.errored,
        },
        "per_testing_criteria_results": [_counted(run, criterion) for criterion in run.eval.criteria],
        "per_model_usage": [_spent(model, sums) for model, sums in sorted(run.usage.items())],
        "data_source": _source(run, whole),
        "error": _error(run),
        "metadata": run.metadata,
    }


def _counted(run: EvalRun, criterion: Mapping[str, Any]) -> dict[str, Any]:
    counts = run.by_criterion.get(criterion["key"], {})
    numbers = {name: counts.get(name, 0) for name in ("passed", "failed", "errored")}
    return {"testing_criteria": criterion_id(criterion), **numbers}


def _spent(model: str, sums: Mapping[str, int]) -> dict[str, Any]:
    return {
        "model_name": model,
        "invocation_count": sums["calls"],
        "prompt_tokens": sums["prompt_tokens"],
        "completion_tokens": sums["completion_tokens"],
        "total_tokens": sums["prompt_tokens"] + sums["completion_tokens"],
        "cached_tokens": 0,
    }


def _source(run: EvalRun, whole: bool) -> dict[str, Any]:
    """Rows that came with the request are kept as items, and told again from there. Nobody has asked for a validation
    of a training run: it says what it measured."""
    if run.training_run_id is not None:
        file = {"type": "file_id", "id": ids.encode(ids.FILE, run.file_id)} if run.file_id is not None else None
        return {"type": "completions", "model": run.model, "source": file or {"type": "file_content", "content": []}}
    source: dict[str, Any] = run.source
    if not whole or source["source"]["type"] != "file_content":
        return source
    rows = run.items.values_list("item", "sample")
    content = [{"item": item, **({"sample": sample} if sample is not None else {})} for item, sample in rows]
    return {**source, "source": {**source["source"], "content": content}}


def _error(run: EvalRun) -> dict[str, str] | None:
    if run.state != EvaluationState.FAILED or not run.error:
        return None
    return {"code": run.error["code"], "message": run.error["sentence"]}


def item_shown(item: EvalItem, run: EvalRun) -> dict[str, Any]:
    criteria = {criterion["key"]: criterion for criterion in run.eval.criteria}
    return {
        "id": ids.encode(ids.OUTPUT_ITEM, item.pk),
        "object": "eval.run.output_item",
        "created_at": int(item.created_at.timestamp()),
        "eval_id": ids.encode(ids.EVAL, run.eval_id),
        "run_id": ids.encode(ids.EVAL_RUN, run.pk),
        "status": item.status,
        "datasource_item_id": item.position,
        "datasource_item": item.item,
        "results": [_result(result, criteria[result["key"]]) for result in item.results],
        "sample": _sample(item, run),
    }


def _result(result: Mapping[str, Any], criterion: Mapping[str, Any]) -> dict[str, Any]:
    """`reason` and `errors` are ours: the client's types let them pass."""
    config = registry.parse(criterion["grader"])
    ungradable = result["outcome"] == Outcome.UNGRADABLE
    return {
        "name": criterion_id(criterion),
        "type": criterion["grader"]["type"],
        "passed": result["outcome"] == Outcome.CORRECT,
        "score": 0.0 if ungradable else multi.in_range(config, result["score"]),
        "sample": _judged(result) if result.get("usage") else None,
        "reason": result["reason"],
        "errors": result.get("errors", []),
    }


def _judged(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a judge said, as far as it is kept."""
    usage = result["usage"]
    prompt = sum(count for name, count in usage.items() if name.endswith("/prompt_tokens"))
    completion = sum(count for name, count in usage.items() if name.endswith("/completion_tokens"))
    return {
        "model": next(iter(usage)).rpartition("/")[0],
        "output": [{"role": "assistant", "content": result["reason"]}],
        "usage": _usage(prompt, completion),
    }


def _sample(item: EvalItem, run: EvalRun) -> dict[str, Any]:
    answer: Mapping[str, Any] = item.answer or {}
    fault = {"code": answer["code"], "message": answer["fault"]} if answer.get("code") else None
    sampling = run.sampling
    model = run.model or str((item.sample or {}).get("model") or "")
    return {
        "input": answer.get("messages", []),
        "output": [] if fault else [{"role": "assistant", "content": answer.get("text", "")}],
        "finish_reason": "error" if fault else answer.get("finish_reason", "stop"),
        "model": model,
        "usage": _usage(answer.get("prompt_tokens", 0), answer.get("completion_tokens", 0)),
        "error": fault,
        "temperature": sampling.get("temperature", 1.0),
        "top_p": sampling.get("top_p", 1.0),
        "seed": sampling.get("seed"),
        "max_completion_tokens": sampling.get("max_completion_tokens"),
    }


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "cached_tokens": 0,
    }
