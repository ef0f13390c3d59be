import csv
import io
from typing import Any

from tests.contracts import documented
from tests.contracts.scenario import EXACT, MODEL, SMALL, Context, method, refused, rows

TWO = {
    "type": "multi",
    "name": "both",
    "graders": {
        "same": EXACT,
        "short": {"type": "python", "name": "short", "source": "def grade(sample, item):\n    return 1.0\n"},
    },
    "calculate_output": "0.5 * same + 0.5 * short",
}
ANSWER = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"answer": {"type": "string"}},
            "required": ["answer"],
            "additionalProperties": False,
        },
    },
}


def a_created_job_is_told_with_every_field(it: Context) -> None:
    files = {"training_file": it.file(), "validation_file": it.file(rows(3, start=50), "valid.jsonl")}
    asked: dict[str, Any] = {"suffix": "sums", "seed": 11, "metadata": {"team": "a"}, **files}

    job = documented.whole(
        it.client.fine_tuning.jobs.create(model=MODEL, method=method(response_format=ANSWER), **asked), documented.JOB
    )

    raw = documented.sent(job)
    assert job.id.startswith("ftjob-")
    assert (job.object, job.model, job.status) == ("fine_tuning.job", MODEL, "validating_files")
    assert {name: raw[name] for name in files} == files
    assert (job.seed, job.metadata, raw["user_provided_suffix"]) == (11, {"team": "a"}, "sums")
    assert job.organization_id == f"org-{it.own['team']}"
    assert (job.fine_tuned_model, job.finished_at, job.trained_tokens, job.error) == (None, None, None, None)
    assert (job.result_files, job.integrations, raw["shared_with_openai"]) == ([], [], False)
    assert raw["method"]["type"] == "reinforcement"
    assert raw["method"]["reinforcement"]["grader"] == EXACT
    assert raw["method"]["reinforcement"]["response_format"] == ANSWER
    documented.has(raw["method"]["reinforcement"]["hyperparameters"], documented.HYPERPARAMETERS)
    it.drop(job.id)


def a_job_with_a_multi_grader_tells_it_as_it_was_written(it: Context) -> None:
    """The client's own type holds one grader where the reference, and every user, has several by name."""
    job = it.job(method=method(TWO, response_format=ANSWER))

    assert job.to_dict(warnings=False)["method"]["reinforcement"]["grader"] == TWO
    assert it.ended(job.id).status == "succeeded"


def a_job_ends_with_a_model_and_its_results(it: Context) -> None:
    job = documented.whole(it.finished(), documented.JOB)

    assert job.fine_tuned_model.startswith(f"ft:{MODEL}:{it.own['team']}:sums:")
    assert job.finished_at >= job.created_at
    assert job.trained_tokens > 0
    assert job.error is None
    assert isinstance(job.hyperparameters.n_epochs, int)
    told = list(csv.DictReader(io.StringIO(it.client.files.content(job.result_files[0]).read().decode())))
    assert [row["step"] for row in told] == ["1", "2", "3", "4"]
    assert {"train_mean_reward", "full_valid_mean_reward"} <= told[0].keys()
    results = documented.whole(it.client.files.retrieve(job.result_files[0]), documented.FILE)
    assert results.purpose == "fine-tune-results"


def auto_is_resolved_and_told(it: Context) -> None:
    asked = dict.fromkeys(SMALL, "auto")

    job = it.job(method={"type": "reinforcement", "reinforcement": {"grader": EXACT, "hyperparameters": asked}})

    told = it.ended(job.id).method.reinforcement.hyperparameters.to_dict()
    assert told.keys() >= set(documented.HYPERPARAMETERS)
    assert not {"auto", None} & set(told.values()), told


def steps_are_the_epochs_times_the_batches(it: Context) -> None:
    """8 rows in batches of 3 are 3 steps an epoch."""
    asked = {"n_epochs": 2, "batch_size": 3}

    job = it.ended(it.job(method=method(hyperparameters=asked)).id)

    steps = [one.data["total_steps"] for one in it.client.fine_tuning.jobs.list_events(job.id) if one.type == "metrics"]
    assert steps == [6] * 6


def a_bad_row_fails_the_job_by_its_line(it: Context) -> None:
    job = it.job(training_file=it.file([*rows(2), {"messages": "no list"}], "broken.jsonl"))

    ended = it.ended(job.id)

    assert ended.status == "failed"
    documented.has(documented.sent(ended)["error"], documented.JOB_ERROR)
    assert (ended.error.param, ended.error.code) == ("training_file", "invalid_training_file")
    assert "Line 3 of broken.jsonl" in ended.error.message
    documented.whole(it.client.fine_tuning.jobs.retrieve(job.id), documented.JOB)


def a_bad_validation_row_fails_the_job_too(it: Context) -> None:
    job = it.job(validation_file=it.file([*rows(1, start=70), "nothing"], "bad.jsonl"))

    assert it.ended(job.id).error.param == "validation_file"


def a_job_whose_engine_fails_says_so(it: Context) -> None:
    ended = it.ended(it.job(seed=5).id)

    assert ended.status == "failed"
    documented.has(documented.sent(ended)["error"], documented.JOB_ERROR)
    assert ended.error.message
    assert ended.error.param is None
    assert ended.fine_tuned_model is None


def a_job_is_paused_and_goes_on(it: Context) -> None:
    job = it.slow()
    jobs = it.loose.fine_tuning.jobs

    assert jobs.pause(job.id).status in ("pausing", "paused")
    paused = it.until(job.id, "paused", "succeeded", "failed")
    assert paused.status == "paused"
    documented.has(documented.sent(paused), documented.JOB)
    assert paused.finished_at is None
    assert jobs.resume(job.id).status == "queued"
    assert it.until(job.id, "running", "failed").status == "running"
    assert jobs.cancel(job.id).status in ("running", "cancelled")
    assert it.ended(job.id).status == "cancelled"


def a_cancelled_job_stays_cancelled(it: Context) -> None:
    job = it.slow()
    it.client.fine_tuning.jobs.cancel(job.id)
    ended = documented.whole(it.until(job.id, "cancelled"), documented.JOB)
    place = f"/fine_tuning/jobs/{job.id}"

    with it.lossy() as (client, relay):
        for verb in ("cancel", "pause", "resume"):
            refused(lambda verb=verb: getattr(client.fine_tuning.jobs, verb)(job.id), 409)

    assert ended.finished_at
    assert ended.fine_tuned_model is None
    assert [one.path for one in relay.heard] == [f"{place}/cancel", f"{place}/pause", f"{place}/resume"]


def a_job_that_has_ended_takes_no_verb(it: Context) -> None:
    job = it.finished()

    with it.lossy() as (client, relay):
        for verb in ("cancel", "pause", "resume"):
            refused(lambda verb=verb: getattr(client.fine_tuning.jobs, verb)(job.id), 409)

    assert [(one.retry, one.should_retry) for one in relay.heard] == [(0, "false")] * 3
    assert it.client.fine_tuning.jobs.retrieve(job.id).status == "succeeded"


def a_running_job_cannot_be_resumed(it: Context) -> None:
    job = it.slow()

    refused(lambda: it.client.fine_tuning.jobs.resume(job.id), 409)
    it.client.fine_tuning.jobs.cancel(job.id)
    it.until(job.id, "cancelled")


def jobs_are_listed_to_the_end_and_by_metadata(it: Context) -> None:
    training_file, mark = it.file(), it.unique("mark")
    made = [it.dropped(training_file=training_file, metadata={"mark": mark, "n": str(n % 2)}).id for n in range(5)]
    jobs = it.loose.fine_tuning.jobs

    marked = [job.id for job in jobs.list(limit=2, metadata={"mark": mark})]
    odd = [job.id for job in jobs.list(metadata={"mark": mark, "n": "1"})]
    unmarked = [job.id for job in jobs.list(extra_query={"metadata": "null"})]
    everything = [job.id for job in jobs.list(limit=3)]
    page = jobs.list(limit=2)

    assert marked == made[::-1]
    assert odd == [made[3], made[1]]
    assert [one for one in everything if one in made] == made[::-1]
    assert len(everything) == len(set(everything))
    assert not set(unmarked) & set(made)
    assert (page.object, page.has_more, len(page.data)) == ("list", True, 2)
    documented.has(documented.sent(page.data[0]), documented.JOB)


def another_teams_job_is_not_there(it: Context) -> None:
    job, jobs = it.finished(), it.stranger.fine_tuning.jobs

    for call in (jobs.retrieve, jobs.cancel, jobs.pause, jobs.resume, jobs.list_events, jobs.checkpoints.list):
        refused(lambda call=call: call(job.id), 404, "not_found")
    assert job.id not in [one.id for one in jobs.list()]


def another_teams_files_and_models_train_nothing(it: Context) -> None:
    job, create = it.finished(), it.stranger.fine_tuning.jobs.create
    own = it.stranger.files.create(file=("own.jsonl", b'{"messages": []}\n'), purpose="fine-tune").id

    refused(lambda: create(model=MODEL, training_file=job.training_file, method=method()), 400, param="training_file")
    refused(lambda: create(model=job.fine_tuned_model, training_file=own, method=method()), 404, "model_not_found")


def a_request_that_cannot_be_is_refused_by_its_parameter(it: Context) -> None:
    file, create = it.file(), it.client.fine_tuning.jobs.create
    usual = {"model": MODEL, "training_file": file, "method": method()}
    place = "method.reinforcement.hyperparameters"

    def refuses(param: str, code: str | None = None, status: int = 400, **given: Any) -> None:
        refused(lambda: create(**{**usual, **given}), status, code, param)

    refuses("model", "model_not_found", 404, model="gpt-4o-mini")
    refuses("training_file", training_file="file-nothing")
    refuses("training_file", training_file=it.file(purpose="user_data", name="x.bin"))
    refuses("validation_file", validation_file="file-nothing")
    refuses("suffix", suffix="x" * 65)
    refuses("seed", seed=-1)
    refuses("metadata", metadata={f"k{n}": "v" for n in range(17)})
    refuses("integrations", integrations=[{"type": "wandb", "wandb": {"project": "p"}}])
    refuses("method.type", "unsupported_method", method={"type": "supervised"})
    refuses("method.type", "unsupported_method", method={"type": "dpo", "dpo": {}})
    refuses("method.type", method={"type": "magic"})
    refuses("method", method={"type": "reinforcement"})
    refuses("method.reinforcement.grader", method={"type": "reinforcement", "reinforcement": {}})
    refuses(f"{place}.n_epochs", method=method(hyperparameters={"n_epochs": 51}))
    refuses(f"{place}.batch_size", method=method(hyperparameters={"batch_size": 257}))
    refuses(f"{place}.compute_multiplier", method=method(hyperparameters={"compute_multiplier": 0}))
    refuses(f"{place}.reasoning_effort", method=method(hyperparameters={"reasoning_effort": "extreme"}))
    refuses("surprise", "unknown_parameter", extra_body={"surprise": 1})
    refused(lambda: create(model=MODEL, training_file=file), 400, "unsupported_method", "method")


def a_bad_grader_is_refused_before_a_job_is_made(it: Context) -> None:
    file, create = it.file(), it.client.fine_tuning.jobs.create
    bad = {**EXACT, "operation": "resembles"}

    told = refused(lambda: create(model=MODEL, training_file=file, method=method(bad)), 400)

    assert told["param"].startswith("method.reinforcement.grader"), told


def only_a_key_that_may_train_starts_a_job(it: Context) -> None:
    file = it.file()

    for scope in ("reader", "writer"):
        jobs = it.with_scope(scope).fine_tuning.jobs
        refused(lambda jobs=jobs: jobs.create(model=MODEL, training_file=file, method=method()), 403)
    assert it.with_scope("reader").fine_tuning.jobs.retrieve(it.finished().id).status == "succeeded"


def a_lost_reply_makes_no_second_job(it: Context) -> None:
    file, mark = it.file(), it.unique("lost")
    asked: Any = {"model": MODEL, "training_file": file, "method": method(), "metadata": {"mark": mark}}

    with it.lossy("/fine_tuning/jobs") as (client, relay):
        job = client.fine_tuning.jobs.create(**asked)
    it.drop(job.id)

    assert [(one.retry, one.status) for one in relay.heard] == [(0, 200), (1, 200)]
    assert [one.id for one in it.loose.fine_tuning.jobs.list(metadata={"mark": mark})] == [job.id]


def two_lost_replies_make_no_second_job_either(it: Context) -> None:
    file, mark = it.file(), it.unique("lost twice")

    with it.lossy("/fine_tuning/jobs", lose=2) as (client, relay):
        job = client.fine_tuning.jobs.create(model=MODEL, training_file=file, method=method(), metadata={"mark": mark})
    it.drop(job.id)

    assert [one.retry for one in relay.heard] == [0, 1, 2]
    assert [one.id for one in it.loose.fine_tuning.jobs.list(metadata={"mark": mark})] == [job.id]


def a_lost_reply_to_a_verb_leaves_the_job_where_it_was_sent(it: Context) -> None:
    """The repetition finds the work done: an answer that says so or a refusal, never a fault."""
    job = it.slow()
    place = f"/fine_tuning/jobs/{job.id}"

    with it.lossy(f"{place}/pause", f"{place}/resume", f"{place}/cancel") as (client, relay):
        client.fine_tuning.jobs.pause(job.id)
        it.until(job.id, "paused")
        client.fine_tuning.jobs.resume(job.id)
        it.until(job.id, "running")
        client.fine_tuning.jobs.cancel(job.id)

    assert it.ended(job.id).status == "cancelled"
    assert [(one.retry, one.status) for one in relay.asked(f"{place}/pause")] == [(0, 200), (1, 200)]


def a_job_goes_on_from_what_another_made(it: Context) -> None:
    first = it.finished()

    job = it.ended(it.job(model=first.fine_tuned_model, suffix="more").id)

    assert (job.status, job.model) == ("succeeded", first.fine_tuned_model)
    assert job.fine_tuned_model.startswith(f"ft:{MODEL}:{it.own['team']}:more:")
