"""The official client's evals against a live server, with a model server behind it that repeats the question."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from flywheel.openai_compat import ids, lists
from tasks.graders import judges
from tasks.services import files
from tasks.states import Scope
from tests import cast, world
from tests.cast import Person
from tests.fakes import judge, model_server
from tests.fakes.judge import FakeJudge
from tests.fakes.model_server import FakeModelServer
from trainer.models import EvalItem, EvalRun, ModelVersion
from trainer.services import eval_running

ITEM = {
    "type": "object",
    "properties": {"question": {"type": "string"}, "answer": {"type": "string"}},
    "required": ["question", "answer"],
}
CONFIG: Any = {"type": "custom", "item_schema": ITEM, "include_sample_schema": True}
SAYS: Any = {
    "type": "string_check",
    "name": "says it",
    "operation": "eq",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
}
ASKED: Any = {"type": "template", "template": [{"role": "user", "content": "{{ item.question }}"}]}


def item(question: str, answer: str) -> dict[str, Any]:
    return {"question": question, "answer": answer}


def answered(*pairs: tuple[str, str]) -> Any:
    """Rows that bring their samples: (said, wanted)."""
    content = [{"item": item("?", wanted), "sample": {"output_text": said}} for said, wanted in pairs]
    return {"type": "jsonl", "source": {"type": "file_content", "content": content}}


def asking(*pairs: tuple[str, str], **more: Any) -> Any:
    """Rows that the base is asked about; it answers with the question."""
    content = [{"item": item(question, answer)} for question, answer in pairs]
    source = {"type": "file_content", "content": content}
    return {"type": "completions", "model": "carla-sums", "input_messages": ASKED, "source": source, **more}


@pytest.fixture
def served(settings: Any) -> Iterator[FakeModelServer]:
    with model_server.running() as fake:
        settings.MODEL_SERVER_URL = fake.url
        settings.MODEL_SERVER_TOKEN = "the token"
        yield fake


@pytest.fixture
def carla(transactional_db: None) -> Person:
    return cast.of_own_team("carla")


@pytest.fixture
def expert(carla: Person) -> ModelVersion:
    return world.line_of(carla, "carla-sums")[1]


@pytest.fixture
def client(carla: Person, live_server: Any) -> openai.OpenAI:
    return of(carla, live_server)


def of(person: Person, live_server: Any, secret: str = "") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live_server.url}/openai/v1", api_key=secret or person.secret, max_retries=0)


def made(client: openai.OpenAI, *criteria: Any, **more: Any) -> Any:
    return client.evals.create(
        **{"name": "Sums", "data_source_config": CONFIG, "testing_criteria": list(criteria or [SAYS]), **more}
    )


def done(client: openai.OpenAI, of: Any, source: Any, **more: Any) -> Any:
    """A run that the worker has worked on."""
    run = client.evals.runs.create(of.id, data_source=source, **more)
    eval_running.run_eval(EvalRun.objects.latest("pk").pk)
    return client.evals.runs.retrieve(run.id, eval_id=of.id)


def refused(call: Any, kind: type[openai.APIStatusError] = openai.BadRequestError) -> openai.APIStatusError:
    with pytest.raises(kind) as caught:
        call()
    return caught.value


# Evals


def test_an_eval_is_told_with_ids_and_the_schema_of_its_rows(client: openai.OpenAI):
    found = client.evals.retrieve(made(client, metadata={"usecase": "sums"}).id)

    assert found.id.startswith("eval_")
    assert (found.object, found.name, found.metadata) == ("eval", "Sums", {"usecase": "sums"})
    assert found.data_source_config.schema_["properties"]["item"] == ITEM  # type: ignore[union-attr,index]
    criterion: Any = found.testing_criteria[0]
    assert (criterion.name, criterion.type, criterion.operation) == ("says it", "string_check", "eq")
    assert criterion.id.startswith("says it-")


def test_a_criterion_without_a_name_gets_one(client: openai.OpenAI):
    found = made(client, {key: value for key, value in SAYS.items() if key != "name"})

    assert found.testing_criteria[0].name.startswith("string_check-")


def test_an_eval_is_renamed_and_keeps_what_was_not_given(client: openai.OpenAI):
    eval_id = made(client, metadata={"usecase": "sums"}).id

    found = client.evals.update(eval_id, name="Products")

    assert (found.name, found.metadata) == ("Products", {"usecase": "sums"})


def test_a_deleted_eval_is_gone_with_its_runs(client: openai.OpenAI):
    one = made(client)
    run = done(client, one, answered(("1", "1")))

    told = client.evals.delete(one.id)

    assert (told.deleted, told.eval_id, told.object) == (True, one.id, "eval.deleted")
    refused(lambda: client.evals.runs.retrieve(run.id, eval_id=one.id), openai.NotFoundError)
    assert EvalItem.objects.count() == 0


def test_evals_are_listed_in_pages_of_either_order(client: openai.OpenAI):
    names = [made(client, name=name).name for name in "abc"]

    assert [one.name for one in client.evals.list(limit=2)] == names  # the client asks for the second page by itself
    assert [one.name for one in client.evals.list(limit=2, order="desc")] == names[::-1]


def test_evals_are_listed_by_their_last_change_too(client: openai.OpenAI):
    first, _, _ = [made(client, name=name) for name in "abc"]
    client.evals.update(first.id, metadata={"changed": "yes"})

    names = [one.name for one in client.evals.list(limit=1, order="desc", order_by="updated_at")]

    assert names == ["a", "c", "b"]


def test_a_criterion_that_cannot_work_is_named(client: openai.OpenAI):
    fault = refused(lambda: made(client, SAYS, {**SAYS, "operation": "about"}))

    assert fault.param == "testing_criteria[1].operation"


def test_a_threshold_is_needed_for_a_similarity(client: openai.OpenAI):
    similar = {
        "type": "text_similarity",
        "name": "close",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.answer }}",
        "evaluation_metric": "fuzzy_match",
    }

    assert refused(lambda: made(client, similar)).param == "testing_criteria[0].pass_threshold"


def test_cosine_is_refused_in_a_clear_sentence(client: openai.OpenAI):
    similar = {
        "type": "text_similarity",
        "name": "close",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.answer }}",
        "evaluation_metric": "cosine",
        "pass_threshold": 0.8,
    }

    assert "embedding model" in str(refused(lambda: made(client, similar)))


@pytest.mark.parametrize("kind", ["logs", "stored_completions"])
def test_rows_that_are_stored_nowhere_are_refused_by_name(client: openai.OpenAI, kind: str):
    fault = refused(lambda: made(client, data_source_config={"type": kind, "metadata": {}}))

    assert (fault.param, kind in str(fault)) == ("data_source_config.type", True)


def test_a_schema_that_is_none_is_refused(client: openai.OpenAI):
    fault = refused(lambda: made(client, data_source_config={"type": "custom", "item_schema": {"type": "thing"}}))

    assert fault.param == "data_source_config.item_schema"


@pytest.mark.parametrize(
    ("given", "param", "code"),
    [
        ({"data_source_config": {"type": "custom", "item_schema": {"description": "x" * 256_000}}},
         "data_source_config.item_schema", "bad_schema"),
        ({"testing_criteria": [{**SAYS, "reference": "x" * 250_000}] * 4}, "testing_criteria", "bad_criteria"),
    ],
)  # fmt: skip
def test_an_eval_that_would_fill_every_list_is_refused(client: openai.OpenAI, given: Any, param: str, code: str):
    fault = refused(lambda: made(client, **given))

    assert (fault.param, fault.code, "bytes" in str(fault)) == (param, code, True)


def test_a_page_ends_where_its_rows_are_large(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch):
    one = made(client)
    run = done(client, one, answered(*[(letter * 1000, "1") for letter in "abcde"]))
    monkeypatch.setattr(lists, "PAGE_BYTES", 3500)  # an item has some 1600

    page = client.evals.runs.output_items.list(run.id, eval_id=one.id)

    assert ([found.datasource_item_id for found in page.data], page.has_more) == ([0, 1], True)
    assert [found.datasource_item_id for found in page] == [0, 1, 2, 3, 4]  # the client asks for the others by itself


@pytest.mark.parametrize("order_by", ["created_at", "updated_at"])
def test_a_page_has_a_row_however_large(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch, order_by: Any):
    names = [made(client, name=name).name for name in "abc"]
    monkeypatch.setattr(lists, "PAGE_BYTES", 1)

    page = client.evals.list(order_by=order_by)

    assert (len(page.data), page.has_more) == (1, True)
    assert [found.name for found in page] == names


def test_a_character_that_no_row_can_hold_is_refused(client: openai.OpenAI):
    assert "NUL" in str(refused(lambda: made(client, name="a\0b")))


def test_a_key_that_may_only_read_creates_nothing(carla: Person, live_server: Any):
    reading = of(carla, live_server, cast.key(carla.user, carla.team, [Scope.READ]))

    refused(lambda: made(reading), openai.PermissionDeniedError)


def test_the_clients_own_repetition_makes_no_second_eval(carla: Person, client: openai.OpenAI):
    body = {"name": "Sums", "data_source_config": CONFIG, "testing_criteria": [SAYS]}

    first = carla.api.post("/openai/v1/evals", body, format="json").json()
    again = carla.api.post("/openai/v1/evals", body, format="json", headers={"x-stainless-retry-count": "1"}).json()

    assert first["id"] == again["id"]
    assert len(list(client.evals.list())) == 1


# Runs over rows with samples


def test_a_run_counts_what_passed(client: openai.OpenAI):
    one = made(client)

    run = done(client, one, answered(("42", "42"), ("41", "42"), ("7", "7")), name="first")

    assert (run.status, run.name, run.model) == ("completed", "first", None)
    assert run.result_counts.to_dict() == {"total": 3, "passed": 2, "failed": 1, "errored": 0}
    counted: Any = run.per_testing_criteria_results[0]
    assert (counted.testing_criteria, counted.passed, counted.failed) == (one.testing_criteria[0].id, 2, 1)


def test_a_run_is_queued_first(client: openai.OpenAI):
    run = client.evals.runs.create(made(client).id, data_source=answered(("1", "1")))

    assert (run.status, run.result_counts.total, run.error) == ("queued", 1, None)


def test_a_run_leads_to_its_page(client: openai.OpenAI, carla: Person):
    run = done(client, made(client), answered(("1", "1")))

    page = carla.browser.get(run.report_url.partition("8000")[2])

    assert page.status_code == 200


def test_a_run_that_is_asked_for_tells_the_rows_that_it_was_given(client: openai.OpenAI):
    one, rows = made(client), answered(("1", "1"), ("2", "3"))

    run = client.evals.runs.create(one.id, data_source=rows)

    assert client.evals.runs.retrieve(run.id, eval_id=one.id).data_source.to_dict() == rows


def test_a_creation_and_a_list_leave_the_rows_out(client: openai.OpenAI):
    one = made(client)

    run: Any = client.evals.runs.create(one.id, data_source=answered(("1", "1")))

    listed: Any = next(iter(client.evals.runs.list(one.id)))
    assert run.data_source.source.content is listed.data_source.source.content is None


def test_an_output_item_says_what_each_criterion_found(client: openai.OpenAI):
    one = made(client)
    run = done(client, one, answered(("41", "42")))

    (found,) = client.evals.runs.output_items.list(run.id, eval_id=one.id)

    assert (found.object, found.status, found.datasource_item_id) == ("eval.run.output_item", "fail", 0)
    assert found.datasource_item == item("?", "42")
    result: Any = found.results[0]
    assert (result.name, result.type, result.passed, result.score) == (
        one.testing_criteria[0].id,
        "string_check",
        False,
        0.0,
    )
    assert "Expected" in result.reason
    assert found.sample.output[0].content == "41"
    assert client.evals.runs.output_items.retrieve(found.id, eval_id=one.id, run_id=run.id).id == found.id


def test_output_items_are_listed_in_pages_and_by_status(client: openai.OpenAI):
    one = made(client)
    run = done(client, one, answered(*[(str(n % 2), "1") for n in range(5)]))
    items = client.evals.runs.output_items

    places = {
        status: [found.datasource_item_id for found in items.list(run.id, eval_id=one.id, limit=1, status=status)]
        for status in ("pass", "fail")
    }

    assert places == {"pass": [1, 3], "fail": [0, 2, 4]}


def test_an_item_passes_where_every_criterion_does(client: openai.OpenAI):
    short = {"type": "python", "name": "short", "source": "def grade(s, i): return len(s['output_text']) < 3"}

    run = done(client, made(client, SAYS, short), answered(("42", "42"), ("4200", "4200")))

    assert run.result_counts.to_dict() == {"total": 2, "passed": 1, "failed": 1, "errored": 0}


def test_what_cannot_be_graded_has_errored_and_not_failed(client: openai.OpenAI):
    broken = {"type": "python", "name": "broken", "source": "def grade(s, i): return 1 / int(i['answer'])"}

    run = done(client, made(client, broken), answered(("1", "1"), ("0", "0")))

    assert run.result_counts.to_dict() == {"total": 2, "passed": 1, "failed": 0, "errored": 1}


def test_a_multi_and_an_extension_grade_too(client: openai.OpenAI):
    number = {"type": "number", "reference": "{{ item.answer }}", "name": "the number"}
    both = {
        "type": "multi",
        "name": "both",
        "graders": {"a": {**SAYS, "name": "a"}, "b": number},
        "calculate_output": "0.5 * a + 0.5 * b",
        "pass_threshold": 0.5,
    }

    run = done(client, made(client, number, both), answered(("It is 42", "42")))

    assert run.result_counts.passed == 1


def test_a_row_that_does_not_fit_is_named(client: openai.OpenAI):
    one = made(client)
    rows = answered(("1", "1"), ("2", "2"))
    rows["source"]["content"][1]["item"]["answer"] = 2

    fault = refused(lambda: client.evals.runs.create(one.id, data_source=rows))

    assert fault.param == "data_source.source.content[1].item"
    assert "Row 2" in str(fault)


@pytest.mark.parametrize(
    ("source", "param"),
    [
        ({"type": "responses", "source": {"type": "responses"}}, "data_source.type"),
        (asking(source={"type": "stored_completions"}), "data_source.source.type"),
        (asking(source={"type": "file_id", "id": "file-nothing"}), "data_source.source.id"),
        (asking(("1", "1"), model="gpt-4o"), "data_source.model"),
        (asking(("1", "1"), sampling_params={"tools": [{"type": "function"}]}), "data_source.sampling_params.tools"),
        (asking(("1", "1"), sampling_params={"temperature": 3}), "data_source.sampling_params.temperature"),
        (asking(("1", "1"), sampling_params={"reasoning_effort": "x" * 256_000}), "data_source.sampling_params"),
        (asking(("1", "1"), input_messages={**ASKED, "note": "x" * 256_000}), "data_source.input_messages"),
        (asking(("1", "1"), input_messages={"type": "template", "template": []}),
         "data_source.input_messages.template"),
        (asking(("1", "1"), input_messages={"type": "item_reference", "item_reference": "sample.x"}),
         "data_source.input_messages"),
        ({"type": "jsonl"}, "data_source.source"),
    ],
)  # fmt: skip
def test_a_data_source_that_cannot_work_is_refused_by_its_field(
    client: openai.OpenAI, expert: ModelVersion, source: Any, param: str
):
    one = made(client)

    fault = refused(lambda: client.evals.runs.create(one.id, data_source=source), openai.APIStatusError)  # type: ignore[type-abstract]

    assert (fault.status_code in (400, 404), fault.param) == (True, param)


# Runs over answers of a model


def test_a_model_is_asked_about_every_item(client: openai.OpenAI, expert: ModelVersion, served: FakeModelServer):
    sampling = {"temperature": 0.5, "max_completion_tokens": 20, "seed": 3}
    rows = asking(("1 2", "1 2"), ("3", "4"), sampling_params=sampling)

    run = done(client, made(client), rows)

    assert (run.status, run.model, run.result_counts.passed) == ("completed", "carla-sums", 1)
    assert sorted(asked["messages"][0]["content"] for asked in served.asked) == ["1 2", "3"]
    assert {(asked["model"], asked["temperature"], asked["seed"]) for asked in served.asked} == {
        (expert.digest, 0.5, 3)
    }
    (spent,) = run.per_model_usage
    assert (spent.run_model_name, spent.invocation_count, spent.prompt_tokens) == ("carla-sums", 2, 6)


def test_an_output_item_shows_what_was_asked_and_answered(
    client: openai.OpenAI, expert: ModelVersion, served: FakeModelServer
):
    one = made(client)
    run = done(client, one, asking(("1 2", "1 2"), sampling_params={"temperature": 0.5}))

    (found,) = client.evals.runs.output_items.list(run.id, eval_id=one.id)

    sample = found.sample
    assert (sample.input[0].content, sample.output[0].content) == ("1 2", "1 2")
    assert (sample.model, sample.finish_reason, sample.temperature, sample.error) == ("carla-sums", "stop", 0.5, None)
    assert sample.usage.total_tokens == 5


def test_an_item_may_hold_its_messages(client: openai.OpenAI, expert: ModelVersion, served: FakeModelServer):
    trajectory = [{"role": "system", "content": "Repeat."}, {"role": "user", "content": "7"}]
    row = {"item": {**item("?", "7"), "trajectory": trajectory}}
    reference = {"type": "item_reference", "item_reference": "item.trajectory"}
    source = {"type": "file_content", "content": [row]}

    run = done(client, made(client), asking(source=source, input_messages=reference))

    assert (run.result_counts.passed, served.asked[0]["messages"]) == (1, trajectory)


def test_a_template_fills_data_in_once(client: openai.OpenAI, expert: ModelVersion, served: FakeModelServer):
    done(client, made(client), asking(("{{ item.answer }}", "secret")))

    assert served.asked[0]["messages"] == [{"role": "user", "content": "{{ item.answer }}"}]


def test_a_parameter_that_the_model_server_refuses_fails_the_run(
    client: openai.OpenAI, expert: ModelVersion, served: FakeModelServer
):
    run = done(client, made(client), asking(("1", "1"), sampling_params={"max_completion_tokens": 1000}))

    assert (run.status, run.result_counts.errored) == ("failed", 0)
    assert "At most 100 tokens" in run.error.message


def test_what_the_model_server_refuses_of_one_item_is_an_error_of_that_item(
    client: openai.OpenAI, expert: ModelVersion, served: FakeModelServer
):
    one = made(client)
    reference = {"type": "item_reference", "item_reference": "item.trajectory"}
    rows = [
        {"item": {**item("?", "7"), "trajectory": [{"role": "user", "content": "7"}]}},
        {"item": {**item("?", "7"), "trajectory": "none"}},
    ]
    source = asking(source={"type": "file_content", "content": rows}, input_messages=reference)

    run = done(client, one, source)

    assert run.result_counts.to_dict() == {"total": 2, "passed": 1, "failed": 0, "errored": 1}
    (found,) = client.evals.runs.output_items.list(run.id, eval_id=one.id, status="error")  # type: ignore[arg-type]
    assert (found.sample.error.code, found.sample.finish_reason) == ("bad_messages", "error")


@pytest.fixture
def judging() -> Iterator[FakeJudge]:
    with judge.running() as fake, judges.using(fake.judges()):
        yield fake


def test_judges_score_in_their_range_and_are_counted(client: openai.OpenAI, judging: FakeJudge):
    judging.answers = lambda body: judge.score(5)
    scored = {
        "type": "score_model",
        "name": "helpful",
        "model": "wise",
        "input": [{"role": "user", "content": "{{ sample.output_text }}"}],
        "range": [1, 7],
        "pass_threshold": 5,
    }
    stored = eval_of(client, scored)

    run = done(client, stored, answered(("42", "42")))

    (found,) = client.evals.runs.output_items.list(run.id, eval_id=stored.id)
    assert (found.status, found.results[0].score) == ("pass", 5.0)
    assert [(spent.run_model_name, spent.total_tokens) for spent in run.per_model_usage] == [("wise", 18)]


def test_a_label_of_those_that_pass_passes(client: openai.OpenAI, judging: FakeJudge):
    judging.answers = lambda body: judge.Reply(
        {"steps": [], "label": "right" if "42" in judge.last_text(body) else "wrong"}
    )
    labelled = {
        "type": "label_model",
        "name": "label",
        "model": "wise",
        "input": [{"role": "user", "content": {"type": "input_text", "text": "{{ sample.output_text }}"}}],
        "labels": ["right", "wrong"],
        "passing_labels": ["right"],
    }

    run = done(client, eval_of(client, labelled), answered(("42", "42"), ("41", "42")))

    assert (run.result_counts.passed, run.result_counts.failed) == (1, 1)


def eval_of(client: openai.OpenAI, criterion: Any) -> Any:
    """One with a judge: the server's threads know only those of the settings, so it is created in this one."""
    one = made(client)
    from trainer.models import Eval

    stored = Eval.objects.latest("pk")
    (kept,) = stored.criteria
    Eval.objects.filter(pk=stored.pk).update(
        criteria=[{"key": kept["key"], "name": criterion["name"], "grader": criterion}]
    )
    return one


def test_a_judge_that_nobody_knows_is_refused(client: openai.OpenAI):
    scored = {
        "type": "score_model",
        "name": "helpful",
        "model": "gpt-nowhere",
        "input": [{"role": "user", "content": "{{ sample.output_text }}"}],
    }

    assert refused(lambda: made(client, scored)).param.startswith("testing_criteria[0]")  # type: ignore[union-attr]


def test_the_rows_may_stand_in_a_file(client: openai.OpenAI, carla: Person, settings: Any, tmp_path: Any):
    settings.MEDIA_ROOT = tmp_path
    lines = b'{"item": {"question": "?", "answer": "1"}, "sample": {"output_text": "1"}}\n'
    file = files.store(carla.team, [lines], filename="rows.jsonl", purpose="evals", actor=carla.user)
    source = {"type": "file_id", "id": ids.encode(ids.FILE, file.pk)}

    run: Any = done(client, made(client), {"type": "jsonl", "source": source})

    assert (run.status, run.result_counts.passed, run.data_source.source.id) == ("completed", 1, source["id"])


def test_another_teams_file_is_not_there(client: openai.OpenAI, settings: Any, tmp_path: Any):
    settings.MEDIA_ROOT = tmp_path
    sven = cast.of_own_team("sven")
    file = files.store(sven.team, [b"{}"], filename="rows.jsonl", purpose="evals", actor=sven.user)
    one, source = made(client), {"type": "file_id", "id": ids.encode(ids.FILE, file.pk)}

    fault = refused(
        lambda: client.evals.runs.create(one.id, data_source={"type": "jsonl", "source": source}),  # type: ignore[typeddict-item]
        openai.NotFoundError,
    )

    assert fault.param == "data_source.source.id"


# Cancelling, deleting, listing runs


@pytest.mark.parametrize("path", ["", "/cancel"])
def test_a_run_is_cancelled_at_both_paths(client: openai.OpenAI, carla: Person, path: str):
    one = made(client)
    run = client.evals.runs.create(one.id, data_source=answered(("1", "1")))

    told = carla.api.generic("POST", f"/openai/v1/evals/{one.id}/runs/{run.id}{path}", content_type="application/json")
    again = client.evals.runs.cancel(run.id, eval_id=one.id)

    assert (told.json()["status"], again.status) == ("canceled", "canceled")


def test_a_run_that_is_through_cannot_be_cancelled(client: openai.OpenAI):
    one = made(client)
    run = done(client, one, answered(("1", "1")))

    assert refused(lambda: client.evals.runs.cancel(run.id, eval_id=one.id)).code == "run_ended"


def test_a_cancelled_run_is_not_worked_on(client: openai.OpenAI):
    one = made(client)
    run = client.evals.runs.create(one.id, data_source=answered(("1", "1")))
    client.evals.runs.cancel(run.id, eval_id=one.id)

    eval_running.run_eval(EvalRun.objects.latest("pk").pk)

    assert client.evals.runs.retrieve(run.id, eval_id=one.id).status == "canceled"


def test_a_run_is_deleted(client: openai.OpenAI):
    one = made(client)
    run = done(client, one, answered(("1", "1")))

    told = client.evals.runs.delete(run.id, eval_id=one.id)

    assert (told.deleted, told.run_id, told.object) == (True, run.id, "eval.run.deleted")
    assert list(client.evals.runs.list(one.id)) == []


def test_runs_are_listed_by_status(client: openai.OpenAI):
    one = made(client)
    through = done(client, one, answered(("1", "1")))
    waiting = client.evals.runs.create(one.id, data_source=answered(("1", "1")))
    runs = client.evals.runs

    assert [run.id for run in runs.list(one.id, status="completed")] == [through.id]
    assert [run.id for run in runs.list(one.id, order="desc", limit=1)] == [waiting.id, through.id]


# Strangers


def test_a_stranger_finds_nothing(carla: Person, client: openai.OpenAI, live_server: Any):
    one = made(client)
    run = done(client, one, answered(("1", "1")))
    sven = of(cast.of_own_team("sven"), live_server)
    (found,) = client.evals.runs.output_items.list(run.id, eval_id=one.id)
    mine = made(sven)
    world.line_of(carla, "carla-sums")

    for call in (
        lambda: sven.evals.retrieve(one.id),
        lambda: sven.evals.update(one.id, name="mine"),
        lambda: sven.evals.delete(one.id),
        lambda: sven.evals.runs.create(one.id, data_source=answered(("1", "1"))),
        lambda: sven.evals.runs.retrieve(run.id, eval_id=one.id),
        lambda: sven.evals.runs.retrieve(run.id, eval_id=mine.id),
        lambda: sven.evals.runs.cancel(run.id, eval_id=one.id),
        lambda: sven.evals.runs.delete(run.id, eval_id=mine.id),
        lambda: sven.evals.runs.output_items.retrieve(found.id, eval_id=one.id, run_id=run.id),
        lambda: sven.evals.runs.create(mine.id, data_source=asking(("1", "1"))),
        lambda: sven.evals.retrieve("eval_nonsense"),
    ):
        refused(call, openai.NotFoundError)
    assert [one.id for one in sven.evals.list()] == [mine.id]
