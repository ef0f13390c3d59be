"""Runs on files: every row of a training file trains, the rows of another file validate, and a grader grades them all.

Such a run is there at once, as `validating`; its files may still be on their way in. Each pass of the supervisor looks
at those that wait: a file with a bad row fails the run and says the line, else the rows are frozen, what was left to
decide is decided, and the run is queued. What a caller should know beside (no validation file, rows in both files) is
a notice: an event of the run, which changes nothing.
"""

import logging
import secrets
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
from django.db import IntegrityError, transaction
from django.utils import timezone

from tasks.crash import crash_point
from tasks.errors import Conflict, FlywheelError, Invalid
from tasks.graders import registry
from tasks.models import DatasetVersion, File, Task, Upload
from tasks.models.events import Subject, record
from tasks.services import datasets, graders, sealing
from tasks.services.access import require_role
from tasks.states import Role, UploadState
from tasks.text import json_bytes
from trainer import constraint, hyperparameters
from trainer.hyperparameters import Asked
from trainer.models import Line, ModelVersion, TrainingRun
from trainer.services import engine_work, lines, runs, training_data, usage, validation_evals, wake
from trainer.states import RunState

logger = logging.getLogger(__name__)
NOTICE = "trainingrun.notice"
LEAVES_OUT = frozenset({"contaminated"})  # what refuses a row without calling it wrong: the run goes on without it
LARGEST_SEED = 2**31 - 1
MOST_FORMAT_BYTES = registry.MAX_CONFIG_BYTES
MOST_ECHO_BYTES = 2 * registry.MAX_CONFIG_BYTES  # a grader as it was written holds what we pass over, too
VALIDATION_LOCK = 0x56414C49


def start(
    training_file: Upload,
    *,
    actor: Any,
    start_from: ModelVersion,
    grader: Mapping[str, Any],
    validation_file: Upload | None = None,
    asked: Asked | None = None,
    seed: int | None = None,
    response_format: Mapping[str, Any] | None = None,
    suffix: str = "",
    metadata: Mapping[str, str] | None = None,
    echo: Mapping[str, Any] | None = None,
    grader_tried: bool = False,
) -> TrainingRun:
    """Queue a run of the file's own expert behind the validation of its files. `echo`: kept for the caller's surface.
    `grader_tried`: it has been, by `graders.require_usable`.

    Runs on one file may wait side by side: each starts from the version that it names.
    """
    team = training_file.team
    require_role(actor, team, Role.CONTRIBUTOR, Role.OPERATOR)
    usage.require_left(team)
    _require_usable(training_file, validation_file, start_from)
    if not grader_tried:
        graders.require_usable(grader, team.pk)
    _require_format(response_format)
    _require_echo(echo)
    asked, seed = asked or Asked(), secrets.randbelow(LARGEST_SEED) if seed is None else seed
    with transaction.atomic():
        provisional, _ = hyperparameters.resolve(
            asked, rows=max(_rows(training_file), 1), validation=0, parameters=start_from.parameters, seed=seed
        )
        run = TrainingRun.objects.create(
            line=_line(training_file, start_from, actor),
            start=start_from,
            started_by=actor,
            training_file=training_file,
            validation_file=validation_file,
            spec=msgspec.to_builtins(provisional.spec),
            total_steps=provisional.spec.steps,
            grader=dict(grader),
            response_format=None if response_format is None else dict(response_format),
            suffix=suffix,
            metadata=dict(metadata or {}),
            asked={"settings": msgspec.to_builtins(asked), "seed": seed, "echo": dict(echo or {})},
        )
        data = {"training_file": training_file.pk, "validation_file": validation_file and validation_file.pk}
        record("trainingrun.created", subject=_subject(run), team=team.pk, actor=actor, data=data)
        if validation_file is not None:
            validation_evals.begin(run, actor=actor)
        else:
            _notice(run, "no_validation", "There is no validation file: nothing is measured beside the training rows.")
        _grade_rows_by(training_file, grader, actor)
        crash_point("run.before_commit")
    wake.supervisor()
    return run


def _require_usable(training: Upload, validation: Upload | None, start_from: ModelVersion) -> None:
    for param, upload in (("training_file", training), ("validation_file", validation)):
        if upload is not None and upload.dataset.held_out:
            sentence = f"{upload.filename} is a held-out suite: nothing is trained or validated on it."
            raise Invalid("held_out", sentence, param)
    if validation is not None and validation.team_id != training.team_id:
        raise Invalid("other_team", "Both files belong to one team: upload the validation file too.", "validation_file")
    if start_from.is_control:
        raise Invalid("control_run", f"A coin has trained {start_from.name}: start from another model.", "model")
    if not runs.origins(None, training.dataset).filter(pk=start_from.pk).exists():
        raise Invalid("other_team", f"{start_from.name} is another team's: start from a model of your own.", "model")


def _require_format(response_format: Mapping[str, Any] | None) -> None:
    if json_bytes(response_format) > MOST_FORMAT_BYTES:
        sentence = f"The response_format is larger than {MOST_FORMAT_BYTES:,} bytes: shorten its schema."
        raise Invalid("invalid_response_format", sentence, "response_format")
    try:
        if response_format is not None:
            constraint.check(response_format)
    except constraint.Unusable as unusable:
        raise Invalid("invalid_response_format", str(unusable), "response_format") from None


def _require_echo(echo: Mapping[str, Any] | None) -> None:
    if json_bytes(echo) > MOST_ECHO_BYTES:
        sentence = f"The grader is written in more than {MOST_ECHO_BYTES:,} bytes: leave hints for caches out."
        raise Invalid("bad_grader", sentence, "grader")


def _line(training_file: Upload, start_from: ModelVersion, actor: Any) -> Line:
    dataset = training_file.dataset
    if found := Line.objects.filter(dataset=dataset).first():
        return found
    try:
        with transaction.atomic():
            return lines.create_expert(dataset.team, dataset.name, start_from, actor=actor, dataset=dataset)
    except (IntegrityError, Conflict):  # another run on the file was first, maybe
        if found := Line.objects.filter(dataset=dataset).first():
            return found
        raise


def _grade_rows_by(upload: Upload, grader: Mapping[str, Any], actor: Any) -> None:
    """Rows that wait for a grader are checked and proved by this one. That is told, and holds nothing up: a grader that
    the data side cannot use (it reads what rows lack) stays with the run."""
    if upload.dataset.default_grader_id is not None:
        return
    try:
        with transaction.atomic():
            datasets.set_default_grader(upload.dataset, grader, actor=actor)
    except FlywheelError as refused:
        logger.info("the rows of upload %s are not proved: %s", upload.pk, refused.sentence)


def _rows(upload: Upload) -> int:
    return int(upload.counts.get("rows", 0)) - sum(upload.counts.get("rejected", {}).values())


# Validation


def validate_waiting() -> None:
    """Look at every run whose files are awaited. A fault of one does not hold up the others.

    A large file takes a while to freeze: a pass that comes meanwhile has its engines to look after.
    """
    with engine_work.alone(VALIDATION_LOCK) as mine:
        if mine:
            _validate_waiting()


def _validate_waiting() -> None:
    for run in TrainingRun.objects.filter(state=RunState.VALIDATING, training_file__isnull=False).order_by("pk"):
        try:
            validate(run)
        except Exception:
            logger.exception("run %s could not be validated; the next pass tries again", run.pk)


def validate(run: TrainingRun) -> bool:
    """Queue the run, or fail it, once both files are read. False: they are not yet."""
    files = {"training_file": run.training_file, "validation_file": run.validation_file}
    given = {param: upload for param, upload in files.items() if upload is not None}
    if any(upload.state in (UploadState.RECEIVED, UploadState.IMPORTING) for upload in given.values()):
        return False
    for param, upload in given.items():
        if sentence := _problem(upload):
            _fail(run, f"invalid_{param}", sentence, param)
            return True
    try:
        _queue(run)
    except FlywheelError as refused:
        _fail(run, refused.code, refused.sentence, refused.param or "training_file")
    return True


def _problem(upload: Upload) -> str:
    """Why nothing can be trained on the file, with the line of the first bad row; empty where all is well."""
    if File.objects.filter(upload=upload, deleted_at__isnull=False).exists():
        return f"{upload.filename} was deleted before it was read: upload it again."
    if upload.state == UploadState.UNMAPPED:
        return f"{upload.filename} cannot be read as rows of messages: each line is one JSON object with `messages`."
    if upload.state != UploadState.IMPORTED:
        return f"{upload.filename}: {upload.failure or 'it could not be read.'}"
    bad = upload.issues.exclude(code__in=LEAVES_OUT).order_by("line", "pk")
    first = bad.first()
    if first is None:
        return ""
    more = bad.values("line").distinct().count() - 1
    others = f" {more:,} more rows are wrong." if more > 1 else " One more row is wrong." if more else ""
    return f"Line {first.line:,} of {upload.filename}: {first.sentence} {first.remedy}{others}"


@transaction.atomic
def _fail(run: TrainingRun, code: str, sentence: str, param: str) -> None:
    fault = {"boundary": "data", "code": code, "sentence": sentence, "param": param}
    TrainingRun.objects.advance(
        run.pk, RunState.VALIDATING, RunState.FAILED, error=fault, finished_at=timezone.now(), data={"error": fault}
    )


@transaction.atomic
def _queue(run: TrainingRun) -> None:
    """Rows frozen, settings resolved, state moved: all of it or none."""
    assert run.training_file is not None
    sealing.lock_splits(run.line.team_id)
    version = datasets.freeze_file(run.training_file, actor=None)
    beside = None if run.validation_file is None else _frozen_beside(run.validation_file)
    asked = msgspec.convert(run.asked["settings"], Asked)
    resolved, told = hyperparameters.resolve(
        asked,
        rows=version.task_count,
        validation=beside.task_count if beside else 0,
        parameters=run.start.parameters,
        seed=run.asked["seed"],
    )
    estimated = runs.forecast(resolved, run.start.parameters, rows=version.task_count)
    _tell_of_rows(run, version, beside)
    moved = TrainingRun.objects.advance(
        run.pk,
        RunState.VALIDATING,
        RunState.QUEUED,
        dataset_version=version,
        validation_version=beside,
        spec=msgspec.to_builtins(resolved.spec),
        reasons=dict(resolved.reasons),
        total_steps=resolved.spec.steps,
        estimated_seconds=estimated.seconds,
        estimated_tokens=estimated.tokens,
        notes=[estimated.sentence, *run.notes],
        asked={**run.asked, "settings": msgspec.to_builtins(told)},
    )
    crash_point("run.before_queued")
    if moved:
        wake.supervisor()
    else:
        transaction.set_rollback(True)  # cancelled meanwhile: nothing of it stays


def _frozen_beside(validation_file: Upload) -> DatasetVersion:
    try:
        return datasets.freeze_file(validation_file, actor=None)
    except FlywheelError as refused:
        refused.param = "validation_file"
        raise


def _tell_of_rows(run: TrainingRun, version: DatasetVersion, beside: DatasetVersion | None) -> None:
    """What the caller would want to know of the files."""
    assert run.training_file is not None
    for upload, frozen in ((run.training_file, version), (run.validation_file, beside)):
        if upload is None or frozen is None:
            continue
        tasks = Task.objects.filter(memberships__upload=upload).distinct()
        counts = Counter(upload.counts.get("rejected", {}))
        counts["contaminated"] += tasks.filter(**datasets.CAUGHT).count()
        for code, count in (+counts).items():
            words = f"{count:,} rows of {upload.filename} are left out: they repeat a held-out suite ({code})."
            _notice(run, code, words)
        if repeated := upload.memberships.count() - tasks.count():
            words = f"{repeated:,} rows of {upload.filename} repeat another row of it: each is used once."
            _notice(run, "repeated_rows", words)
    if beside is None:
        return
    shared = training_data.whole(beside).filter(exact_key__in=training_data.whole(version).values("exact_key"))
    if count := shared.values("exact_key").distinct().count():
        words = (
            f"{count:,} of {beside.task_count:,} prompts of the validation file are in the training file too: what "
            "validation measures there is memory."
        )
        _notice(run, "overlapping_files", words, count=count)


def _notice(run: TrainingRun, code: str, sentence: str, **data: Any) -> None:
    told = {"level": "warn", "code": code, "sentence": sentence, **data}
    record(NOTICE, subject=_subject(run), team=run.line.team_id, data=told)


def _subject(run: TrainingRun) -> Subject:
    return Subject("trainingrun", str(run.pk))
