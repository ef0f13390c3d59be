"""The engine's side of a training run: its inputs, its progress, and the version that it becomes."""

from pathlib import Path
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from tasks.crash import crash_point
from tasks.errors import Invalid
from trainer.contract import Result, Rollout, TrainSpec, encode
from trainer.launchers.protocol import metrics_after, tail, write_whole
from trainer.models import Alias, AliasMove, Line, ModelVersion, RunMetric, RunSample, TrainingRun
from trainer.runspec import RunSpec
from trainer.services import artifacts, training_data
from trainer.services.bases import reference
from trainer.states import AliasName, RunState


class TrainingKind:
    name = "run"
    model = TrainingRun
    states = RunState
    queued = RunState.QUEUED
    running = frozenset({RunState.RUNNING, RunState.PAUSING})
    succeeded = RunState.SUCCEEDED
    failed = RunState.FAILED

    def queue(self) -> Any:
        return TrainingRun.objects.filter(state=RunState.QUEUED).order_by("pk")

    def prepare(self, work: TrainingRun, directory: Path) -> None:
        """The rows are frozen with the first attempt: a later one trains on the same bytes."""
        spec = msgspec.convert(work.spec, RunSpec)
        if not (directory / "probe.jsonl").exists():
            training_data.write(work, spec, directory)
        told = TrainSpec(
            run=str(work.pk), model=reference(work.start), recipe=spec, grader=work.grader, attempt=work.attempt
        )
        write_whole(directory / "spec.json", encode(told))

    def read_progress(self, work: TrainingRun, directory: Path) -> None:
        metrics, metrics_offset = metrics_after(directory, work.metrics_offset)
        lines, samples_offset = tail(directory / "samples.jsonl", work.samples_offset)
        if not metrics and not lines:
            return
        with transaction.atomic():
            mine = TrainingRun.objects.filter(pk=work.pk, attempt=work.attempt, metrics_offset=work.metrics_offset)
            if not mine.update(metrics_offset=metrics_offset, samples_offset=samples_offset):
                return  # fenced, or another pass has stored these lines
            rows = {line.step: RunMetric(run=work, step=line.step, data=msgspec.to_builtins(line)) for line in metrics}
            RunMetric.objects.bulk_create(
                rows.values(), update_conflicts=True, unique_fields=["run", "step"], update_fields=["data"]
            )
            _store_samples(work, lines)

    def finish(self, work: TrainingRun, directory: Path, result: Result) -> bool:
        """Run succeeded, version registered, challenger moved: all of it or none."""
        if result.model is None:
            raise Invalid("model_missing", "The engine gave no model: look at its log.")
        artifacts.adopt(directory / "model", result.model)
        with transaction.atomic():
            line = Line.objects.select_for_update().get(pk=work.line_id)
            changes = {
                "finished_at": timezone.now(),
                "handle": None,
                "lease_until": None,
                "step": result.step,
                "tokens": result.tokens,
                "kl": msgspec.to_builtins(result.kl),
                "peak_memory_bytes": max(work.peak_memory_bytes, result.peak_memory_bytes),
            }
            old = RunState(work.state)
            data = {"digest": result.model.digest}
            if not TrainingRun.objects.advance(
                work.pk, old, RunState.SUCCEEDED, attempt=work.attempt, data=data, **changes
            ):
                return False
            version = _register(work, line, result)
            _challenge(line, version)
            crash_point("engine.before_register")
        return True

    def wants_pause(self, work: TrainingRun) -> bool:
        return work.state == RunState.PAUSING

    def stopped_early(self, work: TrainingRun) -> RunState:
        """Paused where somebody asked for it; else queued, and the next attempt goes on from the checkpoint."""
        return RunState.PAUSED if work.state == RunState.PAUSING else RunState.QUEUED


def _store_samples(work: TrainingRun, lines: list[bytes]) -> None:
    """A repeated step (after a resume) replaces its samples. A torn line is no sample and is passed over."""
    rollouts = []
    for line in lines:
        try:
            rollouts.append(msgspec.json.decode(line, type=Rollout))
        except msgspec.DecodeError:
            continue
    RunSample.objects.filter(run=work, step__in={rollout.step for rollout in rollouts}).delete()
    RunSample.objects.bulk_create(
        RunSample(run=work, step=rollout.step, data=msgspec.to_builtins(rollout)) for rollout in rollouts
    )


def _register(work: TrainingRun, line: Line, result: Result) -> ModelVersion:
    assert result.model is not None
    number = (line.versions.aggregate(last=Max("number"))["last"] or 0) + 1
    return ModelVersion.objects.create(
        line=line,
        number=number,
        digest=result.model.digest,
        parent=work.start,
        run=work,
        origin=f"run {work.pk}",
        parameters=artifacts.parameters_of(artifacts.path_of(result.model.digest)),
        bytes=artifacts.size_of(result.model),
        kl=msgspec.to_builtins(result.kl),
        environment=result.environment,
    )


def _challenge(line: Line, version: ModelVersion) -> None:
    old = line.alias(AliasName.CHALLENGER)
    Alias.objects.update_or_create(line=line, name=AliasName.CHALLENGER, defaults={"version": version})
    AliasMove.objects.create(
        line=line, name=AliasName.CHALLENGER, old=old, new=version, reason="The newest candidate of the line."
    )
