"""Suites that an operator brings as a file: a held-out dataset of the line's team, whose rows form one suite.

The file goes the way of every file: format, mapping, checks, proof. What differs is that its rows are sealed whatever
the split rule says, that nothing can be trained on them, and that its operator answers for what has no gold. Once its
rows are through, their prompts are registered on the data side, which binds every import and compares what is stored;
before that the suite is in no evaluation.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.text import slugify

from tasks.errors import Conflict, Invalid
from tasks.models import Task, Upload
from tasks.models.events import Subject, record
from tasks.services import datasets, heldout, uploads
from tasks.services.access import require_role
from tasks.services.uploads import Options
from tasks.states import ProofState, Role, Split, TaskState, UploadState
from tasks.types import Message
from trainer.catalogue import Entry
from trainer.evaluation.scoring import OVERALL
from trainer.models import ImportedSuite, Line
from trainer.services import suites

logger = logging.getLogger(__name__)
LONGEST = {"source": 200, "licence": 60, "revision": 64}  # characters
GOING = (UploadState.RECEIVED, UploadState.IMPORTING, UploadState.UNMAPPED)
PROVING = (ProofState.PENDING, ProofState.PROVING)


def create(
    line: Line,
    name: str,
    *,
    source: str,
    licence: str,
    revision: str,
    actor: Any,
    grader: Mapping[str, Any] | None = None,
    entry: Entry | None = None,
) -> ImportedSuite:
    """A suite without rows yet. `grader`: of rows that name none."""
    require_role(actor, line.team, Role.OPERATOR)
    name = _checked(line, name)
    told = {"source": source.strip(), "licence": licence.strip(), "revision": revision.strip()}
    for field, text in told.items():
        if not text or len(text) > LONGEST[field]:
            words = f"Name the {field} in at most {LONGEST[field]} characters: numbers mean nothing without it."
            raise Invalid("provenance_missing", words, field)
    with transaction.atomic():
        line = Line.objects.select_for_update().get(pk=line.pk)
        if line.imported_suites.filter(name=name).exists():
            raise Conflict("suite_exists", f"{line.slug} has an imported suite {name} already: choose a name.", "name")
        dataset = datasets.create(
            line.team,
            f"Suite {name}",
            actor=actor,
            slug=slugify(f"suite-{line.slug}-{name}")[:80],
            description=f"Held out: the suite {name} of {line.name}.",
            licence=told["licence"],
            default_grader=grader,
            held_out=True,
        )
        catalogue = entry.name if entry else ""
        suite = ImportedSuite.objects.create(
            line=line, name=name, dataset=dataset, catalogue=catalogue, created_by=actor, **told
        )
        subject = Subject("importedsuite", str(suite.pk))
        record("suite.imported", subject=subject, team=line.team_id, actor=actor, data={"name": name, **told})
    return suite


def _checked(line: Line, name: str) -> str:
    """A name that no domain has: rows of a domain form the suite of theirs."""
    name = name.strip()
    if not name or len(name) > 64 or "\n" in name or name == OVERALL:
        raise Invalid("bad_name", "A suite's name is a short text of at most 64 characters on one line.", "name")
    if Task.objects.filter(space_id=line.team_id, state=TaskState.APPROVED, domain=name).exists():
        raise Conflict("domain_has_name", f"{name} is a domain here, and its suite has that name: add a word.", "name")
    return name


def bring(
    suite: ImportedSuite, stream: Iterable[bytes], *, filename: str, actor: Any, mapping: Any = None
) -> tuple[Upload, bool]:
    """Its rows, as a file of any format that uploads take. More files add to them."""
    require_role(actor, suite.line.team, Role.OPERATOR)
    return uploads.receive(suite.dataset, stream, filename=filename, actor=actor, options=Options(mapping=mapping))


# What its rows have come to


def waits_for(suite: ImportedSuite) -> str:
    """What an evaluation waits for, in a sentence; "" where it is ready."""
    rows = suite.dataset.uploads.all()
    if (unmapped := rows.filter(state=UploadState.UNMAPPED).first()) is not None:
        return f"{unmapped.filename} waits for somebody to say what its columns are."
    if rows.filter(_under_way()).exists():
        return "Its rows are being imported and proved."
    if not suite.registered:
        return "It has no rows yet: bring a file." if not rows.exists() else "None of its rows came in as a task."
    found = len(suites.candidates(suite.line, suite.name))
    if found < suites.FEWEST:
        return f"It has {found} items, and a suite needs {suites.FEWEST}: bring more rows."
    return ""


def _under_way() -> Q:
    return Q(state__in=GOING) | Q(proof__state__in=PROVING)


def register_new() -> int:
    """Hold out the prompts of suites whose rows have all come through since; how many suites. Idempotent, and safe to
    lose: the next pass finds what was not done."""
    done = 0
    for suite in _due():
        try:
            done += _register(suite.pk)
        except Exception:
            logger.exception("the prompts of %s were not registered; the next pass tries again", suite)
    return done


def _due() -> Iterator[ImportedSuite]:
    going = Upload.objects.filter(_under_way(), dataset=OuterRef("dataset"))
    arrived = ImportedSuite.objects.filter(~Exists(going), dataset__uploads__state=UploadState.IMPORTED).distinct()
    for suite in arrived.select_related("line__team", "dataset"):
        if _let_in(suite).values("exact_key").distinct().count() != suite.registered:
            yield suite


def _let_in(suite: ImportedSuite) -> QuerySet[Task]:
    held = Task.objects.filter(pk__in=suite.dataset.memberships.values("task"), split=Split.SEALED)
    return held.filter(state=TaskState.APPROVED)


@transaction.atomic
def _register(pk: int) -> bool:
    suite = ImportedSuite.objects.select_for_update().select_related("line__team", "dataset").get(pk=pk)
    found = dict(_let_in(suite).order_by("-pk").values_list("exact_key", "pk"))  # a task of each prompt
    if len(found) == suite.registered:
        return False
    asked = Task.objects.filter(pk__in=found.values()).values_list("messages", flat=True)
    prompts = ([Message(**message) for message in messages] for messages in asked.iterator(chunk_size=1000))
    digest = hashlib.sha256("\n".join(["imported", *sorted(found)]).encode()).hexdigest()
    heldout.register(suite.line.team, digest, f"{suite.line.slug}/{suite.name}", prompts)
    ImportedSuite.objects.filter(pk=pk).update(registered=len(found))
    data = {"name": suite.name, "prompts": len(found), "digest": digest}
    subject = Subject("importedsuite", str(suite.pk))
    record("suite.registered", subject=subject, team=suite.line.team_id, actor=None, data=data)
    return True
