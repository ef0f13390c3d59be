"""From an account elsewhere to a team here: exported by the official client, imported, its job made again.

The account elsewhere is a team of this server: the client cannot tell.
"""

import io
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from django.core.management import call_command

from flywheel.samples import openai_export, rft_session
from tests.cast import Person
from tests.journeys.conftest import settle, write_demonstrations
from trainer.models import Eval, ModelVersion, TrainingRun
from trainer.services import lines

METHOD: Any = {
    "type": "reinforcement",
    "reinforcement": {
        "grader": rft_session.GRADER,
        "response_format": rft_session.RESPONSE_FORMAT,
        "hyperparameters": {"n_epochs": 2, "batch_size": 4, "eval_interval": 1},
    },
}

ITEM: Any = {"type": "object", "properties": {"largest": {"type": "string"}}, "required": ["largest"]}
RIGHT: Any = {
    "type": "string_check",
    "name": "right",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.largest }}",
    "operation": "eq",
}


@pytest.fixture
def account(
    fake_engine: Callable[..., None], operator: Person, contributor: Person, live_server: Any, settings: Any
) -> openai.OpenAI:
    """With two files, a job that has ended, and an eval with a run."""
    demonstrations = write_demonstrations(settings.DATA_DIR, 10)
    lines.create_shared("Shared", "shared", actor=operator.user, demonstrations=demonstrations, steps=1)
    settle(lambda: ModelVersion.objects.exists())
    client = openai.OpenAI(base_url=f"{live_server.url}/openai/v1", api_key=contributor.secret, max_retries=0)
    files = [
        rft_session.upload(client, f"{name}.jsonl", rft_session.rows(8, seed=seed))
        for seed, name in enumerate(("train", "valid"))
    ]
    job = client.fine_tuning.jobs.create(
        model="champion", training_file=files[0], validation_file=files[1], suffix="mine", seed=3, method=METHOD
    )
    settle(lambda: client.fine_tuning.jobs.retrieve(job.id).status == "succeeded")
    made = client.evals.create(
        name="Largest",
        data_source_config={"type": "custom", "item_schema": ITEM, "include_sample_schema": True},
        testing_criteria=[RIGHT],
    )
    content: Any = [{"item": {"largest": "9"}, "sample": {"output_text": "9"}}]
    source: Any = {"type": "jsonl", "source": {"type": "file_content", "content": content}}
    client.evals.runs.create(made.id, data_source=source)
    return client


def export(client: openai.OpenAI, folder: Path) -> openai_export.Export:
    done = openai_export.Export(client, folder)
    done.everything(openai_export.PURPOSES)
    return done


def test_an_account_moves_with_its_files_and_its_job(
    account: openai.OpenAI, stranger: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "export"

    assert export(account, folder).faults == 0
    out = io.StringIO()
    call_command("import_openai", str(folder), "--team", stranger.team.slug, stdout=out)
    given = ["recreate_jobs.py", "--base-url", str(account.base_url), "--api-key", stranger.secret]
    monkeypatch.setattr("sys.argv", given)
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(folder / "recreate_jobs.py"), run_name="__main__")

    theirs, mine = TrainingRun.objects.order_by("pk")
    assert mine.line.team == stranger.team
    assert (mine.grader, mine.response_format) == (theirs.grader, theirs.response_format)
    assert (mine.suffix, mine.asked["seed"]) == ("mine", 3)
    assert mine.asked["settings"]["epochs"] == 2
    settle(lambda: TrainingRun.objects.get(pk=mine.pk).state == "succeeded")
    before, after = Eval.objects.filter(name="Largest").order_by("pk")
    assert (after.team, after.name, after.item_schema) == (stranger.team, "Largest", ITEM)
    assert after.include_sample_schema
    assert [one["grader"] for one in after.criteria] == [one["grader"] for one in before.criteria]


def test_an_export_holds_what_a_job_told(account: openai.OpenAI, tmp_path: Path):
    export(account, tmp_path)

    (job,) = json.loads((tmp_path / "jobs.json").read_text())["data"]
    events = json.loads((tmp_path / "events" / f"{job['id']}.json").read_text())["data"]
    checkpoints = json.loads((tmp_path / "checkpoints" / f"{job['id']}.json").read_text())["data"]
    listed = json.loads((tmp_path / "files.json").read_text())["data"]
    assert {event["type"] for event in events} == {"message", "metrics"}
    assert checkpoints[0]["fine_tuning_job_id"] == job["id"]
    assert sorted(file["purpose"] for file in listed) == ["fine-tune", "fine-tune", "fine-tune-results"]
    assert len(list((tmp_path / "files").iterdir())) == 3
    saved, _ = sorted(
        json.loads((tmp_path / "evals.json").read_text())["data"], key=lambda one: one["id"] == job["eval_id"]
    )
    (run,) = json.loads((tmp_path / "runs" / f"{saved['id']}.json").read_text())["data"]
    assert run["eval_id"] == saved["id"]


def test_a_content_that_cannot_be_fetched_is_told_and_the_rest_is_saved(
    account: openai.OpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def gone(known: str) -> Any:
        raise openai.OpenAIError("Not allowed to download.")

    monkeypatch.setattr(account.files.with_streaming_response, "content", gone)

    done = export(account, tmp_path)

    assert done.faults == 3
    assert capsys.readouterr().err.count("left out: Not allowed to download.") == 3
    assert (tmp_path / "jobs.json").exists()


def test_a_second_export_fetches_no_content_again(account: openai.OpenAI, tmp_path: Path):
    export(account, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "files").iterdir()}

    export(account, tmp_path)

    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "files").iterdir()} == before
