"""manage.py ingest FILE…: receive, import and prove in this process, then say what came of the rows.

Files that together are above DEDUP_AT_SCALE_BYTES are not imported: every row gets its verdict by joins over Parquet.
"""

import filecmp
import json
import os
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count
from django.utils.text import slugify

from tasks.errors import Conflict, FlywheelError, NotFound
from tasks.models import Dataset, ProofRun, Task, Team, Upload
from tasks.services import (
    accounts,
    at_scale,
    correcting,
    datasets,
    importing,
    mapping,
    proving,
    rejections,
    settling,
    uploads,
    waiting,
)
from tasks.states import ProofState, TaskState, UploadMode, UploadState, Visibility

BLOCK_BYTES = 1 << 20


class Command(BaseCommand):
    help = "Import files of any format into a dataset, prove their rows and print a summary."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument("--team", required=True, help="slug or name; created where there is none")
        parser.add_argument("--dataset", required=True, help="slug or name; created where there is none")
        parser.add_argument("--contribute", action="store_true", help="into the shared pool, instead of private")
        parser.add_argument("--licence", default="", help="SPDX id, needed with --contribute")
        parser.add_argument("--consent", action="store_true", help="to the text that --contribute shows without it")
        parser.add_argument("--grader", type=json.loads, help="JSON: the grader of rows that name none")
        parser.add_argument("--domain", default="", help="of rows that name none")
        parser.add_argument(
            "--mapping", default="auto", help="a JSON file that says what the columns are (default: guessed where sure)"
        )
        parser.add_argument("--mode", choices=[mode.value for mode in UploadMode], default=UploadMode.APPEND.value)
        parser.add_argument(
            "--corrects",
            type=int,
            metavar="UPLOAD",
            help="id of the upload whose rejected rows the files hold, corrected",
        )
        parser.add_argument("--rejected", type=Path, help="folder for the rejected rows (default: beside each file)")
        parser.add_argument("--json", action="store_true", help="print the summary as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            _check(options)
            summary = self._at_scale(options) if _are_long(options["files"]) else _ingest(options)
        except FlywheelError as refusal:
            raise CommandError(refusal.sentence) from None
        if options["json"]:
            self.stdout.write(json.dumps(summary, sort_keys=True))
        else:
            for name, value in summary.items():
                self.stdout.write(f"{name:15} {value}")
        if summary["failures"]:
            raise CommandError(" ".join(summary["failures"]))

    def _at_scale(self, options: dict[str, Any]) -> dict[str, Any]:
        out = options["files"][0].with_name(f"{options['files'][0].name}.verdicts.parquet")
        _check_at_scale(options, out)
        dataset = _dataset(options)
        _require_empty(dataset)
        self.stderr.write(
            f"Together above {settings.DEDUP_AT_SCALE_BYTES:,} bytes (DEDUP_AT_SCALE_BYTES): nothing is imported, the "
            f"verdict of every row goes to {out}."
        )
        return _deduplicate(dataset, options, out)


def _check(options: dict[str, Any]) -> None:
    """What can be refused before anything is done."""
    if options["mode"] == UploadMode.REPLACE and len(options["files"]) > 1:
        raise CommandError("--mode replace takes one file: the second would replace the first.")
    folder = options["rejected"]
    if folder is not None and not folder.is_dir():
        raise CommandError(f"--rejected {folder} is no folder: make it first.")


def _are_long(files: Sequence[Path]) -> bool:
    return 0 < settings.DEDUP_AT_SCALE_BYTES < sum(map(_size, dict.fromkeys(files)))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as fault:
        raise CommandError(f"{path} cannot be read: {fault.strerror}.") from None


def _deduplicate(dataset: Dataset, options: dict[str, Any], out: Path) -> dict[str, Any]:
    files, given, clock = list(dict.fromkeys(options["files"])), _mapping(options["mapping"]), _Clock()
    given = None if given == mapping.AUTO else given
    with clock.measure("deduplicate"), at_scale.place() as place:
        contexts = [importing.context_of(dataset, at_scale.mapping_of(path, given)) for path in files]
        verdicts = at_scale.deduplicate(files, out, contexts, place)
    return {
        "dataset": str(dataset),
        "rows": sum(verdicts.values()),
        "at_scale": {"counts": verdicts, "verdicts": str(out)},
        "failures": [],
        "seconds": clock.rounded(),
    }


def _check_at_scale(options: dict[str, Any], out: Path) -> None:
    if options["corrects"] is not None or options["mode"] != UploadMode.APPEND:
        raise CommandError("Files above DEDUP_AT_SCALE_BYTES are not imported: leave out --corrects and --mode.")
    if not os.access(out.parent, os.W_OK):
        raise CommandError(f"The verdicts cannot be written to {out}: put the file into a folder that is writable.")
    _mapping(options["mapping"])


def _require_empty(dataset: Dataset) -> None:
    if Task.objects.filter(space=dataset.space_id).exists():
        raise CommandError(
            f"{dataset.space} holds tasks already, and files above DEDUP_AT_SCALE_BYTES are compared with each other "
            "only: name a team without tasks, or set DEDUP_AT_SCALE_BYTES=0 to import them row by row."
        )


def _ingest(options: dict[str, Any]) -> dict[str, Any]:
    chosen = uploads.Options(options["mode"], _mapping(options["mapping"]), options["corrects"])
    dataset = _dataset(options)
    clock = _Clock()
    with clock.measure("receive"):
        arrived = [(_receive(dataset, path, chosen), path) for path in options["files"]]
    paths = {upload.pk: path for upload, path in reversed(arrived)}  # the same bytes twice are one upload
    received = list({upload.pk: upload for upload, _ in arrived}.values())
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
    rejected = [_write_rejected(upload, paths[upload.pk], options) for upload in received]
    return {
        **_summary(dataset, received),
        "seconds": clock.rounded(),
        "rejected_files": [str(path) for path in rejected if path],
    }


def _mapping(given: str) -> Any:
    if given == mapping.AUTO:
        return given
    try:
        found = json.loads(Path(given).read_bytes())
    except (OSError, ValueError) as fault:
        raise CommandError(f"{given} holds no mapping: {fault}.") from None
    if not isinstance(found, dict):
        raise CommandError(f"{given} holds no mapping: it is no JSON object.")
    return found


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
    stem, _, ending = file.name.rpartition(".rejected.")
    target = (options["rejected"] or path.parent) / f"{stem}.rejected-{upload.pk}.{ending}"
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("wb") as stream:
            stream.writelines(file.pieces)
        return _in_place(part, target)
    except OSError as fault:
        raise CommandError(f"The rejected rows cannot be written to {target}: {fault.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)


def _in_place(part: Path, target: Path) -> Path:
    """Under a free name, unless the file is there already: whoever corrects one does so where it lies."""
    names = (target if again == 1 else target.with_name(f"{again}-{target.name}") for again in count(1))
    free = next(name for name in names if not name.exists() or filecmp.cmp(part, name, shallow=False))
    part.replace(free)
    return free


def _team(name: str) -> Team:
    known = Team.objects.filter(slug=name).first() or Team.objects.filter(slug=slugify(name)[:60]).first()
    return known or accounts.create_team(name, actor=None)


def _known(team: Team, name: str) -> Dataset | None:
    own = Dataset.objects.select_related("team", "space").filter(team=team)
    named = own.filter(slug=name).first() or own.filter(name=name).first()
    return named or own.filter(slug=slugify(name)[:80]).first()


def _dataset(options: dict[str, Any]) -> Dataset:
    team, name = _team(options["team"]), options["dataset"]
    dataset = _known(team, name)
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


def _summary(dataset: Dataset, received: list[Upload]) -> dict[str, Any]:
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
        "corrected": counts.get(correcting.CORRECTED, 0),
        "gone": counts.get("left", 0),
        "needs_grader": counts.get("needs_grader", 0),
        "proved": states.get(TaskState.PROVED, 0) + _approved(own, "proved"),
        "unproved": states.get(TaskState.UNPROVED, 0) + _approved(own, "unproved"),
        "approved": states.get(TaskState.APPROVED, 0),
        "refusals": [sentence for run in ProofRun.objects.filter(upload__in=received) for sentence in run.refusals],
        "failures": [f"{upload.filename}: {upload.failure}" for upload in received if upload.failure],
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

    def rounded(self) -> dict[str, float]:
        return {stage: round(spent, 3) for stage, spent in self.seconds.items()}
