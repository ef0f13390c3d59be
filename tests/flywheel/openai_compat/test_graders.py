"""The official client validates and runs graders against a live server; judges are on real sockets."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tasks.errors import TooSlow
from tasks.graders import judges, judging, registry
from tasks.sandbox.protocol import Unavailable
from tasks.services import trying
from tests import cast
from tests.cast import Person
from tests.fakes import judge
from tests.fakes.judge import FakeJudge, Reply, error, score

RUN, VALIDATE = "/openai/v1/fine_tuning/alpha/graders/run", "/openai/v1/fine_tuning/alpha/graders/validate"
OUTPUT = "{{ sample.output_text }}"
EQUAL = {"type": "string_check", "name": "equal", "input": OUTPUT, "reference": "{{ item.answer }}", "operation": "eq"}
NEAR = {
    "type": "text_similarity",
    "name": "near",
    "input": OUTPUT,
    "reference": "{{ item.answer }}",
    "evaluation_metric": "fuzzy_match",
}
JUDGED = {"type": "score_model", "name": "clear", "model": "gpt-judge", "input": [{"role": "user", "content": OUTPUT}]}
LABELLED = {
    "type": "label_model",
    "name": "tone",
    "model": "gpt-judge",
    "input": [{"role": "user", "content": OUTPUT}],
    "labels": ["kind", "rude"],
    "passing_labels": ["kind"],
}
PYTHON = {"type": "python", "name": "own", "source": "def grade(sample, item):\n    return item['share']\n"}


def multi(formula: str, **graders: Any) -> dict[str, Any]:
    return {"type": "multi", "name": "all", "graders": graders, "calculate_output": formula}


@pytest.fixture
def contributor(transactional_db: None) -> Person:
    return cast.of_own_team("carla")


@pytest.fixture
def graders(contributor: Person, live_server: Any) -> Any:
    base = f"{live_server.url}/openai/v1"
    return openai.OpenAI(base_url=base, api_key=contributor.secret, max_retries=0).fine_tuning.alpha.graders


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeJudge]:
    """The judge of every model, for the threads of the live server too."""
    judging._without_format.clear()
    with judge.running() as fake:
        known = fake.judges()
        monkeypatch.setattr(judges, "of_this_process", lambda: known)
        yield fake


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "SECONDS", 60.0)  # workers that start on a busy machine


def post(person: Person, path: str, **body: Any) -> Any:
    return person.api.post(path, body, format="json")


def raised_flags(errors: Any) -> set[str]:
    """The booleans that are set."""
    told = errors if isinstance(errors, dict) else errors.to_dict()
    return {name for name, value in told.items() if value is True}


# validate


def test_a_valid_grader_comes_back_as_the_clients_own_type(graders: Any):
    found = graders.validate(grader=EQUAL).grader

    assert isinstance(found, openai.types.graders.StringCheckGrader)
    assert found.to_dict() == EQUAL


@pytest.mark.parametrize("grader", [NEAR, PYTHON, multi("0.5 * a + 0.5 * b", a=EQUAL, b=NEAR)], ids=lambda g: g["type"])
def test_what_is_complete_comes_back_as_it_was_sent(contributor: Person, patient: None, grader: dict[str, Any]):
    assert post(contributor, VALIDATE, grader=grader).json() == {"grader": grader}


def test_a_judge_comes_back_with_its_range(graders: Any, asked: FakeJudge):
    found = graders.validate(grader=JUDGED).grader

    assert isinstance(found, openai.types.graders.ScoreModelGrader)
    assert (found.range, found.name) == ([0, 1], "clear")


def test_a_grader_without_a_name_gets_the_same_one_each_time(graders: Any):
    unnamed = {key: value for key, value in EQUAL.items() if key != "name"}

    names = {graders.validate(grader=unnamed).grader.name for _ in range(2)}

    assert len(names) == 1
    assert names.pop().startswith("string_check-")


def test_a_child_without_a_name_is_called_by_its_key(contributor: Person):
    unnamed = {key: value for key, value in EQUAL.items() if key != "name"}

    told = post(contributor, VALIDATE, grader=multi("same", same=unnamed)).json()["grader"]

    assert told["graders"]["same"]["name"] == "same"


def test_a_multi_of_one_grader_without_a_key_reads_it_by_its_name(contributor: Person):
    """The client's newer types say so."""
    grader = {"type": "multi", "name": "all", "graders": EQUAL, "calculate_output": "equal"}

    told = post(contributor, VALIDATE, grader=grader).json()["grader"]

    assert told["graders"] == {"equal": EQUAL}


def test_what_a_clients_dump_holds_as_null_counts_as_not_given(contributor: Person, asked: FakeJudge):
    message = {"role": "user", "content": OUTPUT, "type": None}
    dumped = {**JUDGED, "input": [message], "range": None, "sampling_params": None}

    assert post(contributor, VALIDATE, grader=dumped).status_code == 200


def test_a_multi_that_the_client_has_read_may_be_sent_back(graders: Any):
    """It reads the reply as the first type of its union, and dumps that one's fields as null."""
    read = graders.validate(grader=multi("a", a=EQUAL)).grader

    assert graders.validate(grader=read.model_dump()).grader.to_dict() == multi("a", a=EQUAL)


def test_every_kind_of_text_part_is_accepted(contributor: Person, asked: FakeJudge):
    hint = {"mode": "explicit"}
    parts = [
        OUTPUT,
        {"type": "input_text", "text": "a", "prompt_cache_breakpoint": hint},
        {"type": "output_text", "text": "b"},
    ]
    grader = {**JUDGED, "input": [{"role": "developer", "content": parts}]}

    assert post(contributor, VALIDATE, grader=grader).status_code == 200


@pytest.mark.parametrize(
    "kind", [kind for kind in registry.types() if kind not in ("label_model", "python", "code", "reasoning_gym")]
)
def test_every_type_of_ours_is_accepted_too(contributor: Person, asked: FakeJudge, patient: None, kind: str):
    grader = registry.modules()[kind].EXAMPLE["grader"]

    told = post(contributor, VALIDATE, grader=grader)

    assert (told.status_code, told.json()["grader"]["type"], bool(told.json()["grader"]["name"])) == (200, kind, True)


IMAGE = {"type": "input_image", "image_url": "https://example.com/a.png"}


@pytest.mark.parametrize(
    ("grader", "code", "param"),
    [
        ({**EQUAL, "type": "string_chek"}, "unknown_grader", "grader.type"),
        ({"type": ["string_check"]}, "unknown_grader", "grader.type"),
        ({}, "unknown_grader", "grader.type"),
        ({**EQUAL, "operation": "is"}, "bad_grader", "grader.operation"),
        ({"type": "string_check", "input": "", "reference": ""}, "bad_grader", "grader.operation"),
        ({**EQUAL, "case": "fold"}, "bad_grader", "grader.case"),
        ({**EQUAL, "input": "{{ reply }}"}, "bad_grader", "grader.input"),
        ({**NEAR, "evaluation_metric": "cosine"}, "bad_grader", "grader.evaluation_metric"),
        ({**PYTHON, "source": ""}, "bad_grader", "grader.source"),
        ({**JUDGED, "range": [1, 0]}, "bad_grader", "grader.range"),
        ({**JUDGED, "sampling_params": {"n": 2}}, "bad_grader", "grader.sampling_params.n"),
        ({**JUDGED, "input": [{"role": "user", "content": [IMAGE]}]}, "bad_grader", "grader.input[0].content[0]"),
        ({**JUDGED, "input": [{"role": "user", "content": IMAGE}]}, "bad_grader", "grader.input[0].content"),
        (LABELLED, "bad_grader", "grader.type"),
        (multi("a", a=multi("b", b=EQUAL)), "bad_grader", "grader.graders.a"),
        (multi("a", a={**EQUAL, "operation": "is"}), "bad_grader", "grader.graders.a.operation"),
        (multi("a +", a=EQUAL), "bad_grader", "grader.calculate_output"),
        (multi("b", a=EQUAL), "bad_grader", "grader.calculate_output"),
        ({**multi("a", a=EQUAL), "graders": "a"}, "bad_grader", "grader.graders"),
    ],
)
def test_a_bad_grader_is_refused_and_names_its_field(contributor: Person, grader: Any, code: str, param: str):
    for path, more in ((VALIDATE, {}), (RUN, {"model_sample": "x"})):
        reply = post(contributor, path, grader=grader, **more)

        told = reply.json()["error"]
        assert (reply.status_code, told["type"], told["code"], told["param"]) == (
            400, "invalid_request_error", code, param,
        )  # fmt: skip


def test_source_that_does_not_compile_is_refused(contributor: Person, patient: None):
    reply = post(contributor, VALIDATE, grader={**PYTHON, "source": "def grade(sample, item)\n    return 1\n"})

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_grader")


def test_the_client_raises_what_it_raises_elsewhere(graders: Any):
    with pytest.raises(openai.BadRequestError) as refused:
        graders.validate(grader={**EQUAL, "operation": "is"})

    assert (refused.value.code, refused.value.param) == ("bad_grader", "grader.operation")


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        (VALIDATE, {}, "missing_required_parameter", "grader"),
        (VALIDATE, {"grader": "string_check"}, "invalid_value", "grader"),
        (RUN, {"grader": EQUAL}, "missing_required_parameter", "model_sample"),
        (RUN, {"grader": EQUAL, "model_sample": 7}, "invalid_value", "model_sample"),
        (RUN, {"grader": EQUAL, "model_sample": "7", "item": [7]}, "invalid_value", "item"),
        (RUN, {"grader": EQUAL, "model_sample": "7", "sample": {}}, "unknown_parameter", "sample"),
    ],
)
def test_a_body_that_cannot_be_right_names_its_parameter(
    contributor: Person, path: str, body: dict[str, Any], code: str, param: str
):
    reply = post(contributor, path, **body)

    assert (reply.status_code, reply.json()["error"]["code"], reply.json()["error"]["param"]) == (400, code, param)


# run


def test_a_sample_is_graded(graders: Any):
    found = graders.run(grader=EQUAL, model_sample="Paris", item={"answer": "Paris"})

    assert (found.reward, found.sub_rewards, found.metadata.name, found.metadata.type) == (
        1.0, {}, "equal", "string_check",
    )  # fmt: skip
    assert (found.metadata.token_usage, found.metadata.sampled_model_name) == (None, None)
    assert found.api_model_grader_token_usage_per_model == {}


def test_every_documented_flag_is_told_and_false_where_nothing_went_wrong(contributor: Person):
    told = post(contributor, RUN, grader=EQUAL, model_sample="Paris", item={"answer": "Rome"}).json()

    errors = told["metadata"]["errors"]
    assert {name for name, value in errors.items() if value is False} == {
        "formula_parse_error", "sample_parse_error", "truncated_observation_error", "unresponsive_reward_error",
        "invalid_variable_error", "other_error", "python_grader_server_error", "python_grader_runtime_error",
        "model_grader_server_error", "model_grader_refusal_error", "model_grader_parse_error",
    }  # fmt: skip
    assert {name for name, value in errors.items() if value is None} == {
        "python_grader_server_error_type", "python_grader_runtime_error_details", "model_grader_server_error_details",
    }  # fmt: skip


def test_the_reply_is_what_the_clients_types_say(contributor: Person):
    told = post(contributor, RUN, grader=EQUAL, model_sample="Paris", item={"answer": "Rome"}).json()

    parsed = openai.types.fine_tuning.alpha.GraderRunResponse.model_validate(told, strict=True)

    assert (parsed.reward, parsed.metadata.errors.other_error) == (0.0, False)


@pytest.mark.parametrize("given", [{}, {"item": None}, {"item": {}}], ids=["missing", "null", "empty"])
def test_an_item_may_be_missing(contributor: Person, given: dict[str, Any]):
    told = post(contributor, RUN, grader={**EQUAL, "reference": "Paris"}, model_sample="Paris", **given).json()

    assert told["reward"] == 1.0


def test_a_variable_that_the_item_lacks_is_told(graders: Any):
    found = graders.run(grader=EQUAL, model_sample="Paris", item={})

    assert (found.reward, raised_flags(found.metadata.errors)) == (0.0, {"invalid_variable_error"})


IN_JSON = {**EQUAL, "input": "{{ sample.output_json.cities[0].name }}"}


@pytest.mark.parametrize(
    ("sample", "reward", "flags"),
    [
        ('{"cities": [{"name": "Paris"}]}', 1.0, set()),
        ('{"cities": [{"name": "Rome"}]}', 0.0, set()),
        ('{"cities": []}', 0.0, {"invalid_variable_error"}),
        ("Paris", 0.0, {"sample_parse_error"}),
        ("", 0.0, {"sample_parse_error"}),
        ("[" * 100_000, 0.0, {"sample_parse_error"}),
    ],
)
def test_a_field_of_a_samples_json_is_graded(contributor: Person, sample: str, reward: float, flags: set[str]):
    told = post(contributor, RUN, grader=IN_JSON, model_sample=sample, item={"answer": "Paris"}).json()

    assert (told["reward"], raised_flags(told["metadata"]["errors"])) == (reward, flags)


@pytest.mark.parametrize("sample", ["half", "\ud800"])
def test_half_a_surrogate_pair_breaks_nothing(contributor: Person, sample: str):
    body = json.dumps({"grader": EQUAL, "model_sample": sample, "item": {"answer": "\ud800"}})

    reply = contributor.api.post(RUN, body, content_type="application/json")

    assert (reply.status_code, reply.json()["reward"]) == (200, float(sample == "\ud800"))


def test_a_multi_tells_what_each_child_earned(graders: Any):
    found = graders.run(
        grader=multi("0.5 * a + 0.5 * b", a=EQUAL, b=NEAR), model_sample="pari", item={"answer": "Pari"}
    )

    assert (found.reward, found.sub_rewards) == (0.375, {"a": 0.0, "b": 0.75})
    assert found.metadata.scores == found.sub_rewards


def test_a_formula_without_a_value_is_told(contributor: Person):
    grader = multi("a / (1 - a)", a=EQUAL)

    told = post(contributor, RUN, grader=grader, model_sample="x", item={"answer": "x"}).json()

    assert (told["reward"], raised_flags(told["metadata"]["errors"])) == (0.0, {"formula_parse_error"})


def test_a_child_that_cannot_grade_has_no_reward_and_its_flag(contributor: Person):
    grader = multi("a + b", a=EQUAL, b={**EQUAL, "reference": "{{ item.other }}"})

    told = post(contributor, RUN, grader=grader, model_sample="x", item={"answer": "x"}).json()

    assert (told["reward"], told["sub_rewards"]) == (0.0, {"a": 1.0, "b": 0.0})
    assert raised_flags(told["metadata"]["errors"]) == {"invalid_variable_error"}


def test_a_reference_that_cannot_be_used_is_no_wrong_answer(contributor: Person):
    told = post(contributor, RUN, grader=NEAR, model_sample="x", item={"answer": ""}).json()

    assert (told["reward"], raised_flags(told["metadata"]["errors"])) == (0.0, {"other_error"})
    assert told["metadata"]["reason"] == "The reference is empty."


# Judges


def test_a_judges_number_is_the_reward_in_its_range(graders: Any, asked: FakeJudge):
    asked.answers = [score(7)]

    found = graders.run(grader={**JUDGED, "range": [1, 10]}, model_sample="Tides.", item={})

    assert (found.reward, found.metadata.sampled_model_name, found.metadata.token_usage) == (7.0, "gpt-judge", 18)
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    assert found.api_model_grader_token_usage_per_model == {"gpt-judge": usage}


def test_a_judges_number_is_clamped_to_its_range(contributor: Person, asked: FakeJudge):
    asked.answers = [score(70)]

    told = post(contributor, RUN, grader={**JUDGED, "range": [1, 10]}, model_sample="Tides.").json()

    assert told["reward"] == 10.0


def test_a_judge_is_asked_for_a_result_after_steps(contributor: Person, asked: FakeJudge):
    asked.answers = [score(1)]

    post(contributor, RUN, grader=JUDGED, model_sample="Tides.")

    schema = asked.asked[0]["response_format"]["json_schema"]["schema"]
    assert (schema["required"], schema["properties"]["result"]) == (["steps", "result"], {"type": "number"})
    assert set(schema["properties"]["steps"]["items"]["properties"]) == {"description", "conclusion"}


def test_a_formula_reads_a_judge_in_the_units_of_its_range(contributor: Person, asked: FakeJudge):
    """As it was written for OpenAI."""
    asked.answers = [score(4)]
    grader = multi("floor(clear) / 10", clear={**JUDGED, "range": [1, 10]})

    told = post(contributor, RUN, grader=grader, model_sample="Tides.").json()

    assert (told["reward"], told["sub_rewards"]) == (0.4, {"clear": 4.0})


def test_a_label_counts_inside_a_multi(contributor: Person, asked: FakeJudge):
    asked.answers = [Reply({"steps": [], "label": "kind"})]

    told = post(contributor, RUN, grader=multi("tone", tone=LABELLED), model_sample="Please.").json()

    assert (told["reward"], told["metadata"]["sampled_model_name"]) == (1.0, "gpt-judge")


@pytest.mark.parametrize(
    ("answer", "flag"),
    [
        (Reply("I would say seven."), "model_grader_parse_error"),
        (Reply({"steps": [], "result": "seven"}), "model_grader_parse_error"),
        (Reply("", refusal="I cannot judge this."), "model_grader_refusal_error"),
        (error(400, message="No such model."), "model_grader_server_error"),
    ],
)
def test_a_judge_without_a_verdict_gives_no_reward_and_its_flag(
    contributor: Person, asked: FakeJudge, answer: Reply, flag: str
):
    asked.answers = [answer]

    reply = post(contributor, RUN, grader=JUDGED, model_sample="Tides.")

    told = reply.json()
    assert (reply.status_code, told["reward"], raised_flags(told["metadata"]["errors"])) == (200, 0.0, {flag})


def test_what_the_judges_server_said_is_told(contributor: Person, asked: FakeJudge):
    asked.answers = [error(400, message="No such model.")]

    told = post(contributor, RUN, grader=JUDGED, model_sample="Tides.").json()

    assert "No such model." in told["metadata"]["errors"]["model_grader_server_error_details"]


@pytest.mark.parametrize("grader", [JUDGED, multi("a", a=JUDGED)], ids=["judge", "multi"])
def test_a_key_that_only_reads_may_spend_no_judges_tokens(
    contributor: Person, asked: FakeJudge, grader: dict[str, Any]
):
    reader = Person(contributor.user, contributor.team, cast.key(contributor.user, contributor.team, ["read"]))

    reply = post(reader, RUN, grader=grader, model_sample="Tides.")

    assert (reply.status_code, reply.json()["error"]["type"], asked.asked) == (403, "permission_error", [])


def test_a_key_that_only_reads_may_grade_and_validate(contributor: Person):
    reader = Person(contributor.user, contributor.team, cast.key(contributor.user, contributor.team, ["read"]))

    assert post(reader, RUN, grader=EQUAL, model_sample="x", item={"answer": "x"}).status_code == 200
    assert post(reader, VALIDATE, grader=EQUAL).status_code == 200


@pytest.mark.parametrize("path", [RUN, VALIDATE])
def test_without_a_key_there_is_no_grading(client: Any, db: None, path: str):
    reply = client.post(path, {"grader": EQUAL, "model_sample": "x"}, content_type="application/json")

    assert (reply.status_code, reply.json()["error"]["type"]) == (401, "authentication_error")


# python graders


def test_a_python_grader_reads_sample_and_item(graders: Any, patient: None):
    found = graders.run(grader=PYTHON, model_sample="x", item={"share": 0.25})

    assert (found.reward, raised_flags(found.metadata.errors)) == (0.25, set())


def test_an_exception_is_told_with_its_line(graders: Any, patient: None):
    found = graders.run(grader=PYTHON, model_sample="x", item={})

    assert (found.reward, raised_flags(found.metadata.errors)) == (0.0, {"python_grader_runtime_error"})
    assert "KeyError" in found.metadata.errors.python_grader_runtime_error_details
    assert "line 2" in found.metadata.errors.python_grader_runtime_error_details


@pytest.mark.parametrize("share", ["much", None, 7])
def test_a_bad_value_is_marked_invalid(contributor: Person, patient: None, share: Any):
    told = post(contributor, RUN, grader=PYTHON, model_sample="x", item={"share": share}).json()

    assert (told["reward"], raised_flags(told["metadata"]["errors"])) == (0.0, {"python_grader_runtime_error"})


def test_a_sandbox_that_is_not_there_is_our_fault(contributor: Person, monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: Any, **options: Any) -> Any:
        raise Unavailable("This machine has no sandbox.")

    monkeypatch.setattr("tasks.graders.python._results", refuse)

    told = post(contributor, RUN, grader=PYTHON, model_sample="x", item={"share": 1}).json()

    errors = told["metadata"]["errors"]
    assert raised_flags(errors) == {"python_grader_server_error"}
    assert errors["python_grader_server_error_type"] == "sandbox_unavailable"


@pytest.mark.parametrize(
    ("grader", "flags"),
    [
        (PYTHON, {"unresponsive_reward_error", "python_grader_runtime_error"}),
        (JUDGED, {"unresponsive_reward_error", "model_grader_server_error"}),
        (EQUAL, {"unresponsive_reward_error"}),
    ],
    ids=["python", "judge", "other"],
)
def test_a_grader_that_takes_too_long_gives_no_reward_and_says_so(
    contributor: Person, monkeypatch: pytest.MonkeyPatch, grader: dict[str, Any], flags: set[str]
):
    def late(*args: Any, **options: Any) -> Any:
        raise TooSlow("grading_too_slow", "The grader has not answered within 10 seconds.")

    monkeypatch.setattr(trying, "grade", late)

    reply = post(contributor, RUN, grader=grader, model_sample="x", item={"answer": "x"})

    told = reply.json()
    assert (reply.status_code, told["reward"], raised_flags(told["metadata"]["errors"])) == (200, 0.0, flags)
    assert told["metadata"]["execution_time"] == trying.SECONDS


# Our own types


def test_an_object_is_graded_field_by_field(graders: Any):
    grader: Any = {"type": "json_match", "fields": {"city": {"kind": "text"}, "tags": {"kind": "set"}}}
    item = {"reference": {"city": "Paris", "tags": ["a", "b"]}}

    found = graders.run(grader=grader, model_sample='{"city": "paris", "tags": ["a"]}', item=item)

    assert (round(found.reward, 4), found.sub_rewards) == (0.8333, {})
    assert (found.metadata.scores["tags.precision"], found.metadata.scores["tags.recall"]) == (1.0, 0.5)
