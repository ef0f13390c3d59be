"""Runs in the shape of fine-tuning jobs: the job, its events, its checkpoints."""

from collections.abc import Mapping
from typing import Any

import msgspec

from flywheel.openai_compat import ids, job_metrics, job_requests
from tasks.models import Upload
from trainer import hyperparameters
from trainer.hyperparameters import Asked
from trainer.models import RunCheckpoint, TrainingRun
from trainer.services import naming, run_events
from trainer.services.run_events import RunEvent
from trainer.states import RUN_ENDED, RunState

STATUS = {state: "validating_files" if state is RunState.VALIDATING else str(state) for state in RunState}


def id_of(run_id: int) -> str:
    return ids.encode(ids.JOB, run_id)


def file_id(upload: Upload | None) -> str | None:
    return None if upload is None else ids.encode(ids.FILE, upload.file.pk)


def job(run: TrainingRun) -> dict[str, Any]:
    state = RunState(run.state)
    asked = _asked(run)
    told = job_requests.told(asked)
    return {
        "id": id_of(run.pk),
        "object": "fine_tuning.job",
        "model": naming.asked_model(run),
        "created_at": int(run.created_at.timestamp()),
        "finished_at": int(run.finished_at.timestamp()) if run.finished_at and state in RUN_ENDED else None,
        "estimated_finish": _estimated_finish(run),
        "fine_tuned_model": naming.of_run(run) if state is RunState.SUCCEEDED else None,
        "organization_id": f"org-{run.line.team.slug}",
        "result_files": [] if run.results_file_id is None else [ids.encode(ids.FILE, run.results_file_id)],
        "status": STATUS[state],
        "training_file": _training_file(run),
        "validation_file": file_id(run.validation_file),
        "hyperparameters": {
            name: told[name] or "auto" for name in ("n_epochs", "batch_size", "learning_rate_multiplier")
        },
        "trained_tokens": int(run.tokens) if state in RUN_ENDED and run.tokens else None,
        "error": _error(run),
        "seed": int(run.spec.get("seed", run.asked.get("seed", 0))),
        "integrations": [],
        "metadata": run.metadata or None,
        "method": {"type": "reinforcement", "reinforcement": _reinforcement(run, told)},
        "user_provided_suffix": run.suffix or None,
        "usage_metrics": None,
        "shared_with_openai": False,
        "eval_id": None if run.eval_id is None else ids.encode(ids.EVAL, run.eval_id),
    }


def _reinforcement(run: TrainingRun, told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "grader": _grader(run),
        "hyperparameters": dict(told),
        "response_format": run.response_format,
    }


def _grader(run: TrainingRun) -> dict[str, Any] | None:
    """As it was written, where it was written here."""
    written: dict[str, Any] | None = run.asked.get("echo", {}).get("grader")
    return written or run.grader or _grader_of_rows(run)


def _grader_of_rows(run: TrainingRun) -> dict[str, Any] | None:
    """What most rows of a run of the portal are graded by: their dataset's."""
    default = run.dataset.default_grader if run.dataset else None
    return {"name": default.type, **default.config} if default else None


def _training_file(run: TrainingRun) -> str:
    """Of a run of the portal what the query found as its `first_file`."""
    if run.training_file is not None:
        return file_id(run.training_file) or ""
    first = getattr(run, "first_file", None)
    return ids.encode(ids.FILE, first) if first else ""


def _asked(run: TrainingRun) -> Asked:
    if settings := run.asked.get("settings"):
        return msgspec.convert(settings, Asked)
    version = run.dataset_version
    return hyperparameters.read_back(
        run.spec, version.task_count if version else run.mixture.size if run.mixture else 1
    )


def _estimated_finish(run: TrainingRun) -> int | None:
    if RunState(run.state) in RUN_ENDED or run.state == RunState.PAUSED or not run.estimated_seconds:
        return None
    return int((run.started_at or run.created_at).timestamp() + run.estimated_seconds)


def _error(run: TrainingRun) -> dict[str, Any] | None:
    if run.state != RunState.FAILED or not run.error:
        return None
    return {
        "code": run.error.get("code", "failed"),
        "message": run.error.get("sentence", ""),
        "param": job_requests.PLACES.get(str(run.error.get("param")), run.error.get("param")),
    }


# Events


def event_id(run: TrainingRun, event: RunEvent) -> str:
    """A step has no row that lasts: its number within its run makes the id."""
    key = (run.pk << 24 | event.key) if event.source == run_events.METRIC else event.key
    return ids.encode(ids.EVENT, key << 2 | event.source)


def event_key(run: TrainingRun, given: str) -> tuple[int, int] | None:
    """(source, key) of an event's id; None where it is none of this run's."""
    number = ids.decode(ids.EVENT, given)
    if number is None:
        return None
    source, key = number & 3, number >> 2
    if source == run_events.METRIC:
        return (source, key & 0xFFFFFF) if key >> 24 == run.pk else None
    return source, key


def event(run: TrainingRun, found: RunEvent) -> dict[str, Any]:
    level, message, data = _told(run, found)
    return {
        "id": event_id(run, found),
        "object": "fine_tuning.job.event",
        "created_at": int(found.at.timestamp()),
        "level": level,
        "message": message,
        "type": "metrics" if found.source == run_events.METRIC else "message",
        "data": data,
    }


def _told(run: TrainingRun, found: RunEvent) -> tuple[str, str, dict[str, Any]]:
    if found.source == run_events.METRIC:
        data = metrics(run, found.data)
        reward = data["train_mean_reward"]
        said = "validation before the first step" if reward is None else f"training reward={reward:.3f}"
        if data["full_valid_mean_reward"] is not None:
            said += f", validation reward={data['full_valid_mean_reward']:.3f}"
        return "info", f"Step {data['step']}/{data['total_steps']}: {said}", data
    if found.source == run_events.ALARM:
        level = "error" if found.data.get("level") == "stop" else "warn"
        return level, found.data.get("sentence", found.kind), {"kind": found.kind, "step": found.data.get("step")}
    if "sentence" in found.data:
        return found.data.get("level", "info"), found.data["sentence"], _facts(found.data)
    return _move(run, found)


def _facts(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in ("sentence", "level")}


_MOVES = {
    "trainingrun.running": "Fine-tuning job started",
    "trainingrun.pausing": "Pausing: the job stops at its next snapshot",
    "trainingrun.cancelled": "The job was cancelled",
    "trainingrun.checkpoint_used": "A checkpoint was asked for the first time: it is a model of the store now",
    "trainingrun.budgets": "The job has got other budgets",
}
_QUEUED = {
    "validating": "Files validated, moving job to queued state",
    "paused": "Job resumed, moving job to queued state",
}


def _move(run: TrainingRun, found: RunEvent) -> tuple[str, str, dict[str, Any]]:
    data = found.data
    if found.kind == "trainingrun.created":
        files = f"training file: {file_id(run.training_file)}"
        files += f" and validation file: {file_id(run.validation_file)}" if run.validation_file else ""
        return "info", f"Created fine-tuning job: {id_of(run.pk)}. Validating {files}", {}
    if found.kind == "trainingrun.failed":
        fault = data.get("error") or run.error or {}
        return "error", f"The job failed: {fault.get('sentence', '')}", {"code": fault.get("code")}
    if found.kind == "trainingrun.queued":
        return "info", _QUEUED.get(data.get("old", ""), "The engine left: the job waits for another one"), {}
    if found.kind == "trainingrun.succeeded":
        ending = (data.get("ending") or {}).get("sentence", "")
        return "info", f"The job has successfully completed: {naming.of_run(run)}. {ending}".strip(), {}
    if found.kind == "trainingrun.paused":
        ending = (data.get("ending") or {}).get("sentence", "")
        return "info", f"Job paused: its snapshot can be used and resumed. {ending}".strip(), {}
    return "info", _MOVES.get(found.kind, found.kind.replace(".", " ")), {}


def metrics(run: TrainingRun, step: Mapping[str, Any]) -> dict[str, Any]:
    return job_metrics.metrics(step, _grader(run) or {}, run.total_steps)


def checkpoint(found: RunCheckpoint, step: Mapping[str, Any] | None) -> dict[str, Any]:
    """`step`: the metrics of its step, where they are kept."""
    told = metrics(found.run, step) if step else {}
    return {
        "id": ids.encode(ids.CHECKPOINT, found.pk),
        "object": "fine_tuning.job.checkpoint",
        "created_at": int(found.created_at.timestamp()),
        "fine_tuned_model_checkpoint": naming.of_checkpoint(found),
        "fine_tuning_job_id": id_of(found.run_id),
        "step_number": found.step,
        "metrics": {
            "step": found.step,
            "train_reward_mean": told.get("train_mean_reward"),
            "valid_reward_mean": told.get("full_valid_mean_reward"),
            "train_mean_reward": told.get("train_mean_reward"),
            "full_valid_mean_reward": told.get("full_valid_mean_reward"),
            "kl": told.get("kl"),
        },
    }
