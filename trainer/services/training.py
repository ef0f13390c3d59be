"""The engine's side of a training run: its inputs, its progress, and the version that it becomes."""

import logging
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from tasks.crash import crash_point
from tasks.errors import FlywheelError, Invalid
from trainer.contract import Alarm, Result, Rollout, StepMetrics, TrainSpec, encode
from trainer.launchers.protocol import metrics_after, tail, write_whole
from trainer.models import Alias, AliasMove, Line, ModelVersion, RunAlarm, RunMetric, RunSample, TrainingRun
from trainer.runspec import RunSpec
from trainer.services import artifacts, checkpoints, hacking, rows, run_results, training_data, usage, validation_evals
from trainer.services.bases import reference
from trainer.states import AliasName, RunState

logger = logging.getLogger(__name__)
T = TypeVar("T", bound=msgspec.Struct)


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
            run=str(work.pk),
            model=reference(work.start),
            recipe=spec,
            grader=work.grader,
            attempt=work.attempt,
            second_grader=work.second_grader,
            response_format=work.response_format,
            faults_earn_nothing=work.is_whole,
        )
        write_whole(directory / "spec.json", encode(told))

    def read_progress(self, work: TrainingRun, directory: Path) -> None:
        metrics, metrics_offset = metrics_after(directory, work.metrics_offset)
        samples, samples_offset = tail(directory / "samples.jsonl", work.samples_offset)
        alarms, alarms_offset = tail(directory / "alarms.jsonl", work.alarms_offset)
        if not (metrics or samples or alarms):
            checkpoints.follow(work, directory)  # one is saved after its step is told
            validation_evals.catch_up(work, directory)
            return
        offsets = {
            "metrics_offset": metrics_offset,
            "samples_offset": samples_offset,
            "alarms_offset": alarms_offset,
        }
        with transaction.atomic():
            mine = TrainingRun.objects.filter(pk=work.pk, attempt=work.attempt, metrics_offset=work.metrics_offset)
            if not mine.update(**offsets):
                return  # fenced, or another pass has stored these lines
            _store_metrics(work, metrics)
            _store_samples(work, _decoded(samples, Rollout))
            _store_alarms(work, _decoded(alarms, Alarm))
            checkpoints.follow(work, directory)
        validation_evals.catch_up(work, directory)

    def finish(self, work: TrainingRun, directory: Path, result: Result) -> bool:
        """Run succeeded, version registered, challenger moved: all of it or none. Or paused, by a spent budget."""
        if result.status == "paused":
            checkpoints.follow(work, directory)
            return _paused(work, result)
        if result.model is None:
            raise Invalid("model_missing", "The engine gave no model: look at its log.")
        artifacts.adopt(directory / "model", result.model)
        with transaction.atomic():
            line = Line.objects.select_for_update().get(pk=work.line_id)
            changes = _ended(work, result) | {"finished_at": timezone.now(), "kl": msgspec.to_builtins(result.kl)}
            changes["report"] = hacking.read(directory)
            old = RunState(work.state)
            data = {"digest": result.model.digest, "ending": msgspec.to_builtins(result.ending)}
            if not TrainingRun.objects.advance(
                work.pk, old, RunState.SUCCEEDED, attempt=work.attempt, data=data, **changes
            ):
                return False
            checkpoints.follow(work, directory)
            version = _register(work, line, result)
            _challenge(line, version)
            _keep_results(work)
            crash_point("engine.before_register")
        return True

    def wants_pause(self, work: TrainingRun) -> bool:
        return work.state == RunState.PAUSING

    def stopped_early(self, work: TrainingRun) -> RunState:
        """Paused where somebody asked for it; else queued, and the next attempt goes on from the checkpoint."""
        return RunState.PAUSED if work.state == RunState.PAUSING else RunState.QUEUED


def _keep_results(work: TrainingRun) -> None:
    """A convenience of the run: a full disk must not cost its version."""
    try:
        run_results.keep(work)
    except FlywheelError:
        logger.exception("run %s has no results file", work.pk)


def _paused(work: TrainingRun, result: Result) -> bool:
    """A budget is spent. The snapshot stays in the run directory, and the run waits for another budget."""
    ending = msgspec.to_builtins(result.ending)
    old = RunState(work.state)
    changes = _ended(work, result) | {"tries": 0}
    return TrainingRun.objects.advance(
        work.pk, old, RunState.PAUSED, attempt=work.attempt, data={"ending": ending}, **changes
    )


def _ended(work: TrainingRun, result: Result) -> dict[str, Any]:
    """What an engine that has left says of the run."""
    return {
        "handle": None,
        "lease_until": None,
        "step": result.step,
        **({"tokens": result.tokens} if result.tokens else {}),  # else what the metrics said stands
        "ending": msgspec.to_builtins(result.ending),
        "kept_step": result.kept_step,
        "learning_rate": result.learning_rate,
        "peak_memory_bytes": max(work.peak_memory_bytes, result.peak_memory_bytes),
    }


def _decoded(lines: list[bytes], kind: type[T]) -> list[T]:
    """A line torn by a killed engine says nothing and is passed over."""
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=kind))
        except msgspec.DecodeError:
            continue
    return found


def _store_metrics(work: TrainingRun, lines: list[StepMetrics]) -> None:
    """The steps of the weights that count. Where a run went back, the steps behind that one are gone with it."""
    if not lines:
        return
    trained = sum(line.step > 0 for line in lines)  # step 0 is a measurement
    usage.add_steps(work, trained, _tokens_spent(work, lines))
    kept: dict[int, StepMetrics] = {}
    for line in lines:
        if kept and line.step <= next(reversed(kept)):
            kept = {step: other for step, other in kept.items() if step < line.step}
        kept[line.step] = line
    first = min(line.step for line in lines)
    RunMetric.objects.filter(run=work, step__gte=first).delete()
    validation_evals.forget(work, first)
    RunMetric.objects.bulk_create(
        RunMetric(run=work, step=step, data=msgspec.to_builtins(line)) for step, line in kept.items()
    )
    spent = lines[-1].tokens_seen
    if spent is not None:
        TrainingRun.objects.filter(pk=work.pk).update(tokens=spent)


def _tokens_spent(work: TrainingRun, lines: list[StepMetrics]) -> int:
    """Tokens of these lines. A counter that fell was set back with the weights: it goes on from the step before."""
    first = min(line.step for line in lines)
    seen = dict(work.metrics.filter(step__gte=first - 1).values_list("step", "data__tokens_seen"))
    last = max((tokens or 0 for tokens in seen.values()), default=0)
    spent = 0
    for line in lines:
        now = line.tokens_seen or 0
        before = last if now >= last else seen.get(line.step - 1) or 0
        spent += max(0, now - before)
        last = seen[line.step] = now
    return spent


def _store_samples(work: TrainingRun, rollouts: list[Rollout]) -> None:
    """As with metrics: what follows a step that is trained again goes with it."""
    if not rollouts:
        return
    kept: list[Rollout] = []
    for rollout in rollouts:
        if kept and rollout.step < kept[-1].step:
            kept = [other for other in kept if other.step < rollout.step]
        kept.append(rollout)
    RunSample.objects.filter(run=work, step__gte=min(rollout.step for rollout in rollouts)).delete()
    RunSample.objects.bulk_create(RunSample(run=work, step=rollout.step, data=_storable(rollout)) for rollout in kept)


def _storable(line: msgspec.Struct) -> dict[str, Any]:
    told = msgspec.to_builtins(line)
    return {name: rows.storable(value) if isinstance(value, str) else value for name, value in told.items()}


def _store_alarms(work: TrainingRun, alarms: list[Alarm]) -> None:
    RunAlarm.objects.bulk_create(
        (RunAlarm(run=work, step=alarm.step, at=alarm.at, kind=alarm.kind, data=_storable(alarm)) for alarm in alarms),
        ignore_conflicts=True,
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
    if line.locked(AliasName.CHALLENGER):
        return
    old = line.alias(AliasName.CHALLENGER)
    Alias.objects.update_or_create(line=line, name=AliasName.CHALLENGER, defaults={"version": version})
    AliasMove.objects.create(
        line=line, name=AliasName.CHALLENGER, old=old, new=version, reason="The newest candidate of the line."
    )
