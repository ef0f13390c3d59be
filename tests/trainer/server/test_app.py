"""The running server, asked by the official client."""

import asyncio
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from tests.fakes.tiny_model import Shelf
from tests.trainer.server.conftest import TOKEN, Running
from trainer.server.app import Server
from trainer.server.limits import Limits
from trainer.server.store import Store

MESSAGES: Any = [{"role": "user", "content": "say hello to a small model"}]


def complete(server: Running, model: str, **settings: Any) -> Any:
    settings = {"max_completion_tokens": 24, "messages": MESSAGES, **settings}
    return server.client().chat.completions.create(model=model, **settings)


def texts(completion: Any) -> list[str]:
    return [choice.message.content for choice in completion.choices]


def eventually(look: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, "It did not happen."
        time.sleep(0.02)


def test_a_completion_has_the_shape_that_the_client_reads(server: Running, alpha: str) -> None:
    completion = complete(server, alpha)

    assert (completion.object, completion.model) == ("chat.completion", alpha)
    assert completion.choices[0].message.role == "assistant"
    assert completion.choices[0].finish_reason == "length"


def test_usage_counts_the_tokens_of_all_choices(server: Running, alpha: str) -> None:
    usage = complete(server, alpha, n=3).usage

    assert usage.completion_tokens == 3 * 24
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_temperature_zero_always_gives_the_same_answer(server: Running, alpha: str) -> None:
    answers = {texts(complete(server, alpha, temperature=0))[0] for _ in range(3)}

    assert len(answers) == 1


def test_a_seed_gives_the_same_answers_again(server: Running, alpha: str) -> None:
    first = texts(complete(server, alpha, seed=11, n=3))

    assert texts(complete(server, alpha, seed=11, n=3)) == first


def test_another_seed_gives_another_answer(server: Running, alpha: str) -> None:
    assert texts(complete(server, alpha, seed=11)) != texts(complete(server, alpha, seed=12))


def test_without_a_seed_answers_differ(server: Running, alpha: str) -> None:
    assert texts(complete(server, alpha)) != texts(complete(server, alpha))


def test_a_seed_gives_the_same_answer_among_concurrent_requests(server: Running, alpha: str) -> None:
    asks = [{"seed": seed, "messages": [{"role": "user", "content": "hello " * (seed + 1)}]} for seed in range(8)]
    alone = [texts(complete(server, alpha, **ask)) for ask in asks]

    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda ask: texts(complete(server, alpha, **ask)), asks))

    assert together == alone


def test_n_choices_are_n_different_answers(server: Running, alpha: str) -> None:
    answers = texts(complete(server, alpha, n=4, seed=1))

    assert len(set(answers)) == 4


def test_the_first_choice_of_a_seed_does_not_depend_on_n(server: Running, alpha: str) -> None:
    assert texts(complete(server, alpha, n=4, seed=1))[0] == texts(complete(server, alpha, seed=1))[0]


def test_an_answer_ends_before_a_stop_string(server: Running, alpha: str) -> None:
    whole = texts(complete(server, alpha, temperature=0))[0]
    stop = whole[7:10]

    stopped = complete(server, alpha, temperature=0, stop=[stop]).choices[0]

    assert (stopped.message.content, stopped.finish_reason) == (whole[: whole.index(stop)], "stop")


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"seed": 5, "n": 3, "top_p": 0.9}, {"seed": 6, "stop": "o"}])
def test_a_stream_says_what_the_whole_answer_says(server: Running, alpha: str, settings: dict[str, Any]) -> None:
    whole = complete(server, alpha, **settings)

    said, reasons = {}, {}
    for chunk in complete(server, alpha, stream=True, **settings):
        choice = chunk.choices[0]
        said[choice.index] = said.get(choice.index, "") + (choice.delta.content or "")
        reasons[choice.index] = choice.finish_reason or reasons.get(choice.index)

    assert [said[index] for index in sorted(said)] == texts(whole)
    assert [reasons[index] for index in sorted(reasons)] == [choice.finish_reason for choice in whole.choices]


def test_a_stream_tells_its_usage_when_asked(server: Running, alpha: str) -> None:
    chunks = list(complete(server, alpha, stream=True, seed=1, stream_options={"include_usage": True}))

    assert (chunks[-1].choices, chunks[-1].usage) == ([], complete(server, alpha, seed=1).usage)


def test_a_stream_ends_with_done(server: Running, alpha: str) -> None:
    body = {"model": alpha, "messages": MESSAGES, "stream": True, "max_tokens": 3}

    assert server.post(body).text.endswith("data: [DONE]\n\n")


def test_a_stream_comes_in_pieces(server: Running, alpha: str) -> None:
    pieces = [chunk for chunk in complete(server, alpha, stream=True) if chunk.choices[0].delta.content]

    assert len(pieces) > 10


def test_an_unknown_model_is_not_found(server: Running) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        complete(server, "0" * 64)

    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize("name", ["../{alpha}", "/etc", ".", "{alpha}/", "champion"])
def test_no_path_comes_from_the_client(server: Running, alpha: str, name: str) -> None:
    with pytest.raises(openai.NotFoundError):
        complete(server, name.format(alpha=alpha))


def test_the_models_listed_are_those_in_the_store(server: Running, shelf: Shelf, alpha: str, beta: str) -> None:
    listed = {model.id for model in server.client().models.list()}

    assert {alpha, beta} <= listed
    assert listed == {path.name for path in shelf.path.iterdir()}


def test_a_wrong_token_is_refused(server: Running, alpha: str) -> None:
    with pytest.raises(openai.AuthenticationError) as raised:
        server.client(token="guess").models.list()

    assert raised.value.code == "invalid_api_key"


def test_without_a_token_nothing_is_told(server: Running) -> None:
    assert httpx.get(f"{server.url}/v1/models").status_code == 401


def test_a_health_check_without_the_token_learns_only_that_it_is_up(server: Running) -> None:
    assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}


def test_health_tells_what_importing_torch_took(server: Running) -> None:
    assert server.health()["import_seconds"] > 0


def test_a_parameter_that_is_not_built_is_refused_by_name(server: Running, alpha: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        complete(server, alpha, frequency_penalty=1)

    assert (raised.value.param, raised.value.code) == ("frequency_penalty", "unsupported_value")


def test_a_conversation_longer_than_the_model_reads_is_refused(server: Running, alpha: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        complete(server, alpha, messages=[{"role": "user", "content": "hello " * 2000}])

    assert raised.value.code == "context_length_exceeded"


def test_an_answer_ends_where_the_models_context_does(server: Running, shelf: Shelf) -> None:
    short = shelf.add(seed=20, context=40)

    completion = complete(server, short, max_completion_tokens=200)

    assert completion.usage.total_tokens == 40


def test_an_answer_ends_at_the_models_end_token(server: Running, shelf: Shelf, alpha: str) -> None:
    chunks = [chunk.choices[0].delta.content for chunk in complete(server, alpha, temperature=0, stream=True)]
    pieces = [piece for piece in chunks if piece]
    ends = next(token for token in range(90) if decoded(token) == pieces[3])
    ending = shelf.add(seed=1, end_token=ends)

    choice = complete(server, ending, temperature=0).choices[0]

    assert choice.finish_reason == "stop"
    assert choice.message.content == "".join(pieces[: pieces.index(pieces[3])])


def decoded(token: int) -> str:
    from tests.fakes.tiny_model import make_tokenizer

    return str(make_tokenizer().decode([token]))


def test_a_model_without_a_chat_template_says_so(server: Running, shelf: Shelf) -> None:
    with pytest.raises(openai.BadRequestError, match="no chat template"):
        complete(server, shelf.add(seed=21, template=False))


def test_a_body_that_is_too_large_is_refused(server: Running, alpha: str) -> None:
    reply = server.post({"model": alpha, "messages": [{"role": "user", "content": "x" * (2 << 20)}]})

    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "body_too_large")


def test_a_browser_form_cannot_ask(server: Running) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "content-type": "text/plain"}

    assert httpx.post(f"{server.url}/v1/chat/completions", content="{}", headers=headers).status_code == 415


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v2", 404), ("GET", "/v1/chat/completions", 405)])
def test_every_error_has_one_shape(server: Running, method: str, path: str, status: int) -> None:
    reply = httpx.request(method, server.url + path, headers={"Authorization": f"Bearer {TOKEN}"})

    assert reply.status_code == status
    assert reply.json()["error"].keys() == {"message", "type", "param", "code"}


def test_every_reply_carries_a_request_id(server: Running) -> None:
    assert httpx.get(f"{server.url}/v1/models").headers["x-request-id"].startswith("req_")


def test_a_model_published_while_the_server_runs_answers_at_the_next_request(server: Running, shelf: Shelf) -> None:
    promoted = shelf.add(seed=30)

    assert complete(server, promoted).model == promoted


def test_no_more_models_than_allowed_stay_in_memory(server: Running, shelf: Shelf, alpha: str, beta: str) -> None:
    for model in (alpha, beta, shelf.add(seed=31)):
        complete(server, model)

    assert len(server.health()["models"]) == 2


def test_a_corrupted_artifact_is_refused_with_a_sentence(server: Running, shelf: Shelf) -> None:
    digest = shelf.add(seed=32)
    weights = shelf.path / digest / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    with pytest.raises(openai.InternalServerError, match="has changed since it was published") as raised:
        complete(server, digest)

    assert raised.value.code == "model_corrupt"
    shutil.rmtree(shelf.path / digest)


def test_a_client_that_leaves_stops_the_work(server: Running, alpha: str) -> None:
    body = {"model": alpha, "messages": MESSAGES, "max_tokens": 900, "n": 16, "stream": True}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, headers=headers) as reply:
        lines = reply.iter_lines()  # kept: httpx hangs up when it is collected
        next(lines)
        assert server.health()["open_choices"] == 16

    eventually(lambda: server.health()["open_choices"] == 0)


def test_a_client_that_leaves_before_the_answer_stops_the_work(server: Running, alpha: str) -> None:
    body = {"model": alpha, "messages": MESSAGES, "max_tokens": 900, "n": 16}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=0.3)

    eventually(lambda: server.health()["open_choices"] == 0, seconds=5)


def test_a_stream_that_takes_too_long_ends_in_an_error(shelf: Shelf) -> None:
    endless = shelf.add(seed=40, context=1 << 15)
    app = Server(Store(shelf.path), Limits(max_seconds=5, max_tokens=1 << 15), TOKEN, "cpu", 0).app()

    async def story() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
            client = openai.AsyncOpenAI(base_url="http://inside/v1", api_key=TOKEN, max_retries=0, http_client=http)
            stream = await client.chat.completions.create(
                model=endless, messages=MESSAGES, max_completion_tokens=30_000, stream=True
            )
            async for _ in stream:
                pass

    with pytest.raises(openai.APIError, match="No complete answer within 5 seconds"):
        asyncio.run(story())


def test_a_full_queue_says_when_to_come_back(shelf: Shelf, alpha: str) -> None:
    app = Server(Store(shelf.path), Limits(max_queue=2), TOKEN, "cpu", 0).app()

    async def story() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://inside") as http:
            body = {"model": alpha, "messages": MESSAGES, "n": 3}
            return await http.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {TOKEN}"})

    reply = asyncio.run(story())

    assert (reply.status_code, reply.headers["retry-after"]) == (429, "1")


def test_without_a_token_a_foreign_host_name_is_refused(shelf: Shelf) -> None:
    """A page of another site may have its name resolve to this machine."""
    app = Server(Store(shelf.path), Limits(), None, "cpu", 0).app()

    async def story(host: str) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{host}") as http:
            return (await http.get("/v1/models")).status_code

    assert [asyncio.run(story(host)) for host in ("evil.example", "localhost:8001", "127.0.0.1")] == [403, 200, 200]
