"""The command for long files: what it refuses, and that it leaves nothing behind."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.core.management import CommandError, call_command

from tasks.services import at_scale
from tests.tasks.pipeline import lines, sums


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    path.write_bytes(lines([*sums(5), *sums(1)]))
    return path


def _verdicts(*arguments: Any, out: Path) -> Counter[str]:
    call_command("dedup_at_scale", *map(str, arguments), "--out", str(out), "--json")
    return Counter(row["verdict"] for row in pq.read_table(out).to_pylist())


def _refusal(*arguments: Any, out: Path) -> str:
    """Its sentence."""
    with pytest.raises(CommandError) as refused:
        _verdicts(*arguments, out=out)
    return str(refused.value)


def test_rows_of_a_known_dialect_need_no_mapping(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        lines(
            {"question": row["prompt"], "answer": f"They are {row['reference']}.\n#### {row['reference']}"}
            for row in sums(3)
        )
    )

    assert _verdicts(path, out=tmp_path / "out.parquet") == {"unique": 3}


def test_columns_of_which_nobody_can_be_sure_ask_for_a_mapping(tmp_path: Path):
    path = tmp_path / "odd.csv"
    path.write_text("alpha,beta\nWhat is 7 + 8?,15\n")

    assert "alpha, beta" in _refusal(path, out=tmp_path / "out.parquet")


def test_every_file_is_read_by_its_own_columns(file: Path, tmp_path: Path):
    table = tmp_path / "table.csv"
    table.write_text("prompt,reference\nWhat is 100 + 100?,200\n")

    assert _verdicts(file, table, out=tmp_path / "out.parquet") == {"unique": 5, "duplicate": 2}


def test_a_mapping_that_does_not_fit_the_file_is_refused(file: Path, tmp_path: Path):
    mapping = tmp_path / "mapping.json"
    mapping.write_text(json.dumps({"dialect": "columns", "columns": {"question": "prompt", "answer": "reference"}}))

    assert "no column 'question'" in _refusal(file, "--mapping", mapping, out=tmp_path / "out.parquet")


@pytest.mark.parametrize("content", [None, "{broken", "[1]", '{"columns": 5}'])
def test_a_mapping_that_is_missing_or_broken_is_one_sentence(file: Path, tmp_path: Path, content: str | None):
    mapping = tmp_path / "mapping.json"
    if content is not None:
        mapping.write_text(content)

    assert "no mapping" in _refusal(file, "--mapping", mapping, out=tmp_path / "out.parquet")


def test_a_file_that_is_missing_is_one_sentence(file: Path, tmp_path: Path):
    assert "nowhere.jsonl cannot be read" in _refusal(file, tmp_path / "nowhere.jsonl", out=tmp_path / "out.parquet")


def test_a_folder_for_the_verdicts_that_is_missing_is_one_sentence(file: Path, tmp_path: Path):
    assert "cannot be written" in _refusal(file, out=tmp_path / "nowhere" / "out.parquet")


def test_the_verdicts_do_not_take_the_place_of_a_file(file: Path):
    assert "is one of the files" in _refusal(file, out=file)


def test_a_scratch_folder_that_is_missing_is_one_sentence(file: Path, tmp_path: Path):
    assert "is no folder" in _refusal(file, "--scratch", tmp_path / "nowhere", out=tmp_path / "out.parquet")


@pytest.mark.parametrize("option", ["--memory-mb", "--threads"])
def test_joins_need_memory_and_a_thread(file: Path, tmp_path: Path, option: str):
    assert "1 or more" in _refusal(file, option, 0, out=tmp_path / "out.parquet")


def test_a_grader_that_nobody_knows_is_refused(file: Path, tmp_path: Path):
    assert "Known types" in _refusal(file, "--grader", '{"type": "oracle"}', out=tmp_path / "out.parquet")


def test_what_is_in_between_lies_under_the_data_folder_and_goes_after_a_fault(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[Path] = []

    def fail(files: Any, out: Any, contexts: Any, place: Any) -> Any:
        seen.extend(folder for folder in (tmp_path / "cache").rglob("*") if folder == place.scratch)
        raise MemoryError

    monkeypatch.setattr(at_scale, "deduplicate", fail)

    with pytest.raises(MemoryError):
        _verdicts(file, out=tmp_path / "out.parquet")

    assert [folder.exists() for folder in seen] == [False]
