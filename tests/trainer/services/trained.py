"""Runs that have ended, and the versions that came of them: as rows, without an engine."""

import hashlib
from typing import Any

from django.utils import timezone

from trainer.models import Alias, AliasMove, Line, ModelVersion, TrainingRun


def run_on(line: Line, start: ModelVersion, *, state: str = "succeeded", **source: Any) -> TrainingRun:
    """`source`: a mixture, or a dataset_version. A queued run has not begun."""
    begun = None if state in ("validating", "queued") else timezone.now()
    return TrainingRun.objects.create(line=line, start=start, state=state, spec={}, started_at=begun, **source)


def trained(line: Line, start: ModelVersion, **source: Any) -> ModelVersion:
    """The next version of the line, of a run that has just ended."""
    run, number = run_on(line, start, **source), line.versions.count()
    digest = hashlib.sha256(f"{line.slug}/{number}".encode()).hexdigest()
    return ModelVersion.objects.create(
        line=line, number=number, digest=digest, parent=start, run=run, origin=f"run {run.pk}"
    )


def crowned(version: ModelVersion, name: str = "champion") -> None:
    old = version.line.alias(name)  # type: ignore[arg-type]  # a name as it is stored
    Alias.objects.update_or_create(line=version.line, name=name, defaults={"version": version})
    AliasMove.objects.create(line=version.line, name=name, old=old, new=version, reason="It is better.")
