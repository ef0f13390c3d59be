import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tasks.models import Dataset, Team, Upload
from tests.tasks.pipeline import lines, sums

pytestmark = pytest.mark.django_db

NUMBER = json.dumps({"type": "number"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    path.write_bytes(lines([*sums(5), *sums(1), "{broken", {"prompt": "1 + 1?", "reference": 2, "gold": "3"}]))
    return path


def _ingest(*arguments: Any) -> dict[str, Any]:
    out = io.StringIO()
    call_command("ingest", *map(str, arguments), "--json", stdout=out)
    summary: dict[str, Any] = json.loads(out.getvalue())
    return summary


def _private(file: Path, *more: Any) -> dict[str, Any]:
    return _ingest(file, "--team", "alpha", "--dataset", "Sums", *more)


def test_the_summary_tells_what_came_of_every_row(file: Path):
    summary = _private(file, "--grader", NUMBER)

    assert (summary["rows"], summary["valid"], summary["duplicates"]) == (8, 6, 1)
    assert summary["rejected"] == {"not_json": 1, "gold_failed": 1}
    assert (summary["proved"], summary["approved"]) == (5, 5)
    assert set(summary["seconds"]) == {"receive", "import", "prove"}


def test_the_same_file_again_adds_nothing(file: Path):
    first = _private(file, "--grader", NUMBER)

    again = _private(file)

    assert again["dataset_digest"] == first["dataset_digest"]
    assert Upload.objects.count() == 1


def test_a_grader_given_later_lets_the_waiting_rows_in(file: Path):
    assert _private(file)["needs_grader"] == 6

    summary = _private(file, "--grader", NUMBER)

    assert (summary["needs_grader"], summary["proved"]) == (0, 5)


def test_contributed_rows_wait_for_a_reviewer(file: Path):
    summary = _ingest(
        file, "--team", "alpha", "--dataset", "Shared", "--contribute", "--licence", "MIT", "--consent",
        "--grader", NUMBER,
    )  # fmt: skip

    assert (summary["proved"], summary["approved"]) == (5, 0)
    assert Dataset.objects.get().space.is_system


def test_contributing_without_a_licence_is_refused_and_nothing_kept(file: Path):
    with pytest.raises(CommandError, match="SPDX"):
        _ingest(file, "--team", "alpha", "--dataset", "Shared", "--contribute")

    assert not Dataset.objects.exists()


def test_a_file_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(CommandError, match="cannot be read"):
        _private(tmp_path / "nowhere.jsonl")


def test_a_binary_file_ends_badly_with_its_sentence(tmp_path: Path):
    path = tmp_path / "rows.gz"
    path.write_bytes(b"\x1f\x8b\x08" + bytes(200))

    with pytest.raises(CommandError, match="damaged"):
        _private(path)


def test_an_existing_team_is_used(file: Path):
    Team.objects.create(slug="alpha", name="Alpha")

    _private(file)

    assert Team.objects.filter(slug="alpha").count() == 1


def test_the_rejected_rows_are_written_beside_the_file_with_their_reasons(file: Path):
    summary = _private(file, "--grader", NUMBER)

    (written,) = summary["rejected_files"]
    rows = [json.loads(line) for line in Path(written).read_bytes().splitlines()]
    assert [(row["_line"], row["_code"]) for row in rows] == [(7, "not_json"), (8, "gold_failed")]


def test_a_table_comes_in_by_its_guessed_columns(tmp_path: Path):
    path = tmp_path / "sums.csv"
    path.write_text("question,answer\nWhat is 7 + 8?,15\nWhat is 9 + 8?,17\n")

    summary = _private(path, "--grader", NUMBER, "--mapping", _mapping_file(tmp_path))

    assert (summary["rows"], summary["proved"], summary["rejected_files"]) == (2, 2, [])


def test_the_same_table_with_another_mapping_is_refused(tmp_path: Path):
    path, otherwise = tmp_path / "sums.csv", tmp_path / "otherwise.json"
    path.write_text("question,answer,right\nWhat is 7 + 8?,16,15\n")
    otherwise.write_text(json.dumps({"dialect": "columns", "columns": {"question": "prompt", "right": "reference"}}))
    _private(path, "--grader", NUMBER, "--mapping", _mapping_file(tmp_path))

    with pytest.raises(CommandError, match="another mapping"):
        _private(path, "--mapping", otherwise)


def test_a_table_that_nobody_can_be_sure_of_asks_for_a_mapping_and_offers_one(tmp_path: Path):
    path = tmp_path / "odd.csv"
    path.write_text("alpha,beta\nWhat is 7 + 8?,15\n")

    with pytest.raises(CommandError, match="alpha, beta"):
        _private(path, "--grader", NUMBER)


def test_a_second_upload_of_nearly_the_same_rows_is_counted(file: Path, tmp_path: Path):
    story = "A gardener plants tulips in long rows along the southern fence of the old garden{}. How many are there?"
    near = tmp_path / "near.jsonl"
    near.write_bytes(
        lines([{"prompt": story.format(""), "reference": 5}, {"prompt": story.format("s"), "reference": 5}])
    )

    summary = _private(near, "--grader", NUMBER)

    assert (summary["near"], summary["suspects"], summary["contaminated"]) == (1, 0, 0)


def _mapping_file(folder: Path) -> Path:
    path = folder / "mapping.json"
    path.write_text(json.dumps({"dialect": "columns", "columns": {"question": "prompt", "answer": "reference"}}))
    return path
