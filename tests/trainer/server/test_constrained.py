"""Answers of the running server that are held to a response_format, asked by the official client."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import openai
import pydantic
import pytest

from tests.trainer.server.conftest import Running

MESSAGES: Any = [{"role": "user", "content": "say hello to a small model"}]
SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"enum": ["yes", "no"]}, "score": {"type": "integer", "minimum": 0, "maximum": 10}},
    "required": ["verdict", "score"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA}}

Complete = Callable[..., Any]


@pytest.fixture
def complete(server: Running, speller: str) -> Complete:
    def ask(**settings: Any) -> Any:
        settings = {"max_completion_tokens": 160, "messages": MESSAGES, "model": speller, **settings}
        return server.client().chat.completions.create(**settings)

    return ask


def streamed(chunks: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_every_choice_is_of_the_schema(complete: Complete) -> None:
    choices = complete(response_format=FORMAT, n=8).choices

    for choice in choices:
        jsonschema.validate(json.loads(choice.message.content), SCHEMA)
    assert {choice.finish_reason for choice in choices} == {"stop"}


def test_the_greedy_answer_is_of_the_schema(complete: Complete) -> None:
    answer = complete(response_format=FORMAT, temperature=0).choices[0].message.content

    jsonschema.validate(json.loads(answer), SCHEMA)


def test_a_small_nucleus_leaves_something_to_say(complete: Complete) -> None:
    answer = complete(response_format=FORMAT, top_p=0.01).choices[0].message.content

    jsonschema.validate(json.loads(answer), SCHEMA)


def test_a_streamed_answer_is_the_whole_one(complete: Complete) -> None:
    whole = complete(response_format=FORMAT, seed=4).choices[0].message.content

    assert streamed(complete(response_format=FORMAT, seed=4, stream=True)) == whole


def test_a_json_object_is_held_to_its_first_token(complete: Complete) -> None:
    assert (
        complete(response_format={"type": "json_object"}, max_completion_tokens=8)
        .choices[0]
        .message.content.startswith("{")
    )


def test_the_clients_own_models_are_parsed(server: Running, speller: str) -> None:
    class Verdict(pydantic.BaseModel):
        agreed: bool

    parsed = server.client().chat.completions.parse(
        model=speller, messages=MESSAGES, response_format=Verdict, max_completion_tokens=60
    )

    assert isinstance(parsed.choices[0].message.parsed, Verdict)


def test_free_and_constrained_answers_share_a_batch(complete: Complete) -> None:
    alone = complete(seed=9).choices[0].message.content

    with ThreadPoolExecutor(8) as pool:
        free = pool.submit(complete, seed=9)
        held = [pool.submit(complete, response_format=FORMAT) for _ in range(7)]

    assert free.result().choices[0].message.content == alone
    assert all(json.loads(answer.result().choices[0].message.content) for answer in held)


@pytest.mark.parametrize("stream", [False, True])
def test_an_unusable_schema_is_refused_by_name(complete: Complete, stream: bool) -> None:
    unusable = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"not": {}}}}

    with pytest.raises(openai.BadRequestError) as raised:
        complete(response_format=unusable, stream=stream)

    assert (raised.value.code, raised.value.param) == ("invalid_response_format", "response_format")


def test_a_model_that_cannot_spell_json_says_so(complete: Complete, alpha: str) -> None:
    with pytest.raises(openai.BadRequestError, match="tokens cannot write"):
        complete(model=alpha, response_format={"type": "json_object"})


def test_a_model_of_few_tokens_writes_what_it_can(complete: Complete, alpha: str) -> None:
    number = {"name": "n", "schema": {"type": "integer", "minimum": 0, "maximum": 9}}

    answer = complete(model=alpha, response_format={"type": "json_schema", "json_schema": number})

    assert 0 <= int(answer.choices[0].message.content) <= 9
