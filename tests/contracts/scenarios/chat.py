import json
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import openai

from tests.contracts import documented
from tests.contracts.scenario import MODEL, Context, refused

HELLO: Any = [{"role": "system", "content": "be small"}, {"role": "user", "content": "say hello"}]
AT_ONCE = 50
PERSON = {
    "type": "object",
    "properties": {"big": {"type": "boolean"}, "size": {"enum": ["one", "two"]}},
    "required": ["big", "size"],
    "additionalProperties": False,
}


def _asked(it: Context, **more: Any) -> Any:
    return it.client.chat.completions.create(**{"model": MODEL, "messages": HELLO, "max_completion_tokens": 6, **more})


def an_answer_is_told_with_every_field(it: Context) -> None:
    answer = documented.whole(_asked(it), documented.COMPLETION)

    raw = documented.sent(answer)
    documented.has(raw["choices"][0], documented.CHOICE)
    documented.has(raw["usage"], documented.TOKENS)
    assert (answer.object, answer.model) == ("chat.completion", MODEL)
    assert (answer.choices[0].index, answer.choices[0].message.role) == (0, "assistant")
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 6
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 6


def a_stream_is_the_same_answer_in_pieces(it: Context) -> None:
    whole = _asked(it, temperature=0)

    chunks = list(_asked(it, temperature=0, stream=True, stream_options={"include_usage": True}))

    for chunk in chunks:
        documented.whole(chunk, documented.CHUNK)
        assert (chunk.object, chunk.model, chunk.id) == ("chat.completion.chunk", MODEL, chunks[0].id)
    told = [choice for chunk in chunks for choice in chunk.choices]
    documented.has(documented.sent(chunks[0])["choices"][0], documented.CHOICE_OF_CHUNK)
    assert told[0].delta.role == "assistant"
    assert "".join(choice.delta.content or "" for choice in told) == whole.choices[0].message.content
    assert [choice.finish_reason for choice in told if choice.finish_reason] == ["length"]
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 6)


def a_stream_without_usage_tells_none(it: Context) -> None:
    chunks = list(_asked(it, stream=True))

    assert all(chunk.choices and not chunk.usage for chunk in chunks)


def several_answers_are_told_apart_by_their_index(it: Context) -> None:
    answer = _asked(it, n=3, temperature=1)

    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage.completion_tokens == 18
    streamed = {choice.index for chunk in _asked(it, n=3, stream=True) for choice in chunk.choices}
    assert streamed == {0, 1, 2}


def a_seed_makes_the_same_answer_again(it: Context) -> None:
    first, second, other = (_asked(it, seed=seed, temperature=1, max_completion_tokens=16) for seed in (1, 1, 2))

    assert first.choices[0].message.content == second.choices[0].message.content
    assert other.choices[0].message.content != first.choices[0].message.content


def an_answer_ends_before_a_stop(it: Context) -> None:
    plain = _asked(it, temperature=0, max_completion_tokens=12).choices[0].message.content
    stop = plain[1]

    ended = _asked(it, temperature=0, max_completion_tokens=12, stop=[stop, "never said"]).choices[0]

    assert ended.finish_reason == "stop"
    assert ended.message.content == plain[: plain.index(stop)]


def log_probabilities_are_told_token_by_token(it: Context) -> None:
    content = _asked(it, logprobs=True, top_logprobs=2).choices[0].logprobs.content

    assert len(content) == 6
    for one in content:
        documented.has(documented.sent(one), ["token", "logprob", "bytes", "top_logprobs"])
        assert one.logprob <= 0
        assert len(one.top_logprobs) == 2
    streamed = [c.logprobs for chunk in _asked(it, logprobs=True, stream=True) for c in chunk.choices if c.logprobs]
    assert sum(len(one.content) for one in streamed) == 6


def an_answer_is_held_to_a_schema(it: Context) -> None:
    held = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}

    answer = _asked(it, response_format=held, max_completion_tokens=200).choices[0]

    told = json.loads(answer.message.content)
    assert answer.finish_reason == "stop"
    assert told.keys() == {"big", "size"}
    assert isinstance(told["big"], bool)
    assert told["size"] in ("one", "two")


class Person(openai.BaseModel):
    model_config = {"extra": "ignore"}
    big: bool
    size: Literal["one", "two"]


def an_answer_is_parsed_by_the_clients_helper(it: Context) -> None:
    """The helper writes the schema, asks strictly and reads the answer into the class."""
    answer = it.client.chat.completions.parse(
        model=MODEL, messages=HELLO, response_format=Person, max_completion_tokens=200
    )

    assert isinstance(answer.choices[0].message.parsed, Person)


def a_stream_is_gathered_by_the_clients_helper(it: Context) -> None:
    asked: Any = {"model": MODEL, "messages": HELLO, "response_format": Person, "max_completion_tokens": 200}

    with it.client.chat.completions.stream(**asked) as stream:
        kinds = {event.type for event in stream}
        whole = stream.get_final_completion()

    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert isinstance(whole.choices[0].message.parsed, Person)


def an_answer_is_held_to_json(it: Context) -> None:
    """Of random weights the object may be long: what there is of it is the beginning of one."""
    answer = _asked(it, response_format={"type": "json_object"}, max_completion_tokens=30).choices[0]

    assert answer.message.content.lstrip().startswith("{")
    if answer.finish_reason == "stop":
        assert isinstance(json.loads(answer.message.content), dict)


def plain_text_is_a_format_too(it: Context) -> None:
    assert _asked(it, response_format={"type": "text"}).choices[0].message.content


def a_trained_model_answers(it: Context) -> None:
    name = it.finished().fine_tuned_model

    assert _asked(it, model=name).model == name


def what_the_model_server_refuses_is_named(it: Context) -> None:
    refused(lambda: _asked(it, model="nobody"), 404, "model_not_found", "model")
    refused(lambda: _asked(it, temperature=3), 400, param="temperature")
    refused(lambda: _asked(it, n=0), 400, param="n")
    refused(lambda: _asked(it, messages=[]), 400, param="messages")
    refused(lambda: _asked(it, messages=[{"role": "wizard", "content": "x"}]), 400)
    refused(lambda: _asked(it, response_format={"type": "poem"}), 400)
    refused(lambda: _asked(it, temperature=3, stream=True), 400, param="temperature")
    refused(lambda: _asked(it, messages=[{"role": "user", "content": "word " * 5000}]), 400)
    refused(lambda: _asked(it, model="", extra_body={"model": None}), 400, param="model")


def a_key_that_only_reads_may_ask(it: Context) -> None:
    reader = it.with_scope("reader").chat.completions

    assert reader.create(model=MODEL, messages=HELLO, max_completion_tokens=2).choices


def fifty_at_once_are_answered_and_a_promotion_drops_none(it: Context) -> None:
    """Who asks after the promotion was told is answered by the promoted version, who asked before by either."""
    line, client = it.own["line"], it.client.with_options(timeout=120)
    old, new = (_asked(it, model=f"{line}/{name}", temperature=0).system_fingerprint for name in ("v0", "v1"))
    promoted, half = threading.Event(), threading.Semaphore(0)

    def ask(number: int) -> tuple[bool, str]:
        after = promoted.is_set()
        more = {"stream": True} if number % 5 == 0 else {}
        answer: Any = client.chat.completions.create(
            model=line, messages=HELLO, max_completion_tokens=24, temperature=1, **more
        )
        found = list(answer)[-1] if more else answer
        half.release()
        return after, found.system_fingerprint

    with ThreadPoolExecutor(AT_ONCE) as pool:
        first = [pool.submit(ask, number) for number in range(AT_ONCE)]
        for _ in range(5):  # in the middle: some are answered, most wait
            half.acquire(timeout=60)
        _post(it, f"/versions/{it.own['waiting']}/promote", {"reason": "in the middle"})
        promoted.set()
        later = [pool.submit(ask, number) for number in range(AT_ONCE)]
        told = [one.result() for one in first + later]

    assert old != new
    assert {fingerprint for after, fingerprint in told if after} == {new}
    assert {fingerprint for after, fingerprint in told if not after} <= {old, new}
    assert sum(after for after, _ in told) >= AT_ONCE
    _post(it, f"/lines/{it.own['line_id']}/roll-back", {"reason": "back again"})
    assert _asked(it, model=line).system_fingerprint == old


def _post(it: Context, path: str, body: dict[str, str]) -> None:
    """A request to the product's own API."""
    headers = {"Authorization": f"Bearer {it.own['key']}", "Content-Type": "application/json"}
    asked = urllib.request.Request(it.told["api_url"] + path, json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(asked, timeout=60) as reply:
        assert reply.status == 201


def asynchronous_clients_are_answered_alike(it: Context) -> None:
    import asyncio

    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(api_key=it.own["key"], base_url=it.base_url, max_retries=0) as client:
            stream = await client.chat.completions.create(
                model=MODEL, messages=HELLO, max_completion_tokens=6, temperature=0, stream=True
            )
            return [chunk.choices[0].delta.content or "" async for chunk in stream]

    assert "".join(asyncio.run(ask())) == _asked(it, temperature=0).choices[0].message.content
