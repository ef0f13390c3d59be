"""Fine-tuning jobs with the official client: from a file to a model, and every refusal on the way."""

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tasks.models import Dataset, Event
from tasks.services.regrading import change_grader
from tests import cast
from tests.cast import Person
from tests.flywheel.openai_compat.conftest import EXACT, Clients, jsonl, rows, until
from trainer.models import ModelVersion, TrainingRun
from trainer.services import runs

LONG_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "city", "schema": {"type": "object", "description": "x" * 256_000}},
}
HINT = {
    "type": "input_text",
    "text": "Grade: {{ sample.output_text }}",
    "prompt_cache_breakpoint": {"x": "x" * 512_000},
}
HINTED = {"type": "score_model", "name": "j", "model": "champion", "input": [{"role": "user", "content": HINT}]}
SMALL = {"n_epochs": 2, "batch_size": 4, "eval_interval": 1}


@pytest.fixture
def client(clients: Clients, contributor: Person, base: ModelVersion) -> openai.OpenAI:
    return clients(contributor)


def sent(client: openai.OpenAI, given: list[Any], name: str = "train.jsonl") -> str:
    return client.files.create(file=(name, jsonl(given)), purpose="fine-tune").id


def method(grader: Any = EXACT, **more: Any) -> Any:
    return {"type": "reinforcement", "reinforcement": {"grader": grader, "hyperparameters": SMALL, **more}}


def started(client: openai.OpenAI, given: list[Any] | None = None, **more: Any) -> Any:
    asked = {"model": "champion", "method": method(), **more}
    return client.fine_tuning.jobs.create(training_file=sent(client, given or rows(8)), **asked)


def ended(client: openai.OpenAI, job: Any) -> Any:
    final = ("succeeded", "failed", "cancelled")
    until(lambda: client.fine_tuning.jobs.retrieve(job.id).status in final)
    return client.fine_tuning.jobs.retrieve(job.id)


def test_a_job_goes_from_its_files_to_a_model(client: openai.OpenAI):
    validation = sent(client, rows(4, start=100), "valid.jsonl")

    job = ended(client, started(client, validation_file=validation, suffix="sums", seed=7, metadata={"team": "a"}))

    assert (job.status, job.seed, job.error, job.metadata) == ("succeeded", 7, None, {"team": "a"})
    assert job.fine_tuned_model.startswith("ft:champion:carla-team:sums:")
    assert job.validation_file == validation
    assert job.method.reinforcement.hyperparameters.n_epochs == 2
    assert job.method.reinforcement.grader.name == "same"
    assert job.finished_at >= job.created_at


def test_the_model_of_a_job_is_among_the_models(client: openai.OpenAI):
    job = ended(client, started(client))

    assert client.models.retrieve(job.fine_tuned_model).id == job.fine_tuned_model
    assert job.fine_tuned_model in {model.id for model in client.models.list()}


def test_auto_is_resolved_and_told(client: openai.OpenAI):
    job = ended(client, started(client, method={"type": "reinforcement", "reinforcement": {"grader": EXACT}}))

    told = job.method.reinforcement.hyperparameters.to_dict()
    assert "auto" not in told.values()
    assert None not in told.values()


def test_a_bad_row_fails_the_job_by_its_line(client: openai.OpenAI):
    job = ended(client, started(client, [*rows(2), {"messages": "no list"}]))

    assert (job.status, job.error.param, job.error.code) == ("failed", "training_file", "invalid_training_file")
    assert "Line 3 of train.jsonl" in job.error.message


def test_events_tell_the_whole_story_newest_first(client: openai.OpenAI):
    job = ended(client, started(client))

    events = list(client.fine_tuning.jobs.list_events(job.id, limit=3))

    assert [event.message.split(":")[0] for event in events][-1] == "Created fine-tuning job"
    assert events[0].message.startswith("The job has successfully completed")
    assert [event.created_at for event in events] == sorted((e.created_at for e in events), reverse=True)
    assert len({event.id for event in events}) == len(events) > 6


def test_a_step_is_an_event_with_its_metrics(client: openai.OpenAI):
    job = ended(client, started(client, validation_file=sent(client, rows(3, start=50))))

    steps = [event.data for event in client.fine_tuning.jobs.list_events(job.id) if event.type == "metrics"]

    assert [step["step"] for step in steps] == [4, 3, 2, 1]
    assert steps[0]["train_mean_reward"] == steps[0]["scores"]["graders"][0]["train_reward_mean"] == 0.6
    assert steps[0]["full_valid_mean_reward"] == 0.6
    assert steps[0]["timing"]["step"]["full_iteration"] == 0.01
    assert "valid_model_grader_server_error_count" in steps[0]["errors"]["graders"][0]


def test_without_a_validation_file_a_warning_event_says_so(client: openai.OpenAI):
    job = started(client)

    warnings = [event for event in client.fine_tuning.jobs.list_events(job.id) if event.level == "warn"]

    assert "no validation file" in warnings[0].message


def test_jobs_are_listed_to_the_end_and_by_metadata(client: openai.OpenAI):
    training_file = sent(client, rows(4))
    made = [
        client.fine_tuning.jobs.create(
            model="champion", training_file=training_file, method=method(), metadata={"n": str(n % 2)}
        ).id
        for n in range(5)
    ]

    everything = [job.id for job in client.fine_tuning.jobs.list(limit=2)]
    odd = [job.id for job in client.fine_tuning.jobs.list(metadata={"n": "1"})]
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.list(metadata={"n": "NUL \0"})

    assert everything == made[::-1]
    assert odd == [made[3], made[1]]


def test_a_run_of_the_portal_is_among_the_jobs(client: openai.OpenAI, contributor: Person):
    sent(client, rows(6))
    dataset = Dataset.objects.get()
    change_grader(dataset, EXACT, actor=contributor.user)
    run = runs.train_expert(dataset, actor=contributor.user, overrides={"steps": 2})

    job = client.fine_tuning.jobs.list().data[0]

    assert job.fine_tuned_model is None
    assert job.method.reinforcement.grader.type == "string_check"
    assert job.training_file == client.files.list().data[0].id
    assert ended(client, job).fine_tuned_model.endswith(f"{run.pk:08x}")


def test_a_list_asks_no_more_where_there_are_more_jobs(client: openai.OpenAI, contributor: Person):
    """Runs of the portal and jobs; the supervisor would change what is there."""
    sent(client, rows(6))
    dataset = Dataset.objects.get()
    change_grader(dataset, EXACT, actor=contributor.user)

    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            reply = Client().get("/openai/v1/fine_tuning/jobs", headers={"Authorization": f"Bearer {client.api_key}"})
        assert len(reply.json()["data"]) == TrainingRun.objects.count()
        return len(queries)

    runs.train_expert(dataset, actor=contributor.user, overrides={"steps": 2})
    few = asked()
    for _ in range(3):
        TrainingRun.objects.update(state="succeeded")
        runs.train_expert(dataset, actor=contributor.user, overrides={"steps": 2})

    assert asked() == few


def test_a_job_of_another_team_is_not_found(client: openai.OpenAI, clients: Clients):
    job = started(client)
    stranger = clients(cast.of_own_team("sven"))

    for call in (
        stranger.fine_tuning.jobs.retrieve,
        stranger.fine_tuning.jobs.cancel,
        stranger.fine_tuning.jobs.list_events,
        stranger.fine_tuning.jobs.checkpoints.list,
    ):
        with pytest.raises(openai.NotFoundError):
            call(job.id)


def test_a_file_of_another_team_is_no_training_file(client: openai.OpenAI, clients: Clients):
    stranger = clients(cast.of_own_team("sven"))
    training_file = sent(stranger, rows(3))

    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(model="champion", training_file=training_file, method=method())

    assert (caught.value.param, caught.value.code) == ("training_file", "invalid_file")


def test_cancel_ends_a_job_and_a_second_cancel_is_refused(client: openai.OpenAI, jobs_run: Callable[..., None]):
    jobs_run(seconds=20)
    job = started(client)

    cancelled = client.fine_tuning.jobs.cancel(job.id)
    with pytest.raises(openai.ConflictError) as caught:
        client.fine_tuning.jobs.cancel(job.id)

    assert cancelled.status == "cancelled"
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_a_job_is_paused_and_goes_on(client: openai.OpenAI, jobs_run: Callable[..., None]):
    jobs_run(seconds=20)
    job = started(client)
    until(lambda: client.fine_tuning.jobs.retrieve(job.id).status == "running")

    pausing = client.fine_tuning.jobs.pause(job.id).status
    until(lambda: client.fine_tuning.jobs.retrieve(job.id).status == "paused")
    jobs_run()
    resumed = client.fine_tuning.jobs.resume(job.id).status

    assert (pausing, ended(client, job).status) == ("pausing", "succeeded")
    assert resumed in ("queued", "running")


def test_a_job_that_has_ended_cannot_be_paused(client: openai.OpenAI):
    job = ended(client, started(client))

    with pytest.raises(openai.ConflictError) as caught:
        client.fine_tuning.jobs.pause(job.id)

    assert caught.value.code == "not_running"


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"model": "nobody"}, "model", "model_not_found"),
        ({"training_file": "file-nothing"}, "training_file", "invalid_file"),
        ({"method": {"type": "supervised", "supervised": {}}}, "method.type", "unsupported_method"),
        ({"method": {"type": "dpo", "dpo": {}}}, "method.type", "unsupported_method"),
        ({"method": openai.omit}, "method", "unsupported_method"),
        ({"method": {"type": "reinforcement"}}, "method", "missing_required_parameter"),
        ({"method": {"type": "reinforcement", "reinforcement": {}}}, "method.reinforcement.grader", None),
        ({"method": method({"type": "nobody"})}, "method.reinforcement.grader.type", "unknown_grader"),
        ({"method": method(hyperparameters={"n_epochs": 0})}, "method.reinforcement.hyperparameters.n_epochs", None),
        ({"method": method(response_format={"type": "xml"})}, "method.reinforcement.response_format.type", None),
        ({"method": method(response_format=LONG_FORMAT)}, "method.reinforcement.response_format",
         "invalid_response_format"),
        ({"method": method(HINTED)}, "method.reinforcement.grader", "bad_grader"),
        ({"suffix": "x" * 65}, "suffix", "invalid_value"),
        ({"suffix": "a:b"}, "suffix", "invalid_value"),
        ({"seed": -1}, "seed", "invalid_value"),
        ({"metadata": {"k": "v" * 513}}, "metadata", "invalid_value"),
        ({"metadata": {"k": "NUL \0"}}, None, "invalid_value"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations", "unsupported_parameter"),
        ({"extra_body": {"colour": "red"}}, "colour", "unknown_parameter"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_is_refused_by_its_parameter(
    client: openai.OpenAI, changes: Any, param: str, code: str | None
):
    asked = {"model": "champion", "training_file": sent(client, rows(3)), "method": method(), **changes}

    with pytest.raises(openai.APIStatusError) as caught:
        client.fine_tuning.jobs.create(**asked)

    assert caught.value.status_code in (400, 404)
    assert caught.value.param == param
    assert code in (None, caught.value.code)
    assert TrainingRun.objects.count() == 0


def test_a_retried_creation_makes_one_job(client: openai.OpenAI):
    training_file = sent(client, rows(3))
    asked: Any = {"model": "champion", "training_file": training_file, "method": method()}

    first = client.fine_tuning.jobs.create(**asked)
    again = client.fine_tuning.jobs.create(**asked, extra_headers={"x-stainless-retry-count": "1"})

    assert (again.id, TrainingRun.objects.count()) == (first.id, 1)


def test_two_equal_jobs_that_were_both_meant_are_two(client: openai.OpenAI):
    training_file = sent(client, rows(3))
    asked: Any = {"model": "champion", "training_file": training_file, "method": method()}

    ids = {client.fine_tuning.jobs.create(**asked).id for _ in range(2)}

    assert len(ids) == 2


def test_rows_stay_private_unless_the_job_says_otherwise(client: openai.OpenAI):
    started(client)

    assert set(Dataset.objects.values_list("visibility", flat=True)) == {"private"}


def test_a_job_offers_its_rows_with_licence_and_consent(client: openai.OpenAI):
    started(client, metadata={"contribute": "true", "licence": "CC-BY-4.0"})

    offered = Dataset.objects.get(visibility="contributed")
    assert (offered.licence, offered.consent_version != "", offered.memberships.count()) == ("CC-BY-4.0", True, 8)
    assert Event.objects.filter(kind="trainingrun.offered").exists()


def test_a_key_that_may_not_write_offers_no_rows(client: openai.OpenAI, contributor: Person):
    training = client.with_options(api_key=cast.key(contributor.user, contributor.team, ["read", "train"]))
    asked = {"training_file": sent(client, rows(8)), "model": "champion", "method": method()}

    with pytest.raises(openai.PermissionDeniedError):
        training.fine_tuning.jobs.create(**asked, metadata={"contribute": "true", "licence": "CC-BY-4.0"})

    assert not TrainingRun.objects.exists()
    assert training.fine_tuning.jobs.create(**asked).id


def test_offering_rows_without_a_licence_makes_no_job(client: openai.OpenAI):
    with pytest.raises(openai.BadRequestError) as caught:
        started(client, metadata={"contribute": "true"})

    assert (caught.value.param, TrainingRun.objects.count()) == ("metadata.licence", 0)


def test_a_job_goes_on_from_what_another_job_made(client: openai.OpenAI):
    first = ended(client, started(client, suffix="one"))

    second = ended(client, started(client, rows(5, start=30), model=first.fine_tuned_model, suffix="two"))

    assert second.fine_tuned_model.startswith("ft:champion:carla-team:two:")
    assert TrainingRun.objects.latest("pk").start.run_id == TrainingRun.objects.earliest("pk").pk


def test_a_key_without_the_scope_train_starts_nothing(clients: Clients, contributor: Person, base: ModelVersion):
    reader = cast.key(contributor.user, contributor.team, ["read", "write"])
    client = clients(contributor, api_key=reader)

    with pytest.raises(openai.PermissionDeniedError):
        started(client)


def test_the_results_file_has_a_line_a_step(client: openai.OpenAI):
    job = ended(client, started(client, validation_file=sent(client, rows(3, start=50))))

    lines = client.files.content(job.result_files[0]).text.splitlines()

    assert lines[0].split(",")[:3] == ["step", "train_mean_reward", "full_valid_mean_reward"]
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3", "4"]
    assert client.files.retrieve(job.result_files[0]).purpose == "fine-tune-results"


def test_each_validation_of_a_job_is_a_run_of_its_eval(client: openai.OpenAI):
    job = ended(client, started(client, validation_file=sent(client, rows(5, start=50))))

    found = list(client.evals.runs.list(job.to_dict()["eval_id"], order="asc"))
    items = client.evals.runs.output_items.list(found[-1].id, eval_id=found[-1].eval_id, status="pass")

    assert [run.name for run in found] == ["Step 1", "Step 2", "Step 3", "Step 4"]
    assert (found[-1].status, found[-1].result_counts.total, found[-1].result_counts.passed) == ("completed", 5, 3)
    assert len(items.data) == 3
    assert items.data[0].datasource_item["answer"]


def test_a_validation_of_a_job_is_told_with_the_file_and_the_model_that_it_measured(client: openai.OpenAI):
    file = sent(client, rows(5, start=50))
    job = ended(client, started(client, validation_file=file))
    listed = client.evals.runs.list(job.to_dict()["eval_id"], order="asc").data[0]

    found = client.evals.runs.retrieve(listed.id, eval_id=listed.eval_id)

    assert found.data_source.to_dict() == {
        "type": "completions",
        "model": found.model,
        "source": {"type": "file_id", "id": file},
    }


def test_a_job_without_a_validation_file_has_no_eval(client: openai.OpenAI):
    assert started(client).to_dict()["eval_id"] is None


def test_a_deleted_model_is_gone_for_chats_and_lists(client: openai.OpenAI):
    model = ended(client, started(client)).fine_tuned_model

    deleted = client.models.delete(model)

    assert deleted.deleted
    assert model not in {one.id for one in client.models.list()}
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(model)


def test_every_listed_model_is_there_also_after_one_was_deleted(client: openai.OpenAI):
    client.models.delete(ended(client, started(client)).fine_tuned_model)

    listed = [one.id for one in client.models.list()]

    assert [client.models.retrieve(name).id for name in listed] == listed


@pytest.mark.parametrize("character", ["\0", "\ud800"])
def test_what_no_row_can_hold_makes_no_job(client: openai.OpenAI, character: str):
    asked = {"model": "champion", "training_file": sent(client, rows(3)), "method": method()}
    body = json.dumps({**asked, "metadata": {"note": character}}).encode()

    with pytest.raises(openai.BadRequestError):
        client.post("/fine_tuning/jobs", cast_to=object, content=body)

    assert TrainingRun.objects.count() == 0


@pytest.mark.parametrize(
    "path",
    [
        "/fine_tuning/jobs?metadata[a]=%00",
        "/fine_tuning/jobs?limit=000000001999999999999999999999999999",
        "/models/a%00b",
        "/fine_tuning/checkpoints/a%00/permissions",
    ],
)
def test_a_url_that_nothing_can_be_found_by_is_refused(client: openai.OpenAI, path: str):
    with pytest.raises(openai.BadRequestError):
        client.get(path, cast_to=object)
