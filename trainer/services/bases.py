"""Version 0 of a line: built here by an engine, taken in from a directory, or fetched from a hub."""

import shutil
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from tasks.errors import Invalid
from trainer.contract import BaseSpec, Manifest, ModelRef, Result, encode
from trainer.launchers.protocol import write_whole
from trainer.models import Alias, AliasMove, BaseBuild, Line, ModelVersion
from trainer.services import artifacts
from trainer.states import AliasName, EvaluationState


class BaseBuildKind:
    """A local build is an engine's work; a directory or a hub id needs none (see `take_in`)."""

    name = "base"
    model = BaseBuild
    states = EvaluationState
    queued = EvaluationState.QUEUED
    running = frozenset({EvaluationState.RUNNING})
    succeeded = EvaluationState.SUCCEEDED
    failed = EvaluationState.FAILED

    def queue(self) -> Any:
        return BaseBuild.objects.filter(state=EvaluationState.QUEUED, source=BaseBuild.Source.LOCAL).order_by("pk")

    def prepare(self, work: BaseBuild, directory: Path) -> None:
        demonstrations = demonstrations_file(work.demonstrations)
        if not demonstrations.is_file():
            raise Invalid("demonstrations_missing", f"There is no {work.demonstrations} among the demonstrations.")
        partial = directory / ".demonstrations.partial"
        shutil.copyfile(demonstrations, partial)
        partial.replace(directory / "demonstrations.jsonl")  # never under the hands of an engine that reads it
        steps = {"steps": work.steps} if work.steps else {}
        write_whole(directory / "spec.json", encode(BaseSpec(seed=work.seed, attempt=work.attempt, **steps)))

    def read_progress(self, work: BaseBuild, directory: Path) -> None:
        """A build has no metrics beyond its heartbeat."""

    def finish(self, work: BaseBuild, directory: Path, result: Result) -> bool:
        if result.model is None:
            raise Invalid("model_missing", "The engine built no model: look at its log.")
        artifacts.adopt(directory / "model", result.model)
        with transaction.atomic():
            mine = BaseBuild.objects.advance(
                work.pk,
                EvaluationState.RUNNING,
                EvaluationState.SUCCEEDED,
                attempt=work.attempt,
                data={"digest": result.model.digest},
                finished_at=timezone.now(),
                handle=None,
                lease_until=None,
                peak_memory_bytes=result.peak_memory_bytes,
            )
            if mine:
                origin = "built locally from flawed demonstrations"
                register_base(work.line, result.model, origin=origin, environment=result.environment)
        return mine

    def wants_pause(self, work: BaseBuild) -> bool:
        return False

    def stopped_early(self, work: BaseBuild) -> EvaluationState:
        return EvaluationState.QUEUED


def demonstrations_file(name: str) -> Path:
    """A bare file name in DATA_DIR/demonstrations; whoever may register a line must not read other files by it."""
    if not name or Path(name).name != name:
        raise Invalid("bad_demonstrations", "Name a file in DATA_DIR/demonstrations, without a path.", "demonstrations")
    return Path(settings.DATA_DIR) / "demonstrations" / name


def take_in(build: BaseBuild) -> ModelVersion | None:
    """Register a directory's or a hub's model. No engine is needed; a repeated call finds the work done."""
    source = Path(build.location) if build.source == BaseBuild.Source.DIRECTORY else _fetch(build)
    if not source.is_dir():
        raise Invalid("base_missing", f"There is no directory {build.location} on this machine.", "location")
    manifest = artifacts.take_in(source)
    with transaction.atomic():
        if not BaseBuild.objects.advance(build.pk, EvaluationState.QUEUED, EvaluationState.RUNNING):
            return None
        version = register_base(
            build.line, manifest, origin=f"{build.source}: {build.location}", revision=build.revision
        )
        BaseBuild.objects.advance(
            build.pk, EvaluationState.RUNNING, EvaluationState.SUCCEEDED, finished_at=timezone.now()
        )
    return version


def _fetch(build: BaseBuild) -> Path:
    """Safetensors, configuration and tokenizer of a pinned revision; never code, never pickles."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(build.location, revision=build.revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise Invalid(
            "hub_unreachable",
            f"{build.location} at {build.revision} could not be fetched from the hub: check the id, the revision and "
            "this machine's connection, or register a local directory instead.",
            "location",
        ) from error


def register_base(
    line: Line, manifest: Manifest, *, origin: str, revision: str = "", environment: dict[str, str] | None = None
) -> ModelVersion:
    """Version 0: first champion and anchor of its line."""
    version = ModelVersion.objects.create(
        line=line,
        number=0,
        digest=manifest.digest,
        origin=origin[:200],
        revision=revision,
        parameters=artifacts.parameters_of(artifacts.path_of(manifest.digest)),
        bytes=artifacts.size_of(manifest),
        environment=environment or {},
    )
    crown(line, version, "Version 0 is the base: first champion and anchor.")
    return version


def crown(line: Line, version: ModelVersion, reason: str) -> None:
    for name in (AliasName.CHAMPION, AliasName.ANCHOR):
        Alias.objects.create(line=line, name=name, version=version)
        AliasMove.objects.create(line=line, name=name, old=None, new=version, reason=reason)


def reference(version: ModelVersion) -> ModelRef:
    """How the engine is told of a version."""
    return ModelRef(path=str(artifacts.path_of(version.digest)), digest=version.digest, name=version.name)
