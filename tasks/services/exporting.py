"""Datasets leave as files: a frozen version, or what is approved now; in any dialect, alone or with a card in a zip.

Who may see a dataset may export it. Withdrawn rows never leave; a version's archive holds a tombstone of each. The
sealed split, on which gates measure models, never leaves a contributed dataset; a private one leaves whole where its
own team asks for that.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Count, F, Q, QuerySet
from django.utils import timezone

from tasks.errors import Forbidden, Invalid, NotFound
from tasks.formats import bundle, card, croissant, writing
from tasks.formats.writing import DIALECTS, MEDIA_TYPES, Record
from tasks.models import Dataset, DatasetTask, DatasetVersion, DatasetVersionTask, Grader, Proof, Review, Task, User
from tasks.models.events import Subject, record
from tasks.services.rejections import File
from tasks.states import Split, TaskState, Visibility

CHUNK = 1000
OPEN = (Split.TRAIN, Split.VALIDATION)
# A task of a frozen version that has made way for another one since is still what the version is.
_MADE_WAY = ("replaced", "corrected", "grader_changed")
_COLUMNS = ("pk", "messages", "item", "gold", "grader_id", "domain", "metadata", "split")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows leave."""

    dataset: Dataset
    version: DatasetVersion | None = None  # None: what is approved now
    splits: tuple[str, ...] = OPEN

    @property
    def name(self) -> str:
        state = f"v{self.version.number}" if self.version else "now"
        return f"{self.dataset.team.slug}-{self.dataset.slug}-{state}"


def select(
    dataset: Dataset,
    *,
    actor: User,
    version: DatasetVersion | None = None,
    split: str = "",
    sealed: bool = False,
) -> Selection:
    """`split`: only this one. `sealed`: with the sealed split, where the dataset is the actor's team's own."""
    if split and split not in set(Split):
        raise Invalid("unknown_split", f"split is one of {', '.join(Split)}.", "split")
    if sealed or split == Split.SEALED:
        _require_may_unseal(dataset, actor)
    splits = (split,) if split else (*OPEN, Split.SEALED) if sealed else OPEN
    return Selection(dataset, version, tuple(str(one) for one in splits))


def may_unseal(dataset: Dataset, actor: User) -> bool:
    """A held-out suite leaves with nobody: whoever brought it has the file."""
    private = dataset.visibility == Visibility.PRIVATE and not dataset.held_out
    return private and bool(actor.roles_in(dataset.team))


def _require_may_unseal(dataset: Dataset, actor: User) -> None:
    if not may_unseal(dataset, actor):
        raise Forbidden(
            "sealed",
            "The sealed split of contributed data, and of a held-out suite, leaves in no export: models are measured "
            "on it. "
            "Leave out sealed to export the others.",
            "sealed",
        )


def version_of(dataset: Dataset, number: int) -> DatasetVersion:
    found = dataset.versions.filter(number=number).first()
    if found is None:
        raise NotFound("not_found", f"{dataset} has no version {number}: see its versions.", "version")
    return found


def file(selection: Selection, dialect: str, *, actor: User, compressed: bool = False) -> File:
    """One file with all rows of the selection."""
    kind = require_dialect(dialect)
    _record(selection, dialect, actor)
    told = kind.suffix if dialect == kind.suffix else f"{dialect}.{kind.suffix}"
    name = f"{selection.name}.{told}{'.gz' if compressed else ''}"
    pieces = writing.write(dialect, tasks_of(selection), compressed=compressed)
    return File(name, "application/gzip" if compressed else MEDIA_TYPES[kind.container], pieces)


def archive(selection: Selection, dialect: str, *, actor: User, address: str) -> File:
    """A zip: data/<split>.…, README.md, croissant.json and graders.json. `address`: of the dataset's page."""
    require_dialect(dialect)
    _record(selection, dialect, actor)
    return File(f"{selection.name}.{dialect}.zip", "application/zip", bundle.write(_files(selection, dialect, address)))


def require_dialect(name: str) -> writing.Dialect:
    if name not in DIALECTS:
        raise Invalid("unknown_format", f"format is one of {', '.join(DIALECTS)}.", "format")
    return DIALECTS[name]


def _record(selection: Selection, dialect: str, actor: User) -> None:
    """Who took what along: data that has left cannot be called back."""
    version = selection.version.number if selection.version else None
    data = {"version": version, "splits": list(selection.splits), "format": dialect}
    dataset = selection.dataset
    subject = Subject("dataset", str(dataset.pk))
    record("dataset.exported", subject=subject, team=dataset.team_id, actor=actor, data=data)


# Rows


def tasks_of(selection: Selection) -> Iterator[Record]:
    """In the order of their ids; a chunk at a time, so that a slow reader holds no row of the database."""
    after = index = 0
    while pks := _next(selection, after):
        rows = _leaving(Task.objects.filter(pk__in=pks), selection).order_by("pk").values_list(*_COLUMNS)
        found = list(rows)
        graders = Grader.objects.in_bulk({row[4] for row in found if row[4]})
        for _, messages, item, gold, grader, domain, metadata, split in found:
            config = graders[grader].config if grader else None
            yield Record(messages, item, gold, config, domain, metadata, split, index)
            index += 1
        after = pks[-1]


def _next(selection: Selection, after: int) -> list[int]:
    rows: QuerySet[Any] = (
        DatasetTask.objects.filter(dataset=selection.dataset)
        if selection.version is None
        else DatasetVersionTask.objects.filter(version=selection.version)
    )
    return list(rows.filter(task__gt=after).order_by("task_id").values_list("task_id", flat=True).distinct()[:CHUNK])


def _leaving(rows: QuerySet[Task], selection: Selection) -> QuerySet[Task]:
    """Of what a version froze, all but what has been withdrawn or rejected since; else what is approved."""
    rows = rows.filter(split__in=selection.splits)
    if selection.version is None:
        return rows.filter(state=TaskState.APPROVED)
    gone = Q(state=TaskState.WITHDRAWN) | Q(state=TaskState.REJECTED) & ~Q(reason_code__in=_MADE_WAY)
    return rows.exclude(gone)


def rows_of(selection: Selection) -> QuerySet[Task]:
    """The rows as one question, for counting."""
    held: Any = (
        DatasetTask.objects.filter(dataset=selection.dataset).values("task")
        if selection.version is None
        else DatasetVersionTask.objects.filter(version=selection.version).values("task")
    )
    return _leaving(Task.objects.filter(pk__in=held), selection).order_by()


# The archive


def _files(selection: Selection, dialect: str, address: str) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Data first: only what is written can be counted and hashed."""
    written: list[_Counted] = []
    for split in selection.splits:
        one = replace(selection, splits=(split,))
        if rows_of(one).exists():
            path = f"data/{split}.{DIALECTS[dialect].suffix}"
            counted = _Counted(path, split)
            written.append(counted)
            yield path, counted.through(writing.write(dialect, counted.rows_of(tasks_of(one))))
    if withdrawn_from(selection).exists():
        yield "withdrawn.jsonl", _tombstones(selection)
    facts = _facts(selection, dialect, address, [counted.told() for counted in written])
    metadata = croissant.write(facts, DIALECTS[dialect].container)
    yield "croissant.json", [json.dumps(metadata, indent=2, ensure_ascii=False).encode()]
    yield "graders.json", [json.dumps(_configurations(selection), indent=2, ensure_ascii=False).encode()]
    yield "README.md", [card.write(facts).encode()]


def withdrawn_from(selection: Selection) -> QuerySet[Task]:
    """Tasks that a version froze and that have been withdrawn since."""
    held = DatasetVersionTask.objects.filter(version=selection.version).values("task")
    rows = Task.objects.filter(pk__in=held, state=TaskState.WITHDRAWN, split__in=selection.splits)
    return rows.order_by("pk") if selection.version else rows.none()


def _tombstones(selection: Selection) -> Iterator[bytes]:
    """Digests and no content: they say what of the version's digest is no longer here."""
    columns = ("pk", "split", "exact_key", "content_digest")
    for pk, split, key, content in withdrawn_from(selection).values_list(*columns).iterator(chunk_size=CHUNK):
        told = {"task": pk, "split": split, "exact_key": key, "content_digest": content}
        yield json.dumps(told).encode() + b"\n"


class _Counted:
    """A file of the archive while it is written."""

    def __init__(self, path: str, split: str) -> None:
        self.path, self.split, self.rows, self.bytes = path, split, 0, 0
        self._digest = hashlib.sha256()

    def rows_of(self, tasks: Iterable[Record]) -> Iterator[Record]:
        for task in tasks:
            self.rows += 1
            yield task

    def through(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.bytes += len(piece)
            self._digest.update(piece)
            yield piece

    def told(self) -> card.DataFile:
        return card.DataFile(self.path, self.split, self.rows, self.bytes, self._digest.hexdigest())


def _facts(selection: Selection, dialect: str, address: str, files: list[card.DataFile]) -> card.Facts:
    dataset, version, rows = selection.dataset, selection.version, rows_of(selection)
    columns = [(column.name, column.meaning) for column in croissant.COLUMNS[dialect]]
    return card.Facts(
        name=dataset.name,
        slug=dataset.slug,
        team=dataset.team.slug,
        address=address,
        dialect=dialect,
        date=(version.created_at if version else timezone.now()).date().isoformat(),
        version=version.number if version else None,
        digest=version.digest if version else "",
        description=dataset.description,
        licence=dataset.licence,
        contributed=dataset.visibility == Visibility.CONTRIBUTED,
        domains=_tally(rows, "domain"),
        graders=_graders(rows),
        proofs=_proofs(rows),
        reviewed=Review.objects.filter(task__in=rows.values("pk"), decision=Review.Decision.APPROVED, undone_at=None)
        .values("task")
        .distinct()
        .count(),
        uploads=DatasetTask.objects.filter(dataset=dataset).values("upload").distinct().count(),
        left_out=_left_out(selection),
        sealed=Split.SEALED in selection.splits,
        columns=columns,
        files=files,
    )


def _tally(rows: QuerySet[Task], column: str) -> dict[str, int]:
    return dict(rows.values_list(column).annotate(n=Count("pk")).order_by("-n", column)[:100])


def _graders(rows: QuerySet[Task]) -> dict[str, int]:
    by_digest = dict(rows.exclude(grader=None).values_list("grader").annotate(n=Count("pk")))
    kinds: Counter[str] = Counter()
    for digest, kind in Grader.objects.filter(pk__in=list(by_digest)).values_list("pk", "type"):
        kinds[kind] += by_digest[digest]
    return dict(kinds.most_common())


def _proofs(rows: QuerySet[Task]) -> dict[str, int]:
    """By outcome of the proof with the present grader."""
    found = Proof.objects.filter(task__in=rows.values("pk"), grader=F("task__grader"))
    return dict(found.values_list("outcome").annotate(n=Count("pk")).order_by("-n"))


def _left_out(selection: Selection) -> int:
    if selection.version is None:
        return 0
    entries = DatasetVersionTask.objects.filter(version=selection.version, task__split__in=selection.splits).count()
    return entries - rows_of(selection).count()


def _configurations(selection: Selection) -> dict[str, Any]:
    """{digest: configuration}."""
    digests = rows_of(selection).exclude(grader=None).values("grader").distinct()
    return dict(Grader.objects.filter(pk__in=digests).values_list("pk", "config"))
