"""Log probabilities in OpenAI's shape, asked by the official client of the running server."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from tests.fakes.tiny_model import make_model, make_tokenizer
from tests.trainer.server.conftest import Running

MESSAGES: Any = [{"role": "user", "content": "say hello to a small model"}]

Complete = Callable[..., Any]


@pytest.fixture
def complete(server: Running, speller: str) -> Complete:
    def ask(**settings: Any) -> Any:
        settings = {"max_completion_tokens": 24, "messages": MESSAGES, "model": speller, "logprobs": True, **settings}
        return server.client().chat.completions.create(**settings)

    return ask


def spelt(content: Any) -> str:
    """Without what random weights write that is no character."""
    return b"".join(bytes(entry.bytes) for entry in content).decode(errors="ignore")


def sound(text: str) -> str:
    return text.replace("\ufffd", "")


def test_they_are_told_only_to_those_who_ask(complete: Complete) -> None:
    assert complete(logprobs=False).choices[0].logprobs is None


def test_the_tokens_spell_the_answer(complete: Complete) -> None:
    choice = complete(seed=1).choices[0]

    assert spelt(choice.logprobs.content) == sound(choice.message.content)


@pytest.mark.parametrize("top", [0, 1, 20])
def test_as_many_alternatives_are_told_as_were_asked_for(complete: Complete, top: int) -> None:
    content = complete(top_logprobs=top, max_completion_tokens=3).choices[0].logprobs.content

    assert {len(entry.top_logprobs) for entry in content} == {top}


def test_the_likeliest_comes_first_and_is_what_greed_takes(complete: Complete) -> None:
    entry = complete(top_logprobs=5, temperature=0).choices[0].logprobs.content[0]

    values = [other.logprob for other in entry.top_logprobs]
    assert values == sorted(values, reverse=True)
    assert (entry.token, entry.logprob) == (entry.top_logprobs[0].token, values[0])


def test_they_are_the_models_own_whatever_the_temperature(complete: Complete) -> None:
    told = complete(temperature=0.3, top_p=0.5, seed=1, max_completion_tokens=1).choices[0].logprobs.content[0]

    tokenizer = make_tokenizer(320)
    prompt = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, return_dict=True)["input_ids"]
    with torch.inference_mode():
        logits = make_model(len(tokenizer), seed=3)(torch.tensor([prompt])).logits[0, -1]
    token = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(told.token))[0]
    assert told.logprob == pytest.approx(float(logits.log_softmax(-1)[token]), abs=1e-4)


def test_a_stream_tells_what_the_whole_answer_tells(complete: Complete) -> None:
    whole = complete(seed=2, top_logprobs=2).choices[0].logprobs.content

    chunks = list(complete(seed=2, top_logprobs=2, stream=True))

    streamed = [e for chunk in chunks for e in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else [])]
    assert [entry.model_dump() for entry in streamed] == [entry.model_dump() for entry in whole]


def test_the_tokens_of_a_stop_string_are_not_told(complete: Complete) -> None:
    whole = complete(temperature=0).choices[0]
    stop = whole.message.content[6:9]

    cut = complete(temperature=0, stop=[stop]).choices[0]

    assert spelt(cut.logprobs.content).startswith(sound(cut.message.content))
    assert len(cut.logprobs.content) < len(whole.logprobs.content)


def test_they_are_told_before_the_mask_of_a_format(complete: Complete) -> None:
    schema = {"name": "n", "schema": {"const": "x"}}

    choice = complete(response_format={"type": "json_schema", "json_schema": schema}).choices[0]

    assert json.loads(choice.message.content) == "x"
    assert all(entry.logprob < -0.01 for entry in choice.logprobs.content)  # under the mask they would be certain


def test_fifty_at_once_are_all_answered(complete: Complete) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda seed: complete(seed=seed, top_logprobs=1), range(50)))

    assert [answer.choices[0].finish_reason in ("length", "stop") for answer in answers] == [True] * 50


def test_usage_has_the_details_that_the_client_documents(complete: Complete) -> None:
    usage = complete().usage

    assert usage.completion_tokens_details.reasoning_tokens == 0
    assert usage.prompt_tokens_details.cached_tokens == 0
