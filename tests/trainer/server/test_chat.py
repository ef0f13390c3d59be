"""Every parameter is honoured or refused by name."""

import json
from typing import Any

import pytest

from trainer.server import chat
from trainer.server.chat import Ask
from trainer.server.faults import Fault

MESSAGES = [{"role": "user", "content": "hello"}]


def parse(**fields: Any) -> Ask:
    body = {"model": "m", "messages": MESSAGES, **fields}
    return chat.parse(json.dumps(body).encode(), max_choices=4, max_tokens=100)


def fault(**fields: Any) -> Fault:
    with pytest.raises(Fault) as raised:
        parse(**fields)
    return raised.value


def test_what_is_left_out_has_openais_defaults() -> None:
    ask = parse()

    assert (ask.n, ask.stream, ask.settings.temperature, ask.settings.top_p, ask.settings.seed) == (
        1,
        False,
        1,
        1,
        None,
    )


def test_temperature_zero_is_not_taken_for_left_out() -> None:
    assert parse(temperature=0).settings.temperature == 0


def test_the_newer_name_of_the_token_limit_wins() -> None:
    assert parse(max_completion_tokens=7, max_tokens=9).settings.max_tokens == 7


@pytest.mark.parametrize(("stop", "stops"), [("a", ("a",)), (["a", "b"], ("a", "b")), (None, ())])
def test_stop_is_one_string_or_several(stop: Any, stops: tuple[str, ...]) -> None:
    assert parse(stop=stop).settings.stops == stops


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]

    assert parse(messages=[{"role": "user", "content": parts}]).messages == [{"role": "user", "content": "ab"}]


def test_a_developer_is_the_system_to_a_template() -> None:
    assert parse(messages=[{"role": "developer", "content": "x"}]).messages[0]["role"] == "system"


@pytest.mark.parametrize(
    "harmless",
    [
        {"response_format": {"type": "text"}},
        {"logprobs": False, "top_logprobs": 0},
        {"reasoning_effort": "none"},
        {"verbosity": "medium"},
        {"prediction": None},
        {"frequency_penalty": 0},
        {"tools": []},
        {"user": "ann"},
        {"metadata": {"a": "b"}},
        {"logit_bias": None},
    ],
)
def test_a_parameter_that_asks_for_nothing_is_accepted(harmless: dict[str, Any]) -> None:
    assert parse(**harmless).n == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}}, "response_format"),
        ({"response_format": "json"}, "response_format"),
        ({"logprobs": "yes"}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"verbosity": "low"}, "verbosity"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"max_tokens": 101}, "max_tokens"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"store": True}, "store"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"best_of": 3}, "best_of"),
        ({"n": 0}, "n"),
        ({"n": 5}, "n"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 101}, "max_completion_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"seed": 1.5}, "seed"),
        ({"model": 7}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    refused = fault(**fields)

    assert (refused.status, (refused.param or "").replace("[...]", "[0]")) == (400, param)


@pytest.mark.parametrize(
    ("fields", "told"),
    [({}, None), ({"logprobs": True}, 0), ({"logprobs": True, "top_logprobs": 20}, 20)],
)
def test_log_probabilities_are_told_to_those_who_ask(fields: dict[str, Any], told: int | None) -> None:
    assert parse(**fields).settings.top_logprobs == told


@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
def test_a_format_is_read_as_a_grammar(kind: str) -> None:
    schema = {"json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}} if kind[-1] == "a" else {}

    assert "whitespace" in str(parse(response_format={"type": kind, **schema}).grammar)


def test_text_is_held_to_no_grammar() -> None:
    assert parse(response_format={"type": "text"}).grammar is None


def test_a_missing_model_is_named() -> None:
    with pytest.raises(Fault) as raised:
        chat.parse(json.dumps({"messages": MESSAGES}).encode(), max_choices=4, max_tokens=100)

    assert raised.value.param == "model"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff\xfe", b'"text"', b"null", b"[" * 99_999])
def test_what_is_not_a_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(Fault) as raised:
        chat.parse(raw, max_choices=4, max_tokens=100)

    assert raised.value.code == "invalid_json"
