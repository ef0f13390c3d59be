"""manage.py import_suite: a file, or a published set of the catalogue from a local copy, becomes a held-out suite."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tasks.models import Task
from trainer.models import ImportedSuite, Line

ABOUT = {"source": "our school", "licence": "CC-BY-4.0", "revision": "2026-11"}
# Made by hand, in the columns of the published files.
ROWS: dict[str, list[dict[str, Any]]] = {
    "gsm8k": [{"question": "Bo has 3 hens and buys 4. How many?", "answer": "3 + 4 = <<3+4=7>>7\n#### 7"}],
    "math-500": [
        {
            "problem": "What is the sum of the roots of $x^2 - 5x + 6$?",
            "solution": "By Vieta it is $\\boxed{5}$.",
            "answer": "5",
            "subject": "Algebra",
            "level": 2,
            "unique_id": "test/algebra/0.json",
        }
    ],
    "ifeval": [
        {
            "key": 1000,
            "prompt": "Name two drinks without a comma.",
            "instruction_id_list": ["punctuation:no_comma"],
            "kwargs": [{}],
        }
    ],
    "humaneval": [
        {
            "task_id": "HumanEval/0",
            "prompt": 'def double(n):\n    """Twice n."""\n',
            "entry_point": "double",
            "canonical_solution": "    return 2 * n\n",
            "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n",
        }
    ],
}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*arguments: Any, **options: Any) -> str:
    out = StringIO()
    call_command("import_suite", *arguments, stdout=out, **options)
    return out.getvalue()


def exam(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"How many are {n} hens and {n} geese?", "reference": 2 * n} for n in range(100, 100 + count)]


def test_a_file_becomes_a_suite_that_the_next_evaluation_asks(line: Line, tmp_path: Path):
    told = run(line.slug, "exam", write(tmp_path / "exam.jsonl", exam(30)), grader={"type": "number"}, **ABOUT)

    assert "30 rows, 30 items held out as exam of shared." in told
    assert "The next evaluation asks it: 30 items." in told
    assert ImportedSuite.objects.get().revision == "2026-11"


def test_the_same_call_again_adds_nothing(line: Line, tmp_path: Path):
    path = write(tmp_path / "exam.jsonl", exam(30))
    first = run(line.slug, "exam", path, grader={"type": "number"}, **ABOUT)

    assert run(line.slug, "exam", path, **ABOUT) == first
    assert Task.objects.count() == 30


def test_a_suite_without_a_revision_is_refused(line: Line, tmp_path: Path):
    with pytest.raises(CommandError, match="Name the revision"):
        run(line.slug, "exam", write(tmp_path / "exam.jsonl", exam(30)), source="us", licence="MIT")

    assert not ImportedSuite.objects.exists()


def test_a_line_that_is_not_there_is_refused(db: None, tmp_path: Path):
    with pytest.raises(CommandError, match="There is no line nowhere"):
        run("nowhere", "exam", write(tmp_path / "exam.jsonl", exam(1)), **ABOUT)


@pytest.mark.parametrize("name", list(ROWS))
def test_a_published_set_is_read_by_its_entry_of_the_catalogue(line: Line, tmp_path: Path, name: str):
    path = write(tmp_path / "copy.jsonl", ROWS[name])

    told = run(line.slug, name, path, from_catalogue=name, revision="0123abc")

    task = Task.objects.get()
    assert (task.split, task.state) == ("sealed", "approved"), (task.reason, told)
    assert f"1 rows, 1 items held out as {name} of shared." in told
    assert ImportedSuite.objects.get().catalogue == name


def test_every_entry_of_the_catalogue_is_tried_here():
    from trainer import catalogue

    assert set(ROWS) == set(catalogue.entries())


def test_a_copy_with_other_columns_is_refused(line: Line, tmp_path: Path):
    path = write(tmp_path / "copy.jsonl", [{"q": "Why?", "a": "So."}])

    with pytest.raises(CommandError, match="say what its columns are"):
        run(line.slug, "gsm8k", path, from_catalogue="gsm8k", revision="0123abc")
