"""Files above the configured size: the verdicts of an import, without one."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.core.management import CommandError, call_command

from tasks.models import Dataset, RowIssue, Task, TaskFinding, Team, Upload
from tasks.services import accounts, heldout
from tasks.types import Message
from tests.tasks.pipeline import lines, sums

pytestmark = pytest.mark.django_db

NUMBER = json.dumps({"type": "number"})
STORY = "A gardener plants tulips in long rows along the southern fence of the old garden{}. How many are there?"
MASKED = "Which number comes after four, asks {}@example.org, who counts the letters of the long way home?"
ROWS = [
    *sums(4),
    *sums(1),
    {"prompt": sums(2)[1]["prompt"], "reference": 7},
    {"prompt": STORY.format(""), "reference": 5},
    {"prompt": STORY.format("s"), "reference": 5},
    {"prompt": STORY.format("er"), "reference": 6},
    {"prompt": MASKED.format("ada"), "reference": 5},
    {"prompt": MASKED.format("bea"), "reference": 5},
    {"prompt": "Held out: what is 3 + 3?", "reference": 6},
    {"prompt": "What is 5?", "reference": "no number"},
    "{broken",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(ROWS))
    return path


@pytest.fixture
def small(settings: Any) -> None:
    settings.DEDUP_AT_SCALE_BYTES = 100


def _ingest(*arguments: Any, team: str = "alpha") -> dict[str, Any]:
    out = io.StringIO()
    given = [*map(str, arguments), "--team", team, "--dataset", "Rows", "--grader", NUMBER, "--json"]
    call_command("ingest", *given, stdout=out)
    summary: dict[str, Any] = json.loads(out.getvalue())
    return summary


def _space(slug: str) -> Team:
    """With a policy and a suite of its own."""
    space = accounts.create_team(slug, actor=None)
    accounts.set_screening(space, {"personal": "mask"}, actor=None)
    heldout.register(space, "d1", "suite", [[Message("user", "Held out: what is 3 + 3?")]])
    return space


def _verdicts(path: str) -> dict[int, tuple[str, int | None]]:
    """{line: (verdict, or the code of a refusal; the other line)}."""
    rows = pq.read_table(path).to_pylist()
    return {
        row["line"]: (row["rule"] if row["verdict"] == "refused" else row["verdict"], row["other_line"]) for row in rows
    }


def _imported(upload: Upload) -> dict[int, tuple[str, int | None]]:
    """The same of what an import has stored."""
    first = {row.task_id: row.line for row in upload.memberships.filter(duplicate=False)}
    found = {finding.task_id: finding for finding in TaskFinding.objects.filter(kind__in=["near_duplicate", "suspect"])}
    said: dict[int, tuple[str, int | None]] = {}
    for row in upload.memberships.select_related("task"):
        said[row.line] = ("unique", None)
        if row.duplicate:
            said[row.line] = ("duplicate", first[row.task_id])
        elif (other := _clash(row.task)) is not None:
            said[row.line] = ("conflict", first[other.pk])
        elif finding := found.get(row.task_id):
            said[row.line] = (finding.kind, first[finding.other])
    return said | {issue.line: (issue.code, None) for issue in RowIssue.objects.filter(upload=upload).order_by("-pk")}


def _clash(task: Task) -> Task | None:
    older = Task.objects.filter(space=task.space_id, exact_key=task.exact_key, pk__lt=task.pk)
    return older.exclude(answer_digest=task.answer_digest).order_by("pk").first()


def test_a_file_above_the_size_gets_the_verdicts_of_an_import_into_an_empty_space(file: Path, settings: Any):
    _space("imported")
    _space("compared")

    upload = Upload.objects.get(pk=_ingest(file, team="imported")["uploads"][0])
    settings.DEDUP_AT_SCALE_BYTES = 100
    summary = _ingest(file, team="compared")

    found = _verdicts(summary["at_scale"]["verdicts"])
    assert found == _imported(upload)
    assert {verdict for verdict, _ in found.values()} == {
        "unique", "duplicate", "conflict", "near_duplicate", "suspect", "contaminated", "reference_bad", "not_json",
    }  # fmt: skip


@pytest.mark.usefixtures("small")
def test_nothing_is_imported_and_one_sentence_says_so(file: Path, capsys: pytest.CaptureFixture[str]):
    summary = _ingest(file)

    assert not Upload.objects.exists()
    assert capsys.readouterr().err.count("nothing is imported") == 1
    assert summary["at_scale"]["verdicts"] == f"{file}.verdicts.parquet"
    assert summary["rows"] == sum(summary["at_scale"]["counts"].values()) == len(ROWS)


def test_it_is_the_size_of_all_files_together_that_counts(file: Path, tmp_path: Path, settings: Any):
    other = tmp_path / "other.jsonl"
    other.write_bytes(lines(sums(4)))
    settings.DEDUP_AT_SCALE_BYTES = file.stat().st_size

    alone, together = _ingest(file, team="alone"), _ingest(file, other, team="together")

    assert "at_scale" not in alone
    assert together["at_scale"]["counts"]["duplicate"] == 5


def test_0_imports_row_by_row_whatever_the_size(file: Path, settings: Any):
    settings.DEDUP_AT_SCALE_BYTES = 0

    assert len(_ingest(file)["uploads"]) == 1


def test_the_columns_of_the_file_are_mapped(tmp_path: Path, small: None):
    path = tmp_path / "table.csv"
    path.write_text("frage,antwort\n" + "".join(f"{row['prompt']},{row['reference']}\n" for row in sums(9)))
    mapping = tmp_path / "mapping.json"
    mapping.write_text(json.dumps({"dialect": "columns", "columns": {"frage": "prompt", "antwort": "reference"}}))

    assert _ingest(path, "--mapping", mapping)["at_scale"]["counts"] == {"unique": 9}


def test_a_space_that_holds_tasks_is_refused_with_what_to_do(file: Path, settings: Any):
    _ingest(file)
    settings.DEDUP_AT_SCALE_BYTES = 100

    with pytest.raises(CommandError, match="name a team without tasks, or set DEDUP_AT_SCALE_BYTES=0"):
        _ingest(file)

    assert not Path(f"{file}.verdicts.parquet").exists()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("option", [("--corrects", 1), ("--mode", "replace")])
def test_what_only_an_import_can_do_is_refused(file: Path, option: tuple[Any, ...]):
    with pytest.raises(CommandError, match="leave out --corrects and --mode"):
        _ingest(file, *option)

    assert not Dataset.objects.exists()


@pytest.mark.usefixtures("small")
def test_what_is_in_between_is_gone(file: Path, tmp_path: Path):
    _ingest(file)

    assert list((tmp_path / "cache" / "at_scale").iterdir()) == []
