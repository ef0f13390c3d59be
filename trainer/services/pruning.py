"""What the model side keeps, and for how long. Only of work that has ended for good: a run that may be resumed keeps
all it has. Artifacts of versions lie in DATA_DIR/models and stay; what a run directory holds of them are copies."""

import re
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings

from tasks.services.pruning import Chunk, Rule, in_rows, last_use, remove, size_of, tell
from trainer.models import (
    BaseBuild,
    Delivery,
    DifficultyCheck,
    Evaluation,
    Firing,
    ModelVersion,
    RunCheckpoint,
    RunSample,
    TrainingRun,
)
from trainer.services import artifacts, checkpoints, engine_work
from trainer.services.launching import path_of
from trainer.states import DELIVERY_ENDED, RUN_ENDED, EvaluationState

BEATING_SECONDS = 3600.0  # an engine that nobody follows any more may still write for a while
WAIT_SECONDS = 30.0  # for the end of a pass of supervision
_NAME = re.compile(r"[a-z]+-[0-9a-f]{32}")  # of a run directory, as trainer.services.launching gives them
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ENDED = (EvaluationState.SUCCEEDED, EvaluationState.FAILED, EvaluationState.CANCELLED)


def rules() -> list[Rule]:
    """Of the model side. Parts of a run directory go first, then all of it."""
    return [
        Rule("rollouts", settings.PRUNE_ROLLOUTS_DAYS, _rollouts),
        Rule("checkpoints", settings.PRUNE_CHECKPOINTS_DAYS, _checkpoints),
        Rule("unregistered_models", settings.PRUNE_CHECKPOINTS_DAYS, _unregistered),
        Rule("runs", settings.PRUNE_RUNS_DAYS, _runs),
        Rule("evaluations", settings.PRUNE_EVALUATIONS_DAYS, _evaluations),
        Rule("difficulty", settings.PRUNE_EVALUATIONS_DAYS, _difficulty),
        Rule("firings", settings.PRUNE_FIRINGS_DAYS, _firings),
        Rule("deliveries", settings.PRUNE_DELIVERIES_DAYS, _deliveries),
    ]


def _ended_runs(before: datetime) -> Any:
    return TrainingRun.objects.filter(state__in=RUN_ENDED, finished_at__lt=before, handle__isnull=True)


def _ended_builds(before: datetime) -> Any:
    return BaseBuild.objects.filter(state__in=_ENDED, finished_at__lt=before, handle__isnull=True)


def _rollouts(before: datetime) -> Iterator[Chunk]:
    """Every answer of every step as files, and those of them that the run's page shows."""
    yield from _parts(
        "rollouts", _ended_runs(before), lambda run, folder: [folder / "rollouts", folder / "samples.jsonl"]
    )
    yield from in_rows("rollouts", RunSample.objects.filter(run__in=_ended_runs(before)))


def _checkpoints(before: datetime) -> Iterator[Chunk]:
    """What an engine would go on from, and the copy of the model that the store has taken in."""
    yield from _parts("checkpoints", _ended_runs(before).select_related("version"), _of_run)
    yield from _parts("checkpoints", _ended_builds(before).select_related("line"), _of_build)


def _of_run(run: TrainingRun, folder: Path) -> list[Path]:
    version = getattr(run, "version", None)
    return _spare(folder, version.digest if version else None)


def _of_build(build: BaseBuild, folder: Path) -> list[Path]:
    base = build.line.versions.filter(number=0).first()
    return _spare(folder, base.digest if base else None)


def _spare(folder: Path, registered: str | None) -> list[Path]:
    """A model that is registered, and that the store has lost, may be here for the last time."""
    lost = registered is not None and not artifacts.path_of(registered).is_dir()
    return [folder / "checkpoints"] if lost else [folder / "checkpoints", folder / "model"]


def _runs(before: datetime) -> Iterator[Chunk]:
    """Whole directories. What the pages show of a run (curves, settings, the version) is in the database."""
    yield from _parts("runs", _ended_runs(before).select_related("version"), _whole_run)
    yield from _parts("runs", _ended_builds(before).select_related("line"), _whole_build)


def _whole_run(run: TrainingRun, folder: Path) -> list[Path]:
    return [folder] if folder / "model" in _of_run(run, folder) else []


def _whole_build(build: BaseBuild, folder: Path) -> list[Path]:
    return [folder] if folder / "model" in _of_build(build, folder) else []


def _evaluations(before: datetime) -> Iterator[Chunk]:
    """Whole directories of those that are decided, or that never will be. Verdict, scores by suite and the answers that
    flipped are in the gate's report."""
    ended = Evaluation.objects.filter(state__in=_ENDED, finished_at__lt=before, handle__isnull=True)
    undecided = ended.filter(state=EvaluationState.SUCCEEDED, report=None).values("pk")
    return _parts("evaluations", ended.exclude(pk__in=undecided), lambda work, folder: [folder])


def _difficulty(before: datetime) -> Iterator[Chunk]:
    """Whole directories: the pass rates are in the database."""
    ended = DifficultyCheck.objects.filter(state__in=_ENDED, finished_at__lt=before, handle__isnull=True)
    return _parts("difficulty", ended, lambda work, folder: [folder])


def _firings(before: datetime) -> Iterator[Chunk]:
    """Fire times at which nothing was started; those behind `decided_until` are never decided again."""
    return in_rows("firings", Firing.objects.filter(outcome=Firing.Outcome.SKIPPED, decided_at__lt=before))


def _deliveries(before: datetime) -> Iterator[Chunk]:
    """With their tries. What happened is in the log of events."""
    return in_rows("deliveries", Delivery.objects.filter(state__in=DELIVERY_ENDED, finished_at__lt=before))


def _parts(kind: str, works: Any, parts: Callable[[Any, Path], list[Path]]) -> Iterator[Chunk]:
    """A chunk for each run directory."""
    for work in works.order_by("pk").iterator(chunk_size=100):
        if not _NAME.fullmatch(work.directory):  # never begun; and nothing else may ever be taken for a directory
            continue
        folder = path_of(work.directory)
        found = [path for path in parts(work, folder) if path.exists()]
        if found and not _beats(folder):
            size = sum(map(size_of, found))
            yield Chunk(1, size, partial(_drop, kind, work, found, size))


def _beats(folder: Path) -> bool:
    try:
        return time.time() - (folder / "heartbeat.json").stat().st_mtime < BEATING_SECONDS
    except FileNotFoundError:
        return False


def _drop(kind: str, work: Any, paths: list[Path], size: int) -> None:
    data = {work._meta.model_name: work.pk, "names": [path.name for path in paths], "bytes": size}
    tell(kind, data, team=work.owner_team_id)
    for path in paths:
        remove(path)
    if isinstance(work, TrainingRun):
        checkpoints.follow(work, path_of(work.directory))


def _unregistered(before: datetime) -> Iterator[Chunk]:
    """Artifacts that no version and no checkpoint names: taken in for a run that was cancelled at that moment, say."""
    named = (rows.objects.values_list("digest", flat=True) for rows in (ModelVersion, RunCheckpoint))
    known = {digest for digests in named for digest in digests}
    store = artifacts.store()
    found = sorted(path for path in store.iterdir() if _DIGEST.fullmatch(path.name)) if store.is_dir() else []
    for path in found:
        if path.name not in known and last_use(path) < before:
            yield Chunk(1, size_of(path), partial(_drop_unregistered, path))


def _drop_unregistered(path: Path) -> None:
    """While nobody can register it: supervision stands still, and no base is being taken in."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        with engine_work.alone(engine_work.SUPERVISOR_LOCK) as mine:
            if mine:
                _drop_if_unknown(path)
                return
        time.sleep(0.1)


def _drop_if_unknown(path: Path) -> None:
    taking_in = BaseBuild.objects.exclude(state__in=_ENDED).exclude(source=BaseBuild.Source.LOCAL)
    named = any(rows.objects.filter(digest=path.name).exists() for rows in (ModelVersion, RunCheckpoint))
    if taking_in.exists() or named:
        return
    tell("unregistered_models", {"digest": path.name, "bytes": size_of(path)})
    # In one step, so that nobody adopts a half: what a kill leaves of it, `artifacts.reap` removes.
    going = path.with_name(f"{artifacts.INCOMING}{uuid.uuid4().hex}")
    path.rename(going)
    remove(going)
