"""kill -9 of an importer, at every chunk boundary, inside chunks and at any moment: the retry gives what an import that
nobody disturbed gives, and no helper process outlives its worker."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.utils import timezone

from flywheel.bench.questions import TEXT
from flywheel.bench.rows import Corpus, as_row
from tasks.models import Dataset, Event, Team, Upload
from tasks.services import accounts, datasets, importing
from tests.tasks.outcome import outcome
from tests.tasks.pipeline import lines, receive
from tests.tasks.workers import Worker, until

pytestmark = pytest.mark.django_db(transaction=True)

CHUNK = 40
ROWS = 240
CHUNKS = ROWS // CHUNK
SMALL = {"IMPORT_CHUNK_ROWS": str(CHUNK), "IMPORT_ALONE_BYTES": "0"}  # with helpers
Start = Callable[..., Worker]


def corpus(size: int = ROWS, seed: int = 7) -> bytes:
    """Clean rows, exact, near and conflicting copies, broken lines: everything that a decision can be about."""
    rows: list[Any] = [as_row(question) for question, _ in Corpus(seed, size, planted=0.5).rows()]
    for place in range(11, size, 37):
        rows[place] = "{broken"
    return lines(rows)


@pytest.fixture(autouse=True)
def small_chunks(settings: Any) -> None:
    settings.IMPORT_CHUNK_ROWS = CHUNK


def _space(name: str) -> Dataset:
    """A dataset in a space of its own; prompts fall into the same splits in all of them."""
    team = accounts.create_team(name, actor=None)
    Team.objects.filter(pk=team.pk).update(split_salt="0" * 32)
    return datasets.create(team, "Rows", actor=None, default_grader=dict(TEXT))


@pytest.fixture
def calm(db: None) -> Dataset:
    """Imported without a disturbance."""
    dataset = _space("calm")
    importing.import_upload(receive(dataset, corpus()).pk)
    assert Upload.objects.get(dataset=dataset).state == "imported"
    return dataset


@pytest.fixture
def disturbed(db: None) -> Dataset:
    return _space("disturbed")


@pytest.fixture
def worker(server_environment: dict[str, str], files: Path) -> Iterator[Start]:
    started: list[Worker] = []

    def start(**more: str) -> Worker:
        started.append(Worker(server_environment, files.parent, **{**SMALL, **more}))
        return started[-1]

    yield start
    for each in started:
        each.__exit__()


def _let_go() -> None:
    """Leases run out."""
    Upload.objects.update(lease_until=timezone.now() - timedelta(seconds=1))


def _line(upload: Upload) -> int:
    return Upload.objects.values_list("line", flat=True).get(pk=upload.pk)


def test_the_rows_give_every_kind_of_decision(calm: Dataset):
    counts = Upload.objects.get(dataset=calm).counts

    assert counts["rows"] == ROWS
    assert min(counts["valid"], counts["duplicates"], counts["conflicts"], counts["rejected"]["not_json"]) > 0
    assert any(kind == "near_duplicate" for _, kind, *_ in outcome(calm)["findings"])


POINTS = ["import.after_claim", "import.before_commit:1", "import.after_chunk:2", "import.before_commit:5"]


@pytest.mark.parametrize("point", [*POINTS, "import.before_finish"])
def test_an_importer_that_is_killed_is_followed_by_one_that_gives_the_same(
    calm: Dataset, disturbed: Dataset, worker: Start, point: str
):
    upload = receive(disturbed, corpus())
    assert not worker(FLYWHEEL_CRASH_AT=point).run(upload.pk)
    _let_go()

    assert worker().run(upload.pk)

    assert outcome(disturbed) == outcome(calm)


@pytest.mark.proof
@pytest.mark.parametrize("passing", range(1, CHUNKS + 1))
@pytest.mark.parametrize("point", ["import.before_commit", "import.after_chunk"])
def test_an_importer_may_be_killed_at_every_boundary_of_chunks(
    calm: Dataset, disturbed: Dataset, worker: Start, point: str, passing: int
):
    upload = receive(disturbed, corpus())
    assert not worker(FLYWHEEL_CRASH_AT=f"{point}:{passing}").run(upload.pk)
    _let_go()

    assert worker().run(upload.pk)

    assert outcome(disturbed) == outcome(calm)


def test_an_importer_may_be_killed_again_and_again_as_long_as_it_gets_on(
    calm: Dataset, disturbed: Dataset, worker: Start
):
    upload = receive(disturbed, corpus())
    for _ in range(CHUNKS - 1):
        assert not worker(FLYWHEEL_CRASH_AT="import.before_commit:2").run(upload.pk)
        _let_go()

    assert worker().run(upload.pk)

    assert outcome(disturbed) == outcome(calm)


def _killed_at_random(worker: Start, upload: Upload, random: Random, rows: int) -> Worker:
    """Killed somewhere behind a random row, if it gets there before it is done."""
    victim, behind = worker(), random.randrange(rows)
    victim.begin(upload.pk)
    until(lambda: _line(upload) >= behind or _state(upload) == "imported")
    time.sleep(random.random() * 0.05)
    victim.kill()
    return victim


def _state(upload: Upload) -> str:
    return Upload.objects.values_list("state", flat=True).get(pk=upload.pk)


def test_no_helper_outlives_a_worker_that_is_killed(disturbed: Dataset, worker: Start):
    upload = receive(disturbed, corpus())
    victim = worker()
    victim.begin(upload.pk)
    until(lambda: victim.look() and _line(upload))

    victim.kill()

    assert victim.seen
    assert victim.orphans() == []


def test_an_importer_whose_helper_is_killed_is_followed_by_one_that_gives_the_same(
    calm: Dataset, disturbed: Dataset, worker: Start
):
    upload = receive(disturbed, corpus())
    victim = worker()
    victim.begin(upload.pk)
    until(victim.look)
    victim.look()[0].kill()
    victim.end()
    _let_go()

    assert _state(upload) == "imported" or worker().run(upload.pk)

    assert outcome(disturbed) == outcome(calm)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(20))
def test_an_importer_may_be_killed_at_any_moment(calm: Dataset, disturbed: Dataset, worker: Start, seed: int):
    random, upload = Random(seed), receive(disturbed, corpus())
    for _ in range(3):
        victim = _killed_at_random(worker, upload, random, ROWS)
        assert victim.orphans() == []
        Upload.objects.filter(state="importing").update(lease_until=timezone.now() - timedelta(seconds=1), tries=0)

    assert worker().run(upload.pk)

    assert outcome(disturbed) == outcome(calm)


@pytest.mark.proof
def test_a_large_file_may_be_killed_at_any_moment(worker: Start, db: None):
    rows = corpus(50_000, seed=11)
    calm, disturbed, random = _space("calm"), _space("disturbed"), Random(1)
    large = {"IMPORT_CHUNK_ROWS": "2000"}
    assert worker(**large).run(receive(calm, rows).pk)
    upload = receive(disturbed, rows)
    for _ in range(10):
        _killed_at_random(lambda: worker(**large), upload, random, 50_000)
        Upload.objects.filter(state="importing").update(lease_until=timezone.now() - timedelta(seconds=1), tries=0)

    assert worker(**large).run(upload.pk)

    assert outcome(disturbed) == outcome(calm)


INSTRUCTION = "Answer as a pirate who knows sums."


def _instructed() -> bytes:
    """One line before most questions of every chunk, copies among them."""
    rows: list[Any] = [as_row(question) for question, _ in Corpus(3, ROWS, planted=0.2).rows()]
    for place, row in enumerate(rows):
        if place % 3:
            row["prompt"] = f"{INSTRUCTION} {row['prompt']}"
    return lines(rows)


def _proposals(dataset: Dataset) -> list[tuple[Any, ...]]:
    return outcome(dataset)["wrappers"]


@pytest.fixture
def proposed(db: None) -> list[tuple[Any, ...]]:
    """By an import that nobody disturbed."""
    dataset = _space("calm")
    importing.import_upload(receive(dataset, _instructed()).pk)
    return _proposals(dataset)


def test_an_import_proposes_the_line_that_many_of_its_rows_begin_with(proposed: list[tuple[Any, ...]]):
    assert ("start answer as a pirate who knows sums.", 160) in [(text, rows) for _, text, _, rows, _ in proposed]


@pytest.mark.parametrize("point", ["import.before_commit:2", "import.after_chunk:4", "import.before_finish"])
def test_an_import_that_is_killed_proposes_the_same_lines(
    proposed: list[tuple[Any, ...]], disturbed: Dataset, worker: Start, point: str
):
    upload = receive(disturbed, _instructed())
    assert not worker(FLYWHEEL_CRASH_AT=point).run(upload.pk)
    _let_go()

    assert worker().run(upload.pk)

    assert _proposals(disturbed) == proposed


def test_what_the_cache_has_lost_of_an_import_is_counted_again(
    proposed: list[tuple[Any, ...]], disturbed: Dataset, worker: Start, settings: Any
):
    upload = receive(disturbed, _instructed())
    assert not worker(FLYWHEEL_CRASH_AT="import.after_chunk:4").run(upload.pk)
    for kept in Path(settings.DATA_DIR, "cache", "openings").iterdir():
        kept.write_bytes(b"")  # as a power cut leaves it
    _let_go()

    assert worker().run(upload.pk)

    assert _proposals(disturbed) == proposed


def test_an_import_that_is_done_leaves_no_counts(disturbed: Dataset, worker: Start, settings: Any):
    upload = receive(disturbed, _instructed())
    assert not worker(FLYWHEEL_CRASH_AT="import.before_commit:3").run(upload.pk)
    _let_go()

    assert worker().run(upload.pk)

    assert list(Path(settings.DATA_DIR, "cache", "openings").iterdir()) == []


def test_what_is_told_of_chunks_adds_up_after_a_kill(disturbed: Dataset, worker: Start):
    upload = receive(disturbed, corpus())
    worker(FLYWHEEL_CRASH_AT="import.before_commit:3").run(upload.pk)
    _let_go()

    worker().run(upload.pk)

    told = Event.objects.filter(kind="upload.chunk", subject_id=str(upload.pk))
    assert sum(event.data["rows"] for event in told) == ROWS
