import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tasks.models import Dataset, Team, Upload
from tasks.services import heldout
from tasks.types import Message
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


def test_the_rejected_rows_of_two_files_of_one_name_lie_side_by_side(tmp_path: Path):
    files = [tmp_path / place / "sums.jsonl" for place in ("one", "two")]
    for number, path in enumerate(files):
        path.parent.mkdir()
        path.write_bytes(lines([*sums(2, start=number), f"{{broken {number}"]))

    summary = _ingest(*files, "--team", "alpha", "--dataset", "Sums", "--rejected", tmp_path)

    broken = [json.loads(Path(written).read_text())["_raw"] for written in summary["rejected_files"]]
    assert broken == ["{broken 0", "{broken 1"]
    assert {Path(written).parent for written in summary["rejected_files"]} == {tmp_path}


def test_rejected_rows_that_somebody_is_correcting_are_not_written_over(file: Path):
    (written,) = map(Path, _private(file)["rejected_files"])
    written.write_text("half corrected")

    (other,) = map(Path, _private(file)["rejected_files"])

    assert written.read_text() == "half corrected"
    assert other != written


def test_rejected_rows_that_lie_there_unchanged_are_not_written_twice(file: Path):
    first = _private(file)["rejected_files"]

    assert _private(file)["rejected_files"] == first


def test_a_folder_for_rejected_rows_that_is_not_there_is_said_before_anything_is_done(file: Path, tmp_path: Path):
    with pytest.raises(CommandError, match="is no folder"):
        _private(file, "--rejected", tmp_path / "nowhere")

    assert not Upload.objects.exists()


def test_of_a_corrected_file_only_the_rejected_rows_are_merged(file: Path, tmp_path: Path):
    first = _private(file, "--grader", NUMBER)
    good = {"prompt": "What is 1 + 1?", "reference": 2}
    corrected = tmp_path / "corrected.jsonl"
    corrected.write_bytes(lines([{"_line": 1, **sums(1, start=90)[0]}, {"_line": 7, **good}]))

    summary = _ingest(corrected, "--team", "alpha", "--dataset", "Sums", "--corrects", first["uploads"][0])

    held = Upload.objects.get(pk=first["uploads"][0]).memberships.select_related("task")
    prompts = {row.line: row.task.messages[0]["content"] for row in held}
    assert summary["corrected"] == 1
    assert (prompts[1], prompts[7]) == (sums(1)[0]["prompt"], good["prompt"])


def test_correcting_an_upload_that_is_not_there_is_refused(file: Path):
    with pytest.raises(CommandError, match="no upload 999"):
        _private(file, "--corrects", 999)


def test_a_file_that_replaces_tells_how_many_rows_left(file: Path, tmp_path: Path):
    _private(file, "--grader", NUMBER)
    shorter = tmp_path / "shorter.jsonl"
    shorter.write_bytes(lines(sums(2)))

    summary = _private(shorter, "--mode", "replace")

    assert summary["gone"] == 4  # three sums, and the row that its gold has failed
    assert Dataset.objects.get().memberships.values("task").distinct().count() == 2


def test_two_files_cannot_both_replace_the_rows_of_a_dataset(file: Path, tmp_path: Path):
    other = tmp_path / "other.jsonl"
    other.write_bytes(lines(sums(2)))

    with pytest.raises(CommandError, match="takes one file"):
        _ingest(file, other, "--team", "alpha", "--dataset", "Sums", "--mode", "replace")

    assert not Dataset.objects.exists()


def test_several_files_are_summed_up(file: Path, tmp_path: Path):
    other = tmp_path / "other.jsonl"
    other.write_bytes(lines([*sums(2, start=50), "{broken"]))

    summary = _ingest(file, other, "--team", "alpha", "--dataset", "Sums", "--grader", NUMBER)

    assert (summary["rows"], summary["valid"], len(summary["uploads"])) == (11, 8, 2)
    assert summary["rejected"] == {"not_json": 2, "gold_failed": 1}
    assert len(summary["rejected_files"]) == 2


def test_a_file_that_is_named_twice_is_counted_once(file: Path, tmp_path: Path):
    (tmp_path / "copy.jsonl").write_bytes(file.read_bytes())

    summary = _ingest(file, file, tmp_path / "copy.jsonl", "--team", "alpha", "--dataset", "Sums")

    assert (summary["rows"], len(summary["uploads"]), len(summary["rejected_files"])) == (8, 1, 1)


def test_rows_with_one_question_and_two_answers_are_counted(file: Path, tmp_path: Path):
    other = tmp_path / "other.jsonl"
    other.write_bytes(lines([{**row, "reference": 1} for row in sums(2)]))
    _private(file, "--grader", NUMBER)

    assert _private(other)["conflicts"] == 2


def test_nearly_the_same_question_with_another_answer_is_a_suspect(tmp_path: Path):
    story = "A gardener plants tulips in long rows along the southern fence of the old garden{}. How many are there?"
    path = tmp_path / "stories.jsonl"
    path.write_bytes(
        lines([{"prompt": story.format(""), "reference": 5}, {"prompt": story.format("s"), "reference": 6}])
    )

    assert _private(path, "--grader", NUMBER)["suspects"] == 1


def test_rows_that_repeat_a_held_out_suite_are_counted(file: Path):
    space = Team.objects.create(slug="alpha", name="Alpha")
    heldout.register(space, "d1", "suite", [[Message("user", row["prompt"])] for row in sums(2)])

    summary = _private(file, "--grader", NUMBER)

    assert summary["contaminated"] == summary["rejected"]["contaminated"] == 3  # one of them stands there twice


@pytest.mark.parametrize("team", ["Al Foo", "al-foo"])
def test_a_team_and_a_dataset_are_found_again_by_the_names_they_were_given(file: Path, team: str):
    _ingest(file, "--team", "Al Foo", "--dataset", "my sums")

    _ingest(file, "--team", team, "--dataset", "My Sums")

    assert (Team.objects.filter(slug="al-foo").count(), Dataset.objects.count()) == (1, 1)


def test_contributing_without_consent_shows_the_text(file: Path):
    with pytest.raises(CommandError, match="withdraw them at any time"):
        _ingest(file, "--team", "alpha", "--dataset", "Shared", "--contribute", "--licence", "MIT")


@pytest.mark.parametrize("content", ["[1]", "{broken"])
def test_a_mapping_that_is_none_is_said_before_anything_is_done(file: Path, tmp_path: Path, content: str):
    (tmp_path / "mapping.json").write_text(content)

    with pytest.raises(CommandError, match="holds no mapping"):
        _private(file, "--mapping", tmp_path / "mapping.json")

    assert not Dataset.objects.exists()


def test_a_file_over_the_limit_is_told_the_way(file: Path, settings: Any):
    settings.UPLOAD_MAX_BYTES = 5

    with pytest.raises(CommandError, match=r"manage\.py dedup_at_scale"):
        _private(file)


def test_every_field_of_the_summary_stands_in_the_readme(file: Path):
    told = (Path(__file__).resolve().parents[3] / "README.md").read_text()
    table = told.split("| field | what it tells of the files of this call |")[1].split("\n\n")[0]

    assert [name for name in _private(file) if f"`{name}`" not in table] == []
