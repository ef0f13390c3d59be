from typing import Any

from tests.contracts import documented
from tests.contracts.scenario import EXACT, MODEL, Context, jsonl, refused, until

ITEM = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "question": {"type": "string"}},
    "required": ["answer"],
}
ROWS: Any = {"type": "custom", "item_schema": ITEM, "include_sample_schema": True}
NEAR = {
    "type": "text_similarity",
    "name": "near",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "evaluation_metric": "fuzzy_match",
    "pass_threshold": 0.9,
}
ENDED = ("completed", "failed", "canceled")


def _content(count: int = 4, *, right: int = 3) -> list[Any]:
    """Rows with samples, of which so many are right."""
    return [
        {"item": {"answer": f"number {n}"}, "sample": {"output_text": f"number {n}" if n < right else "???"}}
        for n in range(count)
    ]


def _eval(it: Context, **more: Any) -> Any:
    asked = {"name": "sums", "data_source_config": ROWS, "testing_criteria": [EXACT, NEAR], **more}
    return it.client.evals.create(**asked)


def _source(rows: list[Any]) -> Any:
    return {"type": "jsonl", "source": {"type": "file_content", "content": rows}}


def _asking(rows: list[Any], model: str = MODEL) -> Any:
    """A model is asked about every row."""
    return {
        "type": "completions",
        "model": model,
        "source": {"type": "file_content", "content": [{"item": row["item"]} for row in rows]},
        "input_messages": {"type": "template", "template": [{"role": "user", "content": "Say {{ item.answer }}"}]},
        "sampling_params": {"temperature": 0, "max_completion_tokens": 4, "seed": 1},
    }


def _run(it: Context, of: Any, source: Any = None, **more: Any) -> Any:
    return it.loose.evals.runs.create(of.id, data_source=source or _source(_content()), **more)


def _ended(it: Context, of: Any, run: Any) -> Any:
    return until(lambda: it.loose.evals.runs.retrieve(run.id, eval_id=of.id), lambda found: found.status in ENDED)


def _graded(it: Context) -> tuple[Any, Any]:
    """An eval and a run of it that has ended, which nobody changes."""

    def make() -> tuple[Any, Any]:
        of = _eval(it)
        return of, _ended(it, of, _run(it, of, name="first", metadata={"team": "a"}))

    found: tuple[Any, Any] = it.once("graded", make)
    return found


def an_eval_is_told_with_every_field(it: Context) -> None:
    made = documented.whole(_eval(it, metadata={"team": "a"}), documented.EVAL)

    raw = documented.sent(made)
    assert made.id.startswith("eval_")
    assert (made.object, made.name, made.metadata) == ("eval", "sums", {"team": "a"})
    assert raw["data_source_config"]["type"] == "custom"
    assert raw["data_source_config"]["schema"]["properties"]["item"] == ITEM
    assert "sample" in raw["data_source_config"]["schema"]["properties"]
    for told, asked in zip(raw["testing_criteria"], (EXACT, NEAR), strict=True):
        assert {**told, **asked} == told
    assert documented.sent(it.client.evals.retrieve(made.id)) == raw


def an_eval_is_renamed_and_deleted(it: Context) -> None:
    made = _eval(it)

    changed = documented.whole(it.client.evals.update(made.id, name="other", metadata={"k": "v"}), documented.EVAL)
    gone = documented.whole(it.client.evals.delete(made.id), documented.EVAL_DELETED)

    assert (changed.name, changed.metadata) == ("other", {"k": "v"})
    assert (gone.deleted, gone.eval_id, gone.object) == (True, made.id, "eval.deleted")
    refused(lambda: it.client.evals.retrieve(made.id), 404, "not_found")


def evals_are_listed_to_the_end_in_every_order(it: Context) -> None:
    made = [_eval(it, name=f"page {number}").id for number in range(4)]
    it.client.evals.update(made[0], name="changed last")

    for order_by in ("created_at", "updated_at"):
        up = [one.id for one in it.client.evals.list(limit=3, order="asc", order_by=order_by)]
        down = [one.id for one in it.client.evals.list(limit=3, order="desc", order_by=order_by)]
        assert up == down[::-1]
        own = [one for one in up if one in made]
        assert own == (made if order_by == "created_at" else [*made[1:], made[0]])
    page = it.client.evals.list(limit=2)
    assert (page.object, len(page.data), page.has_more) == ("list", 2, True)
    documented.whole(page.data[0], documented.EVAL)


def a_run_grades_every_row_and_is_told_with_every_field(it: Context) -> None:
    of, run = _graded(it)

    raw = documented.sent(run)
    documented.has(raw, documented.EVAL_RUN)
    documented.has(raw["result_counts"], documented.RESULT_COUNTS)
    assert run.id.startswith("evalrun_")
    assert (run.object, run.eval_id, run.status) == ("eval.run", of.id, "completed")
    assert (run.name, run.metadata, run.error) == ("first", {"team": "a"}, None)
    assert raw["result_counts"] == {"total": 4, "passed": 3, "failed": 1, "errored": 0}
    assert [(one["passed"], one["failed"]) for one in raw["per_testing_criteria_results"]] == [(3, 1), (3, 1)]
    for one in raw["per_testing_criteria_results"]:
        documented.has(one, documented.CRITERION_RESULTS)
    assert raw["data_source"]["source"]["content"] == _content()
    assert raw["report_url"].startswith("http")


def output_items_are_told_with_every_field(it: Context) -> None:
    of, run = _graded(it)

    items = list(it.loose.evals.runs.output_items.list(run.id, eval_id=of.id, limit=3))

    assert [item.datasource_item for item in items] == [row["item"] for row in _content()]
    assert [item.status for item in items] == ["pass", "pass", "pass", "fail"]
    for item in items:
        raw = documented.sent(item)
        documented.has(raw, documented.OUTPUT_ITEM)
        documented.has(raw["sample"], documented.OUTPUT_SAMPLE)
        for result in raw["results"]:
            documented.has(result, documented.RESULT)
        assert (item.object, item.run_id, item.eval_id) == ("eval.run.output_item", run.id, of.id)
    one = it.loose.evals.runs.output_items.retrieve(items[0].id, eval_id=of.id, run_id=run.id)
    assert documented.sent(one) == documented.sent(items[0])


def output_items_are_listed_by_status_and_order(it: Context) -> None:
    of, run = _graded(it)
    items = it.loose.evals.runs.output_items
    everything = [one.id for one in items.list(run.id, eval_id=of.id)]

    assert [one.id for one in items.list(run.id, eval_id=of.id, status="fail", limit=1)] == everything[3:]
    assert [one.id for one in items.list(run.id, eval_id=of.id, status="pass", limit=2)] == everything[:3]
    assert [one.id for one in items.list(run.id, eval_id=of.id, order="desc", limit=3)] == everything[::-1]


def a_run_reads_a_file(it: Context) -> None:
    of = _eval(it)
    file = it.loose.files.create(file=("rows.jsonl", jsonl(_content())), purpose="evals").id

    run = _ended(it, of, _run(it, of, {"type": "jsonl", "source": {"type": "file_id", "id": file}}))

    assert (run.status, run.result_counts.passed, run.result_counts.total) == ("completed", 3, 4)
    assert documented.sent(run)["data_source"]["source"] == {"type": "file_id", "id": file}


def a_run_asks_a_model(it: Context) -> None:
    of = _eval(it)

    run = _ended(it, of, _run(it, of, _asking(_content())))

    assert (run.status, run.model, run.result_counts.total) == ("completed", MODEL, 4)
    usage = documented.sent(run)["per_model_usage"]
    assert [one["model_name"] for one in usage] == [MODEL]
    documented.has(usage[0], documented.MODEL_USAGE)
    assert (usage[0]["invocation_count"], usage[0]["completion_tokens"]) == (4, 16)
    item = it.loose.evals.runs.output_items.list(run.id, eval_id=of.id).data[0]
    assert item.sample.model == MODEL
    assert item.sample.input[0].content == "Say number 0"
    assert item.sample.output[0].content


def a_judge_labels_and_scores(it: Context) -> None:
    """Random weights make no label: the row counts as failed or as not graded, and the run comes to its end."""
    label = {
        "type": "label_model",
        "name": "label",
        "model": MODEL,
        "input": [{"role": "user", "content": "Is {{ sample.output_text }} good?"}],
        "labels": ["good", "bad"],
        "passing_labels": ["good"],
    }
    of = _eval(it, testing_criteria=[label])

    run = _ended(it, of, _run(it, of, _source(_content(1))))

    assert run.status == "completed"
    assert run.result_counts.total == 1


def runs_are_listed_to_the_end_and_by_status(it: Context) -> None:
    of = _eval(it)
    made = [_ended(it, of, _run(it, of, _source(_content(1)))).id for _ in range(3)]
    runs = it.loose.evals.runs

    assert [one.id for one in runs.list(of.id, limit=2)] == made
    assert [one.id for one in runs.list(of.id, limit=2, order="desc")] == made[::-1]
    assert [one.id for one in runs.list(of.id, status="completed")] == made
    assert not list(runs.list(of.id, status="failed"))
    documented.has(documented.sent(runs.list(of.id).data[0]), documented.EVAL_RUN)


def a_run_is_cancelled_at_the_path_of_each_major(it: Context) -> None:
    """1.x and 2.x post to the run itself, 3.x to its /cancel."""
    of = _eval(it)
    run = _run(it, of, _asking(_content(300)))

    cancelled = it.loose.evals.runs.cancel(run.id, eval_id=of.id)

    documented.has(documented.sent(cancelled), documented.EVAL_RUN)
    assert cancelled.status in ("canceled", "in_progress")
    assert _ended(it, of, run).status == "canceled"
    assert it.loose.evals.runs.cancel(run.id, eval_id=of.id).status == "canceled"


def a_run_that_has_ended_cannot_be_cancelled(it: Context) -> None:
    of, run = _graded(it)

    with it.lossy() as (client, relay):
        refused(lambda: client.evals.runs.cancel(run.id, eval_id=of.id), 400)

    assert len(relay.heard) == 1


def a_deleted_run_is_gone(it: Context) -> None:
    of = _eval(it)
    run = _ended(it, of, _run(it, of, _source(_content(1))))

    gone = documented.whole(it.client.evals.runs.delete(run.id, eval_id=of.id), documented.RUN_DELETED)

    assert (gone.deleted, gone.run_id, gone.object) == (True, run.id, "eval.run.deleted")
    refused(lambda: it.loose.evals.runs.retrieve(run.id, eval_id=of.id), 404, "not_found", "run_id")


def lost_replies_make_nothing_twice(it: Context) -> None:
    name = it.unique("lost")
    with it.lossy("/evals") as (client, relay):
        of = client.evals.create(name=name, data_source_config=ROWS, testing_criteria=[EXACT])
    with it.lossy(f"/evals/{of.id}/runs") as (client, later):
        run = client.evals.runs.create(of.id, data_source=_source(_content(1)))

    assert [one.retry for one in [*relay.heard, *later.heard]] == [0, 1] * 2
    assert [one.id for one in it.client.evals.list(limit=100) if one.name == name] == [of.id]
    assert [one.id for one in it.loose.evals.runs.list(of.id)] == [run.id]


def a_lost_reply_to_a_deletion_is_told_again(it: Context) -> None:
    of = _eval(it)
    run = _ended(it, of, _run(it, of, _source(_content(1))))

    with it.lossy(f"/evals/{of.id}/runs/{run.id}", f"/evals/{of.id}") as (client, relay):
        assert client.evals.runs.delete(run.id, eval_id=of.id).deleted
        assert client.evals.delete(of.id).deleted

    assert [(one.retry, one.status) for one in relay.heard] == [(0, 200), (1, 200)] * 2


def a_lost_reply_to_a_cancellation_is_told_again(it: Context) -> None:
    of = _eval(it)
    run = _run(it, of, _asking(_content(300)))
    place = f"/evals/{of.id}/runs/{run.id}"

    with it.lossy(place, f"{place}/cancel") as (client, relay):
        client.evals.runs.cancel(run.id, eval_id=of.id)

    assert [(one.retry, one.status) for one in relay.heard] == [(0, 200), (1, 200)]
    assert _ended(it, of, run).status == "canceled"


def another_teams_evals_are_not_there(it: Context) -> None:
    of, run = _graded(it)
    stranger = it.stranger.evals
    item = it.loose.evals.runs.output_items.list(run.id, eval_id=of.id).data[0].id

    for call in (
        lambda: stranger.retrieve(of.id),
        lambda: stranger.update(of.id, name="mine"),
        lambda: stranger.delete(of.id),
        lambda: stranger.runs.list(of.id),
        lambda: stranger.runs.create(of.id, data_source=_source(_content(1))),
        lambda: stranger.runs.retrieve(run.id, eval_id=of.id),
        lambda: stranger.runs.cancel(run.id, eval_id=of.id),
        lambda: stranger.runs.delete(run.id, eval_id=of.id),
        lambda: stranger.runs.output_items.list(run.id, eval_id=of.id),
        lambda: stranger.runs.output_items.retrieve(item, eval_id=of.id, run_id=run.id),
    ):
        refused(call, 404, "not_found", "eval_id")
    assert of.id not in [one.id for one in stranger.list()]


def a_key_that_only_reads_changes_nothing(it: Context) -> None:
    of, run = _graded(it)
    reader = it.with_scope("reader").evals

    assert reader.retrieve(of.id).id == of.id
    assert reader.runs.output_items.list(run.id, eval_id=of.id).data
    refused(lambda: reader.create(data_source_config=ROWS, testing_criteria=[EXACT]), 403)
    refused(lambda: reader.runs.create(of.id, data_source=_source(_content(1))), 403)
    refused(lambda: reader.delete(of.id), 403)


def what_cannot_be_is_refused_by_its_field(it: Context) -> None:
    of, _ = _graded(it)
    runs = it.client.evals.runs
    content = "data_source.source.content"

    refused(lambda: _eval(it, testing_criteria=[{**EXACT, "operation": "resembles"}]), 400)
    refused(lambda: _eval(it, testing_criteria=[]), 400, param="testing_criteria")
    refused(lambda: _eval(it, data_source_config={"type": "logs"}), 400, param="data_source_config.type")
    refused(lambda: _eval(it, data_source_config={"type": "custom"}), 400, param="data_source_config.item_schema")
    refused(lambda: _eval(it, metadata={f"k{n}": "v" for n in range(17)}), 400, param="metadata")
    refused(lambda: runs.create(of.id, data_source={"type": "magic"}), 400, param="data_source.type")  # type: ignore[arg-type]
    refused(lambda: runs.create(of.id, data_source=_source([])), 400, param=content)
    told = refused(lambda: runs.create(of.id, data_source=_source([{"item": {"question": "no answer"}}])), 400)
    assert told["param"].startswith(content), told
    nobody = _asking(_content(1), model="nobody")
    refused(lambda: runs.create(of.id, data_source=nobody), 404, "model_not_found", "data_source.model")
    file = {"type": "jsonl", "source": {"type": "file_id", "id": "file-nothing"}}
    refused(lambda: runs.create(of.id, data_source=file), 404, param="data_source.source.id")  # type: ignore[arg-type]
    refused(lambda: it.client.evals.list(order_by="name"), 400, param="order_by")  # type: ignore[arg-type]
    refused(lambda: it.client.evals.list(after="eval_nothing"), 400, param="after")
    refused(lambda: it.loose.evals.runs.list(of.id, status="asleep"), 400, param="status")  # type: ignore[arg-type]


def a_job_has_an_eval_with_a_run_for_every_validation(it: Context) -> None:
    job = it.finished()
    of = job.to_dict()["eval_id"]

    runs = list(it.loose.evals.runs.list(of))

    documented.has(documented.sent(it.loose.evals.retrieve(of)), documented.EVAL)
    assert {run.eval_id for run in runs} == {of}
    assert {run.status for run in runs} == {"completed"}
