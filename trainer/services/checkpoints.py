"""Checkpoints as models: which a run keeps, and how one comes into the store when it is first used.

The engine decides what is kept (the best by validation, and the newest); the rows follow its directory. A checkpoint
holds far more than weights, and most are never asked anything: only what is asked is copied into the store.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from django.db import transaction
from django.utils import timezone

from tasks.errors import Busy, Conflict, FlywheelError, NotFound
from tasks.models.events import Subject, record
from tasks.services import connections
from tasks.services.access import require_role
from tasks.states import Role
from trainer.contract import Manifest
from trainer.launchers import merging
from trainer.launchers.protocol import LauncherError, path_of_checkpoint, steps_kept
from trainer.models import EvalRun, RunCheckpoint, RunMetric, TrainingRun
from trainer.services import artifacts
from trainer.services.launching import path_of

BEST = 3  # shown of those that validation has measured
WAIT_SECONDS = 120.0  # for others that are made ready
_NOT_OF_THE_MODEL = frozenset({"state.json", "trainer_state.json"})
_ADAPTER = "adapter_config.json"


@transaction.atomic
def follow(run: TrainingRun, directory: Path) -> None:
    """Make the rows what the run's directory holds, but for those that were deleted. Repeated calls change nothing."""
    kept = set(steps_kept(directory))
    rows = {row.step: row for row in RunCheckpoint.objects.select_for_update().filter(run=run)}
    RunCheckpoint.objects.bulk_create(
        (RunCheckpoint(run=run, step=step) for step in sorted(kept - rows.keys())), ignore_conflicts=True
    )
    _point_validations(run, kept - rows.keys())
    back = [row.pk for step, row in rows.items() if step in kept and row.gone_at and not row.deleted_at]
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
    """The checkpoint with its digest: its model is taken into the store at its first use, once, however many ask.

    May take minutes: not within a transaction. Raises NotFound where the files are gone, Conflict where an adapter
    could not be made a whole model, Busy where others are on their way for too long.
    """
    if _is_in_store(checkpoint):
        return checkpoint
    source = path_of_checkpoint(path_of(checkpoint.run.directory), checkpoint.step)
    if not checkpoint.run.directory or not source.is_dir():
        raise NotFound("model_not_found", f"The checkpoint of step {checkpoint.step} is no longer kept.", "model")
    with _alone_with(source / artifacts.MANIFEST):
        checkpoint.refresh_from_db(fields=["digest", "deleted_at"])
        if checkpoint.deleted_at is not None:
            raise _let_go()
        if not _is_in_store(checkpoint):
            is_adapter = (source / _ADAPTER).exists()
            _point(checkpoint, _merged(checkpoint, source) if is_adapter else _taken_in(source))
    return checkpoint


@transaction.atomic
def delete(checkpoint: RunCheckpoint, *, actor: Any) -> None:
    """For good: no name leads to it and no team has leave to use it. Pruning takes its files from the store unless
    something else has the same; what its run has of it stays with the run, which may go on from there."""
    require_role(actor, checkpoint.line.team, Role.OPERATOR, Role.CONTRIBUTOR)
    held = RunCheckpoint.objects.select_for_update().get(pk=checkpoint.pk)
    if held.deleted_at is not None:
        return
    teams = list(held.permissions.values_list("team__slug", flat=True))
    data = {"run": held.run_id, "step": held.step, "digest": held.digest, "teams": teams}
    held.permissions.all().delete()
    held.gone_at = held.deleted_at = timezone.now()
    held.digest = ""
    held.save(update_fields=["gone_at", "deleted_at", "digest"])
    subject = Subject("runcheckpoint", str(held.pk))
    record("model.deleted", subject=subject, team=checkpoint.line.team_id, actor=actor, data=data)


def _is_in_store(checkpoint: RunCheckpoint) -> bool:
    return bool(checkpoint.digest) and artifacts.path_of(checkpoint.digest).is_dir()


@contextmanager
def _alone_with(path: Path) -> Iterator[None]:
    """One process at a time; the kernel lets go with the process, however that ends."""
    connections.let_go()
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise _let_go() from None
    try:
        ends = time.monotonic() + WAIT_SECONDS
        while not _locked(descriptor):
            if time.monotonic() > ends:
                raise Busy("making_ready", "Checkpoints are being made ready for use: try again in a minute.")
            time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@transaction.atomic
def _point(checkpoint: RunCheckpoint, manifest: Manifest) -> None:
    """It may have been let go meanwhile: by its run, which matters no more, or by somebody who wants it gone."""
    wanted = RunCheckpoint.objects.filter(pk=checkpoint.pk, deleted_at=None)
    if not wanted.update(digest=manifest.digest, gone_at=None):
        raise _let_go()
    data = {"step": checkpoint.step, "digest": manifest.digest}
    subject = Subject("trainingrun", str(checkpoint.run_id))
    record("trainingrun.checkpoint_used", subject=subject, team=checkpoint.line.team_id, data=data)
    checkpoint.digest = manifest.digest


def _taken_in(source: Path) -> Manifest:
    """The engine may let the checkpoint go while it is copied."""
    try:
        names = [path.name for path in source.iterdir() if path.is_file() and path.name not in _NOT_OF_THE_MODEL]
        return artifacts.take_in(source, names=names)
    except (FileNotFoundError, msgspec.DecodeError):
        raise _let_go() from None
    except FlywheelError as refused:
        raise NotFound("model_not_found", refused.sentence, "model") from None


def _merged(checkpoint: RunCheckpoint, source: Path) -> Manifest:
    """An adapter is no model by itself: it is merged into what its run began with."""
    start = checkpoint.run.start
    artifacts.manifest_of(start.digest, start.name)
    try:
        with _alone_with(artifacts.store()):  # each takes the memory of a model
            return artifacts.made(lambda target: merging.merge(artifacts.path_of(start.digest), source, target))
    except LauncherError as error:
        if not source.is_dir():
            raise _let_go() from None
        raise Conflict("adapter_unmerged", f"{error} Use another checkpoint.", "model") from error


def _let_go() -> NotFound:
    return NotFound("model_not_found", "The checkpoint was let go while it was read.", "model")
