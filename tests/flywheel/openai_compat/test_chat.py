"""The official client against a live server, with a model server behind it that has no model."""

from collections.abc import Iterator
from threading import BoundedSemaphore
from typing import Any

import openai
import pytest
from django.http import StreamingHttpResponse

from flywheel.openai_compat.places import Held, Place
from tasks.wire import WireError
from tests import cast, world
from tests.cast import Person
from tests.fakes import model_server
from tests.fakes.model_server import FakeModelServer
from tests.flywheel.openai_compat.conftest import until
from trainer.models import Alias, ModelVersion
from trainer.services import serving

HELLO: Any = [{"role": "user", "content": "say it again"}]


@pytest.fixture
def served(settings: Any) -> Iterator[FakeModelServer]:
    with model_server.running() as fake:
        settings.MODEL_SERVER_URL = fake.url
        settings.MODEL_SERVER_TOKEN = "the token"
        yield fake


@pytest.fixture
def contributor(transactional_db: None) -> Person:
    return cast.of_own_team("carla")


@pytest.fixture
def expert(contributor: Person) -> ModelVersion:
    """The contributor's line with its base as champion."""
    return world.line_of(contributor, "carla-sums")[1]


def client(person: Person, live_server: Any, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live_server.url}/openai/v1", api_key=person.secret, max_retries=0, **options)


def test_a_completion_carries_the_public_name(
    contributor: Person, expert: ModelVersion, served: FakeModelServer, live_server: Any
):
    reply = client(contributor, live_server).chat.completions.create(model="carla-sums", messages=HELLO)

    assert (reply.model, reply.choices[0].message.content) == ("carla-sums", "say it again")


def test_the_model_server_is_asked_by_digest_with_its_own_token(
    contributor: Person, expert: ModelVersion, served: FakeModelServer, live_server: Any
):
    client(contributor, live_server).chat.completions.create(model="carla-sums/v0", messages=HELLO, temperature=0)

    assert served.asked == [{"messages": HELLO, "model": expert.digest, "temperature": 0, "stream": False}]
    assert served.tokens == ["Bearer the token"]


def test_a_stream_carries_the_public_name_in_every_chunk(
    contributor: Person, expert: ModelVersion, served: FakeModelServer, live_server: Any
):
    stream = client(contributor, live_server).chat.completions.create(
        model="carla-sums/champion", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )

    chunks = list(stream)

    assert {chunk.model for chunk in chunks} == {"carla-sums/champion"}
    assert [chunk.choices[0].delta.content for chunk in chunks[1:4]] == ["say", "it", "again"]
    assert chunks[-1].usage is not None


def test_what_took_too_long_is_not_asked_three_times(
    contributor: Person, expert: ModelVersion, live_server: Any, monkeypatch: pytest.MonkeyPatch
):
    asked = []

    def too_long(*given: Any) -> Any:
        asked.append(given)
        raise serving.refusal(WireError("timeout", "x"))

    monkeypatch.setattr(serving, "chat", too_long)
    retrying = client(contributor, live_server).with_options(max_retries=2)

    with pytest.raises(openai.APIStatusError) as caught:
        retrying.chat.completions.create(model="carla-sums", messages=HELLO)

    assert (caught.value.status_code, caught.value.code, len(asked)) == (504, "timeout", 1)


def test_a_stream_that_breaks_raises_in_the_client(
    contributor: Person, expert: ModelVersion, served: FakeModelServer, live_server: Any
):
    served.breaks_after = 1
    stream = client(contributor, live_server).chat.completions.create(model="carla-sums", messages=HELLO, stream=True)

    with pytest.raises(openai.APIError, match="does not answer"):
        list(stream)


def test_a_promotion_is_seen_by_the_next_request(
    contributor: Person, expert: ModelVersion, served: FakeModelServer, live_server: Any
):
    newer = ModelVersion.objects.create(line=expert.line, number=1, digest="9" * 64, parent=expert, origin="run 1")
    asking = client(contributor, live_server).chat.completions
    asking.create(model="carla-sums", messages=HELLO)

    Alias.objects.filter(line=expert.line, name="champion").update(version=newer)
    asking.create(model="carla-sums", messages=HELLO)

    assert [asked["model"] for asked in served.asked] == [expert.digest, newer.digest]


def test_a_parameter_that_the_model_server_refuses_is_named(
    contributor: Person, expert: ModelVersion, served: FakeModelServer, live_server: Any
):
    with pytest.raises(openai.BadRequestError) as caught:
        client(contributor, live_server).chat.completions.create(model="carla-sums", messages=HELLO, store=True)

    assert (caught.value.param, caught.value.code) == ("store", "unsupported_value")


def test_a_refused_stream_has_a_status_of_its_own(
    contributor: Person, expert: ModelVersion, served: FakeModelServer, live_server: Any
):
    with pytest.raises(openai.BadRequestError):
        client(contributor, live_server).chat.completions.create(
            model="carla-sums", messages=HELLO, stream=True, n=1000
        )


def test_a_model_server_that_is_down_is_a_503_in_one_sentence(
    contributor: Person, expert: ModelVersion, settings: Any, live_server: Any
):
    settings.MODEL_SERVER_URL = "http://127.0.0.1:1"

    with pytest.raises(openai.InternalServerError) as caught:
        client(contributor, live_server).chat.completions.create(model="carla-sums", messages=HELLO)

    assert (caught.value.status_code, caught.value.code) == (503, "model_server_down")
    assert caught.value.body["message"] == "The model server does not answer: try again in a moment."  # type: ignore[index]


def test_a_model_whose_files_are_gone_is_a_503(
    contributor: Person, expert: ModelVersion, served: FakeModelServer, live_server: Any
):
    served.missing = {expert.digest}

    with pytest.raises(openai.InternalServerError) as caught:
        client(contributor, live_server).chat.completions.create(model="carla-sums", messages=HELLO)

    assert caught.value.code == "artifact_missing"


def test_a_strangers_expert_is_not_found(
    contributor: Person, expert: ModelVersion, served: FakeModelServer, live_server: Any
):
    stranger = cast.of_own_team("sven")

    with pytest.raises(openai.NotFoundError) as caught:
        client(stranger, live_server).chat.completions.create(model="carla-sums", messages=HELLO)

    assert (caught.value.code, served.asked) == ("model_not_found", [])


def test_a_wrong_key_is_an_authentication_error(contributor: Person, live_server: Any):
    wrong = openai.OpenAI(base_url=f"{live_server.url}/openai/v1", api_key="sk-wrong", max_retries=0)

    with pytest.raises(openai.AuthenticationError):
        wrong.models.list()


def test_every_reply_has_a_request_id(contributor: Person, expert: ModelVersion, live_server: Any):
    assert client(contributor, live_server).models.with_raw_response.list().headers["x-request-id"]


# Places


@pytest.fixture
def one_place(monkeypatch: pytest.MonkeyPatch) -> BoundedSemaphore:
    monkeypatch.setattr(Place, "_free", free := BoundedSemaphore(1))
    return free


def test_a_chat_beyond_the_places_is_asked_to_come_again(
    contributor: Person, expert: ModelVersion, served: FakeModelServer, live_server: Any, one_place: BoundedSemaphore
):
    asking = client(contributor, live_server)
    with one_place, pytest.raises(openai.RateLimitError) as caught:
        asking.chat.completions.create(model="carla-sums", messages=HELLO)

    assert (caught.value.code, caught.value.response.headers["retry-after"]) == ("busy", "1")
    assert asking.chat.completions.create(model="carla-sums", messages=HELLO).model == "carla-sums"


def test_a_place_is_left_however_its_chat_ends(
    contributor: Person, expert: ModelVersion, served: FakeModelServer, live_server: Any, one_place: BoundedSemaphore
):
    asking = client(contributor, live_server)

    def ask(model: str = "carla-sums", **how: Any) -> Any:
        return asking.chat.completions.create(model=model, messages=HELLO, **how)

    ask()
    with pytest.raises(openai.NotFoundError):
        ask("nothing")
    with pytest.raises(openai.BadRequestError):
        ask(n=1000)
    list(ask(stream=True))
    served.breaks_after = 1
    with pytest.raises(openai.APIError):
        list(ask(stream=True))

    until(lambda: one_place.acquire(blocking=False))


def test_a_stream_that_nobody_reads_leaves_its_place(one_place: BoundedSemaphore):
    def pieces() -> Any:
        yield b""

    reply = StreamingHttpResponse(Held(pieces(), Place()))

    reply.close()

    assert one_place.acquire(blocking=False)
