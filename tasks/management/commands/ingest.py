"""manage.py ingest FILE…: receive, import and prove in this process, then say what came of the rows."""

import json
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count

from tasks.errors import Conflict, FlywheelError, NotFound
from tasks.models import Dataset, ProofRun, Task, Team, Upload
from tasks.services import accounts, datasets, importing, mapping, proving, rejections, settling, uploads, waiting
from tasks.states import ProofState, TaskState, UploadMode, UploadState, Visibility

BLOCK_BYTES = 1 << 20


class Command(BaseCommand):
    help = "Import files of any format into a dataset, prove their rows and print a summary."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument("--team", required=True, help="slug; created where there is none")
        parser.add_argument("--dataset", required=True, help="slug or name; created where there is none")
        parser.add_argument("--contribute", action="store_true", help="into the shared pool, instead of private")
        parser.add_argument("--licence", default="", help="SPDX id, needed with --contribute")
        parser.add_argument("--consent", action="store_true", help="consent to the text that `--contribute` shows")
        parser.add_argument("--grader", type=json.loads, help="JSON: the grader of rows that name none")
        parser.add_argument("--domain", default="", help="of rows that name none")
        parser.add_argument(
            "--mapping", default="auto", help="a JSON file that says what the columns are (default: guessed where sure)"
        )
        parser.add_argument("--mode", choices=[mode.value for mode in UploadMode], default=UploadMode.APPEND.value)
        parser.add_argument("--rejected", type=Path, help="folder for the rejected rows (default: beside each file)")
        parser.add_argument("--json", action="store_true", help="print the summary as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            summary = _ingest(options)
        except FlywheelError as refusal:
            raise CommandError(refusal.sentence) from None
        if options["json"]:
            self.stdout.write(json.dumps(summary, sort_keys=True))
        else:
            for name, value in summary.items():
                self.stdout.write(f"{name:15} {value}")
        if summary["failures"]:
            raise CommandError(" ".join(summary["failures"]))


def _ingest(options: dict[str, Any]) -> dict[str, Any]:
    dataset = _dataset(options)
    clock = _Clock()
    received = []
    for path in options["files"]:
        with clock.measure("receive"):
            received.append(_receive(dataset, path, uploads.Options(options["mode"], _mapping(options["mapping"]))))
    for upload in received:
        with clock.measure("import"):
            _until(upload, importing.import_upload, lambda upload: upload.state not in _IMPORTING)
        if upload.state == UploadState.UNMAPPED:
            raise CommandError(_unmapped(upload))
        settling.settle(upload.pk)
    with clock.measure("import"):
        waiting.check_grader(dataset.pk)
    for upload in received:
        with clock.measure("prove"):
            _until(upload, proving.prove_upload, _proved)
    rejected = [_write_rejected(upload, path, options) for upload, path in zip(received, options["files"], strict=True)]
    return {**_summary(dataset, received, clock.seconds), "rejected_files": [str(path) for path in rejected if path]}


def _mapping(given: str) -> Any:
    if given == mapping.AUTO:
        return given
    try:
        return json.loads(Path(given).read_bytes())
    except (OSError, ValueError) as fault:
        raise CommandError(f"{given} holds no mapping: {fault}.") from None


def _unmapped(upload: Upload) -> str:
    names = ", ".join(mapping.names_of(upload))
    guess = json.dumps(upload.detected.get("guess"))
    return (
        f"{upload.filename}: say what its columns are ({names}). Write a mapping into a file, give it as --mapping "
        f"and call again; a first guess: {guess}"
    )


def _write_rejected(upload: Upload, path: Path, options: dict[str, Any]) -> Path | None:
    """Only the rejected rows, with reasons, in the format of the file; None where all are good."""
    try:
        file = rejections.file(upload)
    except (NotFound, Conflict):  # nothing is rejected, or nothing can be read
        return None
    target = (options["rejected"] or path.parent) / file.name
    try:
        with target.open("wb") as stream:
            stream.writelines(file.pieces)
    except OSError as fault:
        raise CommandError(f"The rejected rows cannot be written to {target}: {fault.strerror}.") from None
    return target


def _dataset(options: dict[str, Any]) -> Dataset:
    team = Team.objects.filter(slug=options["team"]).first() or accounts.create_team(options["team"], actor=None)
    known = Dataset.objects.select_related("team", "space").filter(team=team)
    name = options["dataset"]
    dataset = known.filter(slug=name).first() or known.filter(name=name).first()
    if dataset is None:
        return datasets.create(
            team,
            name,
            actor=None,
            domain=options["domain"],
            visibility=Visibility.CONTRIBUTED if options["contribute"] else Visibility.PRIVATE,
            licence=options["licence"],
            consent_version=datasets.CONSENT_VERSION if options["consent"] else "",
            default_grader=options["grader"],
        )
    if options["contribute"] and dataset.visibility != Visibility.CONTRIBUTED:
        raise CommandError(f"{dataset} is private already: choose another name for what you contribute.")
    if options["grader"] is not None:
        datasets.set_default_grader(dataset, options["grader"], actor=None)
    return dataset


def _receive(dataset: Dataset, path: Path, options: uploads.Options) -> Upload:
    try:
        with path.open("rb") as file:
            blocks: Iterator[bytes] = iter(lambda: file.read(BLOCK_BYTES), b"")
            return uploads.receive(dataset, blocks, filename=path.name, actor=None, options=options)[0]
    except OSError as fault:
        raise CommandError(f"{path} cannot be read: {fault.strerror}.") from None


_IMPORTING = (UploadState.RECEIVED, UploadState.IMPORTING)
_PROVING = (ProofState.PENDING, ProofState.PROVING)


def _until(upload: Upload, work: Callable[[int], Any], done: Callable[[Upload], bool]) -> None:
    """Do the work here, or wait for the worker that was faster."""
    while True:
        work(upload.pk)
        upload.refresh_from_db()
        if done(upload):
            return
        time.sleep(0.2)


def _proved(upload: Upload) -> bool:
    run = ProofRun.objects.filter(upload=upload).first()
    return run is None or run.state not in _PROVING


def _summary(dataset: Dataset, received: list[Upload], seconds: dict[str, float]) -> dict[str, Any]:
    counts: dict[str, Any] = {}
    for upload in received:
        counts = importing.add_counts(counts, upload.counts)
    own = Task.objects.filter(memberships__upload__in=received).distinct().order_by()
    states = dict(own.values_list("state").annotate(n=Count("pk", distinct=True)))
    late = own.filter(state=TaskState.REJECTED, memberships__duplicate=False).exclude(proofs=None)
    codes = dict(late.values_list("reason_code").annotate(n=Count("pk", distinct=True)))
    return {
        "dataset": str(dataset),
        "uploads": [upload.pk for upload in received],
        "rows": counts.get("rows", 0),
        "valid": counts.get("valid", 0),
        "rejected": importing.add_counts(counts.get("rejected", {}), codes),
        "duplicates": counts.get("duplicates", 0),
        "conflicts": counts.get("conflicts", 0),
        "near": counts.get("found", {}).get("near_duplicate", 0),
        "suspects": counts.get("found", {}).get("suspect", 0),
        "contaminated": counts.get("rejected", {}).get("contaminated", 0),
        "found": counts.get("found", {}),
        "needs_grader": counts.get("needs_grader", 0),
        "proved": states.get(TaskState.PROVED, 0) + _approved(own, "proved"),
        "unproved": states.get(TaskState.UNPROVED, 0) + _approved(own, "unproved"),
        "approved": states.get(TaskState.APPROVED, 0),
        "refusals": [sentence for run in ProofRun.objects.filter(upload__in=received) for sentence in run.refusals],
        "failures": [f"{upload.filename}: {upload.failure}" for upload in received if upload.failure],
        "seconds": {stage: round(spent, 3) for stage, spent in seconds.items()},
        "dataset_digest": datasets.digest(dataset),
    }


def _approved(tasks: Any, outcome: str) -> int:
    """Tasks that their space's policy has let in already, by what their proof said."""
    count: int = tasks.filter(state=TaskState.APPROVED, proofs__outcome=outcome).count()
    return count


class _Clock:
    """Seconds per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - start
