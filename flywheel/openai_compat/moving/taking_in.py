"""What an export holds, taken into a team: files stored, graders tried, evals made, jobs as calls to make again.

Each thing by itself: what cannot be taken is left out with a sentence, and the rest goes on. What was taken before is
found by its name and bytes, or by the id that it had, so that a second time adds nothing.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from django.db.models import Q

from flywheel.openai_compat import evals, grader_shapes, ids
from flywheel.openai_compat.moving import recreation
from flywheel.openai_compat.moving.exported import Export, Saved, SavedFile
from flywheel.openai_compat.moving.recreation import MARK, Call
from tasks.errors import FlywheelError, Invalid
from tasks.formats import mapping, source
from tasks.formats.block import Layout
from tasks.models import File, Team, User
from tasks.preparation import Context, prepare
from tasks.services import files, graders
from tasks.services.uploads import label_of
from tasks.states import FilePurpose
from tasks.types import Issue
from trainer.models import Eval

BLOCK_BYTES = 1 << 20
ROWS_AT_ONCE = 2000
_ROWS = Context(mapping=msgspec.json.encode(mapping.Mapping(dialect="openai_rft")))

Say = Callable[[str], object]


@dataclass(slots=True)
class Moved:
    files: dict[str, str] = field(default_factory=dict)  # old id → id here
    calls: list[Call] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # sentences


@dataclass(frozen=True, slots=True)
class Target:
    team: Team
    actor: User | None
    models: Mapping[str, str]  # what they are called here
    default_model: str
    dry_run: bool = False


def take_in(export: Export, target: Target, say: Say) -> Moved:
    moved = Moved(left_out=list(export.problems))
    for file in export.files:
        with _leaving_out(moved, file.label):
            _take(file, target, moved, say)
    usable: set[str] = set()
    for grader in export.graders:
        with _leaving_out(moved, grader.where):
            _try(grader, target, usable, say)
    for job in sorted(export.jobs, key=_created):  # a job may go on from what an earlier one made
        with _leaving_out(moved, str(job.body.get("id") or job.where)):
            _call(job, target, moved, usable, say)
    own = {str(call.eval_id): call.was for call in moved.calls if call.eval_id}
    for measure in export.evals:
        if (job_id := own.get(str(measure.body.get("id")))) is not None:
            say(f"{measure.body['id']}: the eval of {job_id}, which makes one of its own here")
            continue
        with _leaving_out(moved, str(measure.body.get("id") or measure.where)):
            _measure(measure, target, usable, say)
    return moved


def _created(job: Saved) -> float:
    at = job.body.get("created_at")
    return float(at) if isinstance(at, int | float) else 0.0


@contextmanager
def _leaving_out(moved: Moved, named: str) -> Iterator[None]:
    """What is refused here is told, and holds up nothing else."""
    try:
        yield
    except FlywheelError as refused:
        moved.left_out.append(f"{named}: {refused.sentence}")
    except OSError as fault:
        moved.left_out.append(f"{named} cannot be read: {fault.strerror or fault}.")


# Files


def _take(saved: SavedFile, target: Target, moved: Moved, say: Say) -> None:
    rows = f", {_good_rows(saved.path):,} rows" if saved.purpose == FilePurpose.FINE_TUNE else ""
    about = f"{saved.label}: {saved.path.stat().st_size:,} bytes{rows}, {saved.purpose}"
    if (known := _taken_before(saved, target.team)) is not None:
        moved.files[saved.id] = ids.encode(ids.FILE, known.pk)
        say(f"{about}: here already as {moved.files[saved.id]}")
    elif target.dry_run:
        files.check(target.team, saved.purpose, actor=_of(saved, target))
        files.require_size(saved.path.stat().st_size)
        moved.files[saved.id] = saved.id
        say(f"{about}: would be stored")
    else:
        with saved.path.open("rb") as stream:
            kept = files.store(
                target.team,
                iter(lambda: stream.read(BLOCK_BYTES), b""),
                filename=saved.filename,
                purpose=saved.purpose,
                actor=_of(saved, target),
            )
        moved.files[saved.id] = ids.encode(ids.FILE, kept.pk)
        say(f"{about}: stored as {moved.files[saved.id]}")


def _of(saved: SavedFile, target: Target) -> User | None:
    """Results are the platform's to write, those that another one wrote too."""
    return None if saved.purpose == FilePurpose.FINE_TUNE_RESULTS else target.actor


def _taken_before(saved: SavedFile, team: Team) -> File | None:
    digest = hashlib.sha256()
    with saved.path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    alike = File.objects.live().filter(
        team=team, sha256=digest.hexdigest(), filename=label_of(saved.filename), purpose=saved.purpose
    )
    read_so = Q(upload=None) | Q(upload__mapping__dialect=files.ROWS_OF_OPENAI["dialect"])
    return alike.filter(read_so).order_by("pk").first()


def _good_rows(path: Path) -> int:
    """A file with a bad row is no use here: a job on it fails."""
    count, wrong, first = rows_of(path)
    if first is not None:
        more = f" {wrong - 1:,} more rows are wrong." if wrong > 2 else " One more row is wrong." if wrong > 1 else ""
        raise Invalid("bad_rows", f"line {first.line:,} of {count:,}: {first.sentence} {first.remedy}{more}", None)
    if not count:
        raise Invalid("no_rows", "it holds no row: leave it out, or save it again.", None)
    return count


def rows_of(path: Path) -> tuple[int, int, Issue | None]:
    """How many rows there are, how many cannot be trained on, and what is wrong with the first of these: as the import
    will find it, but for what it compares with others."""
    count, wrong, first = 0, set[int](), None
    for block in source.blocks(path, Layout("jsonl"), size=lambda _: ROWS_AT_ONCE):
        found = prepare(block, _ROWS)
        for issue in sorted(found.issues, key=lambda issue: issue.line):
            wrong.add(issue.line)
            first = first or issue
        count = block.last
    return count, len(wrong), first


# Graders, evals and jobs


def _try(saved: Saved, target: Target, usable: set[str], say: Say) -> None:
    """A label_model by itself may be meant for an eval."""
    body = saved.body.get("grader", saved.body)
    if not isinstance(body, Mapping):
        raise Invalid("bad_grader", "it is no JSON object with a `type`: save the grader as the job shows it.", None)
    named = grader_shapes.completed(body)["name"]
    _require_usable(grader_shapes.ours(body, labels_alone=True), target, usable)
    say(f"{saved.where}: the grader '{named}' can be used")


def _require_usable(grader: Mapping[str, Any], target: Target, usable: set[str]) -> None:
    """The same one is tried once: a trial may take seconds."""
    written = json.dumps(grader, sort_keys=True)
    if written not in usable:
        graders.require_usable(grader, target.team.pk)
        usable.add(written)


def _measure(saved: Saved, target: Target, usable: set[str], say: Say) -> None:
    was, body = str(saved.body.get("id") or ""), recreation.eval_body_of(saved.body)
    about = f"{was}: the eval '{body['name']}'"
    if (known := Eval.objects.filter(team=target.team, metadata__contains={MARK: was}).first()) is not None:
        say(f"{about} is here already as {ids.encode(ids.EVAL, known.pk)}")
    elif target.dry_run:
        for criterion in evals.read_body(body)[2]:
            _require_usable(criterion, target, usable)
        say(f"{about} would be made")
    else:
        made = evals.create(body, target.team, actor=target.actor)
        say(f"{about} is {ids.encode(ids.EVAL, made.pk)} now")


def _call(job: Saved, target: Target, moved: Moved, usable: set[str], say: Say) -> None:
    call = recreation.call_of(job.body, files=moved.files, models=target.models, default=target.default_model)
    _require_usable(grader_shapes.ours(call.arguments["method"]["reinforcement"]["grader"]), target, usable)
    moved.calls.append(call)
    say(f"{call.was}: can be made again, from {call.arguments['model']}")
    for note in call.notes:
        say(f"  {note}")
