"""Files de-duplicated by joins over Parquet: as an import does it, here and on Ray."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.core.management import call_command

from flywheel.bench import rows
from flywheel.bench.questions import TEXT
from flywheel.bench.rows import Corpus
from tasks.dedup import fanning
from tasks.dedup.at_scale import Place, Verdict
from tasks.dedup.fanning import Fan, fan, locally
from tasks.errors import Invalid
from tasks.models import RowIssue, Task, TaskFinding, Upload
from tasks.preparation import Context
from tasks.services import at_scale, datasets
from tests.cast import Person
from tests.tasks.pipeline import imported

CONTEXT = Context(default_grader=json.dumps(TEXT).encode())
CORPUS = Corpus(seed=21, size=1200, planted=0.6)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows.write(CORPUS, tmp_path / "rows.jsonl")
    return tmp_path / "rows.jsonl"


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """On this machine, nothing but the loopback."""
    import ray

    fanning.start("local", num_cpus=2, object_store_memory=80 * 2**20)
    yield
    ray.shutdown()


def verdicts(*files: Path, folder: Path, by: Fan = locally) -> list[dict[str, Any]]:
    """By file and line."""
    at_scale.deduplicate(files, folder / "out.parquet", [CONTEXT] * len(files), Place(folder / "scratch", fan=by))
    return sorted(pq.read_table(folder / "out.parquet").to_pylist(), key=lambda row: (row["file"], row["line"]))


def test_every_line_has_its_verdict(file: Path, tmp_path: Path):
    found = verdicts(file, folder=tmp_path)

    assert [(row["file"], row["line"]) for row in found] == [(0, line) for line in range(1, CORPUS.size + 1)]
    assert {row["verdict"] for row in found} == set(Verdict) - {Verdict.REFUSED}


def test_rows_of_a_later_file_look_at_those_of_an_earlier_one(file: Path, tmp_path: Path):
    found = verdicts(file, file, folder=tmp_path)

    again = [row for row in found if row["file"] == 1]
    assert {row["verdict"] for row in again} == {"duplicate"}
    assert {row["other_file"] for row in again} == {0}


def test_a_broken_row_is_refused_with_its_code(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "What is one and one?", "reference": "2"}\n{broken\n')

    found = verdicts(path, folder=tmp_path)

    assert [(row["verdict"], row["rule"]) for row in found] == [("unique", ""), ("refused", "not_json")]


def test_a_file_of_no_known_format_is_refused(tmp_path: Path):
    path = tmp_path / "rows.pkl"
    path.write_bytes(b"\x80\x04\x95\x00\x00\x00")

    with pytest.raises(Invalid):
        verdicts(path, folder=tmp_path)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_it_makes_no_difference_how_a_file_is_cut(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
):
    """Blocks of other sizes, a few in one Parquet file."""
    whole = verdicts(file, folder=tmp_path)
    monkeypatch.setattr(at_scale, "BLOCK_ROWS", 1200 // size)
    monkeypatch.setattr(at_scale, "BLOCKS_A_FILE", 3)

    (tmp_path / "cut").mkdir()
    assert verdicts(file, folder=tmp_path / "cut") == whole


@pytest.mark.proof  # Ray's own start takes as long as a tenth of all other tests
@pytest.mark.usefixtures("ray")
def test_ray_comes_to_the_same_verdicts(file: Path, tmp_path: Path):
    (tmp_path / "ray").mkdir()

    assert verdicts(file, folder=tmp_path / "ray", by=fan("local")) == verdicts(file, folder=tmp_path)


def test_the_work_is_shared_by_whom_ray_address_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")

    with at_scale.place(tmp_path) as place:
        assert isinstance(place.fan, partial)
        assert place.fan.args == ("10.0.0.1:6379",)


def test_the_command_writes_the_verdicts_and_tells_how_many(file: Path, tmp_path: Path, capsys: Any):
    out = tmp_path / "out.parquet"
    options = ["--out", str(out), "--grader", json.dumps(TEXT), "--scratch", str(tmp_path), "--json"]
    call_command("dedup_at_scale", str(file), *options)

    assert sum(json.loads(capsys.readouterr().out).values()) == CORPUS.size
    assert pq.read_table(out).num_rows == CORPUS.size


@pytest.mark.django_db
def test_an_import_comes_to_the_same_verdicts_row_by_row(contributor: Person, file: Path, tmp_path: Path):
    dataset = datasets.create(contributor.team, "Rows", actor=contributor.user, default_grader=dict(TEXT))

    upload = imported(dataset, file.read_text().splitlines())

    found = verdicts(file, folder=tmp_path)

    assert _as_imported(upload) == {row["line"]: _compared(row) for row in found}


def _compared(row: dict[str, Any]) -> tuple[Any, ...]:
    similarity = None if row["similarity"] is None else round(row["similarity"], 4)
    return row["verdict"], row["rule"], row["other_line"], similarity, row["family_line"]


def _as_imported(upload: Upload) -> dict[int, tuple[Any, ...]]:
    """(verdict, rule, other line, similarity, line of the family) of every line, from what the import has stored."""
    lines = {membership.task_id: membership.line for membership in upload.memberships.filter(duplicate=False)}
    findings = {found.task_id: found for found in TaskFinding.objects.filter(kind__in=["near_duplicate", "suspect"])}
    said: dict[int, tuple[Any, ...]] = {}
    for membership in upload.memberships.select_related("task"):
        task = membership.task
        other = _other_side(task, lines)
        if membership.duplicate:
            said[membership.line] = ("duplicate", "exact", lines[task.pk], 1.0, None)
        elif other is not None:
            said[membership.line] = ("conflict", "exact", other, 1.0, None)
        elif found := findings.get(task.pk):
            family = None if task.family is None else lines[task.family]
            said[membership.line] = (found.kind, found.rule, lines[found.other], round(found.similarity, 4), family)
        else:
            said[membership.line] = ("unique", "", None, None, None)
    refused = RowIssue.objects.filter(upload=upload).order_by("-pk").values_list("line", "code")
    return said | {line: ("refused", code, None, None, None) for line, code in refused}


def _other_side(task: Task, lines: dict[int, int]) -> int | None:
    """The line of the oldest task with the same prompt and another answer."""
    others = Task.objects.filter(space=task.space_id, exact_key=task.exact_key, pk__lt=task.pk)
    oldest = others.exclude(answer_digest=task.answer_digest).order_by("pk").first()
    return None if oldest is None else lines[oldest.pk]
