import json
from pathlib import Path
from typing import Any

from flywheel.openai_compat.moving import exported

FILE = {"id": "file-1", "filename": "train.jsonl", "purpose": "fine-tune"}


def put(folder: Path, name: str, body: Any) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(body if isinstance(body, str) else json.dumps(body))


def test_a_content_is_found_by_the_id_of_its_file(tmp_path: Path):
    put(tmp_path, "files.json", {"object": "list", "data": [FILE, {**FILE, "id": "file-2"}]})
    put(tmp_path, "files/file-1.jsonl", "1")
    put(tmp_path, "files/file-2.jsonl", "2")

    found = exported.read(tmp_path)

    assert [(file.id, file.filename, file.path.read_text()) for file in found.files] == [
        ("file-1", "train.jsonl", "1"),
        ("file-2", "train.jsonl", "2"),
    ]


def test_a_content_is_found_by_the_name_of_its_file(tmp_path: Path):
    put(tmp_path, "files.json", [FILE])
    put(tmp_path, "train.jsonl", "1")

    assert [file.path.name for file in exported.read(tmp_path).files] == ["train.jsonl"]


def test_without_a_list_every_file_of_rows_is_for_training(tmp_path: Path):
    put(tmp_path, "b.jsonl", "1")
    put(tmp_path, "files/a.jsonl", "2")
    put(tmp_path, "notes.txt", "3")

    found = exported.read(tmp_path)

    assert [(file.id, file.purpose) for file in found.files] == [("a.jsonl", "fine-tune"), ("b.jsonl", "fine-tune")]


def test_a_file_without_content_is_told(tmp_path: Path):
    put(tmp_path, "files.json", [FILE])

    found = exported.read(tmp_path)

    assert found.files == []
    assert found.problems == ["train.jsonl (file-1) has no content in the folder: save it as files/file-1.jsonl."]


def test_a_link_does_not_lead_out_of_the_folder(tmp_path: Path):
    put(tmp_path, "secret.jsonl", "1")
    put(tmp_path, "secrets/a.json", {"type": "string_check"})
    put(tmp_path, "export/files.json", [FILE])
    (tmp_path / "export/files").mkdir()
    (tmp_path / "export/files/file-1.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (tmp_path / "export/graders").symlink_to(tmp_path / "secrets")
    (tmp_path / "export/jobs.json").symlink_to(tmp_path / "secrets/a.json")

    found = exported.read(tmp_path / "export")

    assert found.is_empty
    assert [problem.split(" is a link")[0] for problem in found.problems if "link" in problem] == [
        "files/file-1.jsonl",
        "jobs.json",
        "graders",
    ]


def test_a_name_does_not_lead_out_of_the_folder(tmp_path: Path):
    put(tmp_path, "secret.jsonl", "1")
    put(tmp_path, "export/files.json", [{**FILE, "filename": "../secret.jsonl"}])

    assert exported.read(tmp_path / "export").files == []


def test_definitions_stand_in_lists_or_in_files_of_their_own(tmp_path: Path):
    put(tmp_path, "jobs.json", {"data": [{"id": "ftjob-1"}]})
    put(tmp_path, "graders/city.json", {"type": "string_check"})
    put(tmp_path, "evals.json", [{"id": "eval_1"}])
    put(tmp_path, "evals/one.json", {"id": "eval_1"})
    put(tmp_path, "evals/two.json", {"id": "eval_2"})

    found = exported.read(tmp_path)

    assert [saved.where for saved in found.jobs] == ["jobs.json[0]"]
    assert [saved.where for saved in found.graders] == ["graders/city.json"]
    assert [saved.body["id"] for saved in found.evals] == ["eval_1", "eval_2"]


def test_what_is_no_json_is_told_and_the_rest_is_read(tmp_path: Path):
    put(tmp_path, "jobs.json", "{broken")
    put(tmp_path, "graders/a.json", "7")
    put(tmp_path, "graders/b.json", {"type": "string_check"})

    found = exported.read(tmp_path)

    assert [saved.where for saved in found.graders] == ["graders/b.json"]
    assert [problem.split(" ")[0] for problem in found.problems] == ["graders/a.json", "jobs.json"]


def test_an_empty_folder_is_told(tmp_path: Path):
    assert "holds no export" in exported.read(tmp_path).problems[0]
