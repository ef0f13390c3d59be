"""Checkpoints as models: which a run keeps, and how one comes into the store when it is first used.

The engine decides what is kept (the best by validation, and the newest); the rows follow its directory. A checkpoint
holds far more than weights, and most are never asked anything: only what is asked is copied into the store.
"""

from pathlib import Path

import msgspec
from django.db import transaction
from django.utils import timezone

from tasks.errors import Conflict, FlywheelError, NotFound
from tasks.models.events import Subject, record
from trainer.contract import Manifest
from trainer.launchers.protocol import path_of_checkpoint, steps_kept
from trainer.models import EvalRun, RunCheckpoint, RunMetric, TrainingRun
from trainer.services import artifacts
from trainer.services.launching import path_of

BEST = 3  # shown of those that validation has measured
_NOT_OF_THE_MODEL = frozenset({"state.json", "trainer_state.json"})
_ADAPTER = "adapter_config.json"


@transaction.atomic
def follow(run: TrainingRun, directory: Path) -> None:
    """Make the rows what the run's directory holds. Repeated calls change nothing."""
    kept = set(steps_kept(directory))
    rows = {row.step: row for row in RunCheckpoint.objects.select_for_update().filter(run=run)}
    RunCheckpoint.objects.bulk_create(
        (RunCheckpoint(run=run, step=step) for step in sorted(kept - rows.keys())), ignore_conflicts=True
    )
    _point_validations(run, kept - rows.keys())
    back = [row.pk for step, row in rows.items() if step in kept and row.gone_at is not None]
    gone = [row.pk for step, row in rows.items() if step not in kept and row.gone_at is None and not row.digest]
    RunCheckpoint.objects.filter(pk__in=back).update(gone_at=None)
    RunCheckpoint.objects.filter(pk__in=gone).update(gone_at=timezone.now())


def _point_validations(run: TrainingRun, steps: set[int]) -> None:
    """A step is measured, and its answers are kept, before its checkpoint is there."""
    for row in RunCheckpoint.objects.filter(run=run, step__in=steps) if steps else ():
        EvalRun.objects.filter(training_run=run, step=row.step, checkpoint=None).update(checkpoint=row)


def usable(run: TrainingRun) -> list[RunCheckpoint]:
    """Newest first. Where validation has measured the run, the best three by it; else all that are kept."""
    rows = list(run.checkpoints.filter(gone_at=None).order_by("-step"))
    measured = rewards(run)
    best = sorted((row for row in rows if row.step in measured), key=lambda row: (measured[row.step], row.step))
    return sorted(best[-BEST:], key=lambda row: -row.step) if best else rows


def rewards(run: TrainingRun) -> dict[int, float]:
    """Mean validation reward by step."""
    found = RunMetric.objects.filter(run=run, data__validation_reward__isnull=False)
    return {
        step: told["mean"] for step, told in found.values_list("step", "data__validation_reward") if told is not None
    }


def in_store(checkpoint: RunCheckpoint) -> RunCheckpoint:
    """The checkpoint with its digest: its model files are taken into the store at its first use.

    Raises NotFound where the files are gone, Conflict where they are no whole model.
    """
    if checkpoint.digest and artifacts.path_of(checkpoint.digest).is_dir():
        return checkpoint
    source = path_of_checkpoint(path_of(checkpoint.run.directory), checkpoint.step)
    if not checkpoint.run.directory or not source.is_dir():
        raise NotFound("model_not_found", f"The checkpoint of step {checkpoint.step} is no longer kept.", "model")
    if (source / _ADAPTER).exists():
        sentence = "This run trains an adapter, whose checkpoints are no models by themselves: use what it ends with."
        raise Conflict("adapter_only", sentence, "model")
    names = [path.name for path in source.iterdir() if path.is_file() and path.name not in _NOT_OF_THE_MODEL]
    manifest = _taken_in(source, names)
    with transaction.atomic():
        RunCheckpoint.objects.filter(pk=checkpoint.pk).update(digest=manifest.digest)
        data = {"step": checkpoint.step, "digest": manifest.digest}
        subject = Subject("trainingrun", str(checkpoint.run_id))
        record("trainingrun.checkpoint_used", subject=subject, team=checkpoint.line.team_id, data=data)
    checkpoint.digest = manifest.digest
    return checkpoint


def _taken_in(source: Path, names: list[str]) -> Manifest:
    """The engine may let the checkpoint go while it is copied."""
    try:
        return artifacts.take_in(source, names=names)
    except (FileNotFoundError, msgspec.DecodeError):
        raise NotFound("model_not_found", "The checkpoint was let go while it was read.", "model") from None
    except FlywheelError as refused:
        raise NotFound("model_not_found", refused.sentence, "model") from None
