"""Two uploads at the same moment, in two workers, into one space: neither slips past the other. What both together give
is what they give one after the other, whoever wins which row."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from flywheel.bench.questions import TEXT
from flywheel.bench.rows import Corpus, Kind, as_row
from tasks.models import Dataset, DatasetTask, Task, TaskFinding, Team, Upload
from tasks.services import accounts, datasets, importing
from tests.tasks.pipeline import receive
from tests.tasks.workers import Worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

CHUNK = 15
Pair = tuple[list[dict[str, Any]], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def small_chunks(settings: Any) -> None:
    settings.IMPORT_CHUNK_ROWS = CHUNK


@pytest.fixture
def workers(server_environment: dict[str, str], files: Path) -> Iterator[Sequence[Worker]]:
    with ExitStack() as stack:
        hired = [Worker(server_environment, files.parent, IMPORT_CHUNK_ROWS=str(CHUNK)) for _ in range(2)]
        for worker in hired:
            stack.enter_context(worker)
        yield hired


def pair(seed: int, *kinds: Kind, count: int = 60) -> Pair:
    """Two files: every row of the one has a copy of one of these kinds in the other, and the sides are mixed."""
    elders = Corpus(seed, 400)
    younger = Corpus(seed + 1, 4000, planted=0.9, elders=elders)
    one: list[dict[str, Any]] = []
    other: list[dict[str, Any]] = []
    used: set[int] = set()
    for question, truth in younger.rows():
        if truth.kind not in kinds or truth.original is None or truth.original >= elders.size or truth.original in used:
            continue
        if truth.jaccard is not None and truth.jaccard < 0.9:
            continue
        used.add(truth.original)
        sides = (one, other) if len(used) % 2 else (other, one)
        sides[0].append(as_row(elders.at(truth.original)))
        sides[1].append(as_row(question))
        if len(used) == count:
            break
    return one, other


def _space(name: str) -> tuple[Dataset, Dataset]:
    team = accounts.create_team(name, actor=None)
    Team.objects.filter(pk=team.pk).update(split_salt="0" * 32)
    one, other = (datasets.create(team, name, actor=None, default_grader=dict(TEXT)) for name in ("One", "Other"))
    return one, other


def _received(space: tuple[Dataset, Dataset], files: Pair) -> tuple[Upload, Upload]:
    one, other = (receive(dataset, rows) for dataset, rows in zip(space, files, strict=True))
    return one, other


def _one_after_the_other(space: tuple[Dataset, Dataset], files: Pair) -> None:
    for upload in _received(space, files):
        importing.import_upload(upload.pk)


def _at_once(workers: Sequence[Worker], space: tuple[Dataset, Dataset], files: Pair) -> None:
    for worker, upload in zip(workers, _received(space, files), strict=True):
        worker.begin(upload.pk)
    for worker in workers:
        assert worker.end(), worker.said()


def _given(space: tuple[Dataset, Dataset]) -> dict[str, Any]:
    """What both files together gave, whoever was first with which row."""
    team = space[0].space
    tasks = Task.objects.filter(space=team)
    rows = DatasetTask.objects.filter(dataset__in=space)
    findings = TaskFinding.objects.filter(task__in=tasks)
    return {
        "uploads": sorted(Upload.objects.filter(dataset__in=space).values_list("state", "counts__rows")),
        "states": Counter(tasks.values_list("state", flat=True)),
        "duplicates": rows.filter(duplicate=True).count(),
        "findings": Counter(findings.values_list("kind", flat=True)),
        "families": tasks.exclude(family=None).count(),
        "prompts": sorted(tasks.values_list("exact_key", "answer_digest")),
        "splits": _split_groups(space),
    }


def _split_groups(space: tuple[Dataset, Dataset]) -> int:
    """How many families have members in different splits: none may."""
    splits: dict[int, set[str]] = {}
    for pk, family, split in Task.objects.filter(space=space[0].space).values_list("pk", "family", "split"):
        splits.setdefault(family or pk, set()).add(split)
    return sum(len(found) > 1 for found in splits.values())


MIXES = {
    "exact copies": (Kind.EXACT, Kind.DRESSED),
    "near copies": (Kind.EDITED,),
    "wrapped copies": (Kind.WRAPPED,),
    "conflicts": (Kind.CONFLICT,),
    "everything": (Kind.EXACT, Kind.DRESSED, Kind.EDITED, Kind.WRAPPED, Kind.CONFLICT, Kind.NUMBERS),
}


@pytest.mark.parametrize("mix", MIXES)
def test_two_uploads_at_the_same_moment_give_what_they_give_one_after_the_other(workers: Sequence[Worker], mix: str):
    files = pair(3, *MIXES[mix], count=40)
    calm, busy = _space("calm"), _space("busy")
    _one_after_the_other(calm, files)

    _at_once(workers, busy, files)

    assert _given(busy) == _given(calm)
    assert _given(busy)["splits"] == 0


@pytest.mark.parametrize("mix", ["near copies", "wrapped copies"])
def test_a_copy_in_the_other_upload_is_found(workers: Sequence[Worker], mix: str):
    space = _space("busy")

    _at_once(workers, space, pair(5, *MIXES[mix], count=40))

    found = TaskFinding.objects.filter(kind__in=["near_duplicate", "suspect"], task__space=space[0].space)
    assert found.count() >= 36  # an edited question with another answer is suspect


def test_an_exact_copy_in_the_other_upload_is_stored_once(workers: Sequence[Worker]):
    space = _space("busy")

    _at_once(workers, space, pair(5, Kind.EXACT, count=40))

    assert Task.objects.filter(space=space[0].space).count() == 40
    assert DatasetTask.objects.filter(dataset__in=space, duplicate=True).count() == 40


@pytest.mark.proof
@pytest.mark.parametrize("mix", MIXES)
def test_they_do_so_round_after_round(workers: Sequence[Worker], mix: str):
    for seed in range(20):
        files = pair(100 + 2 * seed, *MIXES[mix])
        calm, busy = _space(f"calm {seed}"), _space(f"busy {seed}")
        _one_after_the_other(calm, files)

        _at_once(workers, busy, files)

        assert _given(busy) == _given(calm), seed
