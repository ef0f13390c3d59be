"""manage.py import_openai: what is taken, what is left out with a sentence, and that a second time adds nothing."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from flywheel.openai_compat import ids
from tasks.models import File
from tests import cast
from tests.cast import Person
from tests.flywheel.openai_compat.conftest import EXACT, jsonl, rows
from trainer.models import Eval, ModelVersion, TrainingRun

pytestmark = pytest.mark.usefixtures("jobs_run")
REINFORCED = {"type": "reinforcement", "reinforcement": {"grader": EXACT}}
JOB = {"id": "ftjob-1", "model": "o4-mini", "training_file": "file-1", "method": REINFORCED, "status": "succeeded"}
RESULTS = b"step,train_mean_reward\n1,0.5\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of rows, results, a grader and a job."""
    export = tmp_path / "export"
    (export / "files").mkdir(parents=True)
    (export / "graders").mkdir()
    given = [("file-1", "train.jsonl", "fine-tune"), ("file-2", "valid.jsonl", "fine-tune")]
    given += [("file-3", "step_metrics.csv", "fine-tune-results"), ("file-4", "items.jsonl", "evals")]
    listed = [{"id": known, "filename": name, "purpose": purpose} for known, name, purpose in given]
    put(export / "files.json", {"object": "list", "data": listed})
    (export / "files" / "file-1.jsonl").write_bytes(jsonl(rows(8)))
    (export / "files" / "file-2.jsonl").write_bytes(jsonl(rows(4, start=100)))
    (export / "files" / "file-3.csv").write_bytes(RESULTS)
    (export / "files" / "file-4.jsonl").write_bytes(b'{"item": {"answer": "4"}}\n')
    put(export / "graders" / "same.json", EXACT)
    put(export / "jobs.json", {"object": "list", "data": [{**JOB, "validation_file": "file-2"}]})
    return export


def put(path: Path, body: Any) -> None:
    path.write_text(json.dumps(body))


def taken(folder: Path, *arguments: str) -> str:
    out = io.StringIO()
    call_command("import_openai", str(folder), "--team", "carla-team", *arguments, stdout=out)
    return out.getvalue()


def left_out(folder: Path, *arguments: str) -> list[str]:
    with pytest.raises(CommandError) as refused:
        taken(folder, *arguments)
    assert refused.value.returncode == 1
    return str(refused.value).splitlines()[1:]


def test_files_are_stored_with_their_purposes(contributor: Person, folder: Path):
    told = taken(folder)

    assert {(file.filename, file.purpose) for file in File.objects.all()} == {
        ("train.jsonl", "fine-tune"),
        ("valid.jsonl", "fine-tune"),
        ("step_metrics.csv", "fine-tune-results"),
        ("items.jsonl", "evals"),
    }
    assert "train.jsonl (file-1): 656 bytes, 8 rows, fine-tune: stored as file-" in told
    assert "graders/same.json: the grader 'same' can be used" in told


def test_rows_belong_to_the_team_alone(contributor: Person, folder: Path):
    taken(folder)

    file = File.objects.get(filename="train.jsonl")
    assert file.upload is not None
    assert (file.team, file.uploaded_by) == (contributor.team, contributor.user)
    assert (file.upload.dataset.visibility, file.upload.state) == ("private", "imported")


def test_a_second_time_takes_nothing_and_says_so(contributor: Person, folder: Path):
    taken(folder)
    script = (folder / "recreate_jobs.py").read_text()

    told = taken(folder)

    assert told.count("here already as file-") == 4
    assert File.objects.count() == 4
    assert (folder / "recreate_jobs.py").read_text() == script


def test_the_script_names_the_new_files_and_models(contributor: Person, folder: Path, base: ModelVersion):
    taken(folder, "--model", "o4-mini=shared/v0")

    script = (folder / "recreate_jobs.py").read_text()
    file = File.objects.get(filename="train.jsonl")
    assert f"'training_file': '{ids.encode(ids.FILE, file.pk)}'" in script
    assert "'model': 'shared/v0'" in script


def test_older_jobs_are_made_again_first(contributor: Person, folder: Path):
    jobs = [{**JOB, "id": f"ftjob-{at}", "created_at": at} for at in (30, 20, 10)]
    put(folder / "jobs.json", jobs)

    taken(folder)

    script = (folder / "recreate_jobs.py").read_text()
    assert script.index("'ftjob-10'") < script.index("'ftjob-20'") < script.index("'ftjob-30'")


def test_the_script_is_not_written_through_a_link(contributor: Person, folder: Path, base: ModelVersion):
    elsewhere = folder.parent / "elsewhere"
    elsewhere.write_text("kept")
    (folder / "recreate_jobs.py.part").symlink_to(elsewhere)

    taken(folder)

    assert elsewhere.read_text() == "kept"
    assert "ftjob-1" in (folder / "recreate_jobs.py").read_text()


def test_a_model_that_is_not_here_is_told(contributor: Person, folder: Path):
    assert "There is no model champion here yet" in taken(folder)


def test_a_dry_run_writes_nothing(contributor: Person, folder: Path):
    told = taken(folder, "--dry-run")

    assert told.count("would be stored") == 4
    assert "ftjob-1: can be made again, from champion" in told
    assert not File.objects.exists()
    assert not (folder / "recreate_jobs.py").exists()


def test_without_any_list_the_files_of_rows_are_taken(contributor: Person, tmp_path: Path):
    (tmp_path / "more.jsonl").write_bytes(jsonl(rows(3)))

    assert "more.jsonl: 246 bytes, 3 rows, fine-tune: stored as file-" in taken(tmp_path)


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_file_with_a_bad_row_is_left_out_with_its_line_and_so_is_its_job(
    contributor: Person, folder: Path, dry: tuple[str, ...]
):
    (folder / "files" / "file-1.jsonl").write_bytes(jsonl([*rows(2), {"answer": "3"}, "{broken"]))

    told = left_out(folder, *dry)

    assert told == [
        "- train.jsonl (file-1): line 3 of 4: The row has no prompt. Give `prompt` a text, or `messages` a user "
        "message with a text. One more row is wrong.",
        "- ftjob-1: its training_file file-1 was not taken: repair that file, or save it into the folder, and call "
        "again.",
    ]
    assert not File.objects.filter(filename="train.jsonl").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it holds no row"),
        (b'{"messages": [{"role": "user", "content": "2?"}, {"role": "assistant", "content": "3"}]}\n', "line 1 of 1"),
        (b"\x1f\x8b broken", "line 1 of 1"),
    ],
)
def test_a_file_without_usable_rows_is_left_out(contributor: Person, folder: Path, content: bytes, words: str):
    (folder / "files" / "file-2.jsonl").write_bytes(content)

    assert words in left_out(folder)[0]


def test_a_grader_that_cannot_work_is_left_out_with_its_job(contributor: Person, folder: Path):
    broken = {"type": "python", "name": "p", "source": "def grade(sample, item):\n    return 1 +\n"}
    put(folder / "graders" / "broken.json", broken)
    put(folder / "graders" / "odd.json", {"grader": "text"})
    put(folder / "jobs.json", [{**JOB, "method": {"type": "reinforcement", "reinforcement": {"grader": broken}}}])

    told = left_out(folder)

    assert [line.split(":")[0] for line in told] == ["- graders/broken.json", "- graders/odd.json", "- ftjob-1"]
    assert all("Correct `source`" in line for line in (told[0], told[2]))


def test_a_supervised_job_is_left_out_and_the_others_are_written(contributor: Person, folder: Path):
    put(folder / "jobs.json", [JOB, {**JOB, "id": "ftjob-2", "method": {"type": "supervised", "supervised": {}}}])

    told = left_out(folder)

    assert [line.split(":")[0] for line in told] == ["- ftjob-2"]
    assert "ftjob-1" in (folder / "recreate_jobs.py").read_text()


EVAL = {
    "id": "eval_1",
    "name": "Sums",
    "data_source_config": {"type": "custom", "schema": {"type": "object", "properties": {"item": {"type": "object"}}}},
    "testing_criteria": [{**EXACT, "id": "same-1"}],
    "metadata": {"by": "me"},
}


def test_an_eval_is_made_once(contributor: Person, folder: Path):
    put(folder / "evals.json", {"object": "list", "data": [EVAL]})
    dry = taken(folder, "--dry-run")
    assert not Eval.objects.exists()

    first, second = taken(folder), taken(folder)

    made = Eval.objects.get()
    assert (made.team, made.name, made.item_schema) == (contributor.team, "Sums", {"type": "object"})
    assert made.metadata == {"by": "me", "imported_from": "eval_1"}
    assert [one["name"] for one in made.criteria] == ["same"]
    assert "eval_1: the eval 'Sums' would be made" in dry
    assert f"is {ids.encode(ids.EVAL, made.pk)} now" in first
    assert f"is here already as {ids.encode(ids.EVAL, made.pk)}" in second


def test_the_eval_of_a_job_comes_with_the_job(contributor: Person, folder: Path):
    put(folder / "evals.json", [EVAL])
    put(folder / "jobs.json", [{**JOB, "validation_file": "file-2", "eval_id": "eval_1"}])

    told = taken(folder)

    assert "eval_1: the eval of ftjob-1, which makes one of its own here" in told
    assert not Eval.objects.exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data_source_config": {"type": "logs", "schema": {}}}, "Evals over your own items"),
        ({"testing_criteria": [{**EXACT, "operation": "near"}]}, "operation"),
        ({"testing_criteria": "all"}, "testing_criteria"),
        ({"metadata": {f"k{n}": "v" for n in range(16)}}, "leave no room"),
        ({"id": None}, "it has no id"),
    ],
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_an_eval_that_cannot_be_made_is_left_out(
    contributor: Person, folder: Path, changed: dict[str, Any], words: str, dry: tuple[str, ...]
):
    put(folder / "evals.json", [{**EVAL, **changed}])

    assert words in left_out(folder, *dry)[0]
    assert not Eval.objects.exists()


def test_a_purpose_that_nobody_may_give_is_left_out(contributor: Person, folder: Path):
    listed = json.loads((folder / "files.json").read_text())
    listed["data"][3]["purpose"] = "assistants_output"
    put(folder / "files.json", listed)

    assert "'assistants_output' is not one of" in left_out(folder)[0]


def test_a_stranger_may_not_be_named_for_a_team(contributor: Person, folder: Path):
    cast.of_own_team("sam")

    with pytest.raises(CommandError, match="You may not contribute to"):
        taken(folder, "--user", "sam")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--team", "nobody"], "There is no team nobody"),
        (["--user", "nobody"], "There is no account nobody"),
        (["--model", "o4-mini="], "write OLD=NEW"),
        (["--script", "/nowhere/jobs.py"], "cannot be written"),
    ],
)
def test_arguments_that_lead_nowhere_are_refused(contributor: Person, folder: Path, arguments: list[str], words: str):
    with pytest.raises(CommandError, match=words):
        taken(folder, *arguments)


def test_a_folder_that_is_none_is_refused(contributor: Person, tmp_path: Path):
    with pytest.raises(CommandError, match="is no folder"):
        taken(tmp_path / "nowhere")


def test_the_jobs_are_made_again_by_the_script_once(
    contributor: Person, folder: Path, base: ModelVersion, clients: Callable[..., Any], monkeypatch: Any
):
    taken(folder)
    client = clients(contributor)
    address = ["recreate_jobs.py", "--base-url", str(client.base_url), "--api-key", contributor.secret]

    def recreate(*more: str) -> int:
        scope: dict[str, Any] = {"__name__": "recreated"}
        exec(compile((folder / "recreate_jobs.py").read_text(), "recreate_jobs.py", "exec"), scope)
        monkeypatch.setattr("sys.argv", [*address, *more])
        return int(scope["main"]())

    statuses = [recreate(), recreate()]
    assert TrainingRun.objects.count() == 1
    recreate("--again")

    run = TrainingRun.objects.order_by("pk").first()
    assert run is not None
    assert statuses == [0, 0]
    assert run.metadata == {"imported_from": "ftjob-1"}
    assert run.training_file == File.objects.get(filename="train.jsonl").upload
    assert TrainingRun.objects.count() == 2
