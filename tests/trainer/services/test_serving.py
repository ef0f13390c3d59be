from collections.abc import Iterator
from typing import Any

import pytest

from tasks.errors import FlywheelError, NotFound
from tasks.states import Role
from tasks.wire import WireError
from tests import cast, world
from tests.cast import Person
from tests.fakes import model_server
from tests.fakes.model_server import FakeModelServer
from trainer.models import Alias, ModelVersion
from trainer.server.limits import Limits as ServerLimits
from trainer.services import serving

pytestmark = pytest.mark.django_db
ASK = {"messages": [{"role": "user", "content": "hello there"}]}


@pytest.fixture
def contributor() -> Person:
    return cast.of_own_team("carla")


@pytest.fixture
def base(contributor: Person) -> ModelVersion:
    return world.line_of(contributor, "carla-sums")[1]


@pytest.fixture
def newer(base: ModelVersion) -> ModelVersion:
    version = ModelVersion.objects.create(line=base.line, number=1, digest="9" * 64, origin="run 1")
    Alias.objects.create(line=base.line, name="challenger", version=version)
    return version


@pytest.fixture
def served(settings: Any) -> Iterator[FakeModelServer]:
    with model_server.running() as fake:
        settings.MODEL_SERVER_URL = fake.url
        yield fake


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("carla-sums", 0),
        ("carla-sums/champion", 0),
        ("carla-sums/anchor", 0),
        ("carla-sums/challenger", 1),
        ("carla-sums/v1", 1),
    ],
)
def test_a_name_leads_to_its_version(contributor: Person, newer: ModelVersion, name: str, number: int):
    assert serving.resolve(name, contributor.user).number == number


def test_a_line_without_a_champion_answers_with_its_newest(contributor: Person, newer: ModelVersion):
    Alias.objects.all().delete()

    assert serving.resolve("carla-sums", contributor.user) == newer


def test_champion_alone_is_the_shared_lines(contributor: Person, newer: ModelVersion):
    _, shared = world.line_of(cast.of_the_pool("otto", Role.OPERATOR), "shared", "shared")

    assert serving.resolve("champion", contributor.user, contributor.team) == shared


@pytest.mark.parametrize(
    "name", ["", "champion", "champion/champion", "nothing", "carla-sums/v7", "a/b/c", "a\0", "\ud800"]
)
def test_other_names_lead_nowhere(contributor: Person, base: ModelVersion, name: str):
    with pytest.raises(NotFound) as caught:
        serving.resolve(name, contributor.user)

    assert caught.value.code == "model_not_found"


def test_a_stranger_finds_no_expert(base: ModelVersion):
    with pytest.raises(NotFound):
        serving.resolve("carla-sums", cast.of_own_team("sven").user)


def test_every_name_that_is_listed_resolves_to_the_version_beside_it(contributor: Person, newer: ModelVersion):
    world.line_of(cast.of_the_pool("otto", Role.OPERATOR), "shared", "shared")

    listed = serving.model_names(contributor.user, contributor.team)

    assert [serving.resolve(model.name, contributor.user) for model in listed] == [model.version for model in listed]


def test_a_completion_is_asked_for_by_digest(base: ModelVersion, served: FakeModelServer):
    reply = serving.chat(base, {**ASK, "model": "carla-sums"})

    assert (reply["model"], served.asked[0]["model"]) == (base.digest, base.digest)


@pytest.mark.parametrize("template", ["{digest}", "{path}", "models/{name}"])
def test_another_server_is_asked_by_the_name_that_it_knows(
    base: ModelVersion, served: FakeModelServer, settings: Any, template: str
):
    settings.MODEL_SERVER_MODEL = template

    serving.chat(base, ASK)

    path = f"{settings.DATA_DIR}/models/{base.digest}"
    assert served.asked[0]["model"] == template.format(digest=base.digest, path=path, name="carla-sums/v0")


def test_another_server_that_does_not_know_the_name_is_an_operators_matter(
    base: ModelVersion, served: FakeModelServer, settings: Any
):
    settings.MODEL_SERVER_MODEL = "{name}"
    served.missing.add("carla-sums/v0")

    with pytest.raises(FlywheelError) as caught:
        serving.chat(base, ASK)

    assert (caught.value.status, caught.value.code) == (503, "artifact_missing")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"object": "error", "message": "Said by an older vLLM.", "code": 400}),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "not a number"}]}),
        (413, None),
    ],
)
def test_a_refusal_in_another_wording_is_still_a_refusal(status: int, body: Any):
    assert serving.refusal(WireError("refused", "x", status, body)).status == status


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_that_breaks_without_a_word_is_a_503(status: int):
    assert serving.refusal(WireError("refused", "x", status, None)).status == 503


def test_a_stream_is_an_iterator_of_chunks(base: ModelVersion, served: FakeModelServer):
    chunks = list(serving.chat(base, ASK, stream=True))

    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "hellothere"


def test_a_server_that_is_down_is_a_503(base: ModelVersion, settings: Any):
    settings.MODEL_SERVER_URL = "http://127.0.0.1:1"

    with pytest.raises(FlywheelError) as caught:
        serving.chat(base, ASK)

    assert (caught.value.status, serving.is_up()) == (503, False)


def test_a_server_that_answers_is_up(served: FakeModelServer):
    assert serving.is_up()


@pytest.mark.parametrize(
    ("status", "ours"), [(400, 400), (429, 429), (504, 504), (401, 503), (403, 503), (404, 503), (None, 503)]
)
def test_the_servers_own_words_are_passed_on_unless_the_fault_is_ours(status: int | None, ours: int):
    body = {"error": {"message": "Said by the server.", "code": "c", "param": "p"}}

    refused = serving.refusal(WireError("refused", "x", status, body))

    assert (refused.status, refused.sentence == "Said by the server.") == (ours, ours == status)


def test_what_took_too_long_is_not_asked_again():
    refused = serving.refusal(WireError("timeout", "x"))

    assert (refused.status, refused.code, refused.headers) == (504, "timeout", {"x-should-retry": "false"})


def test_a_request_that_is_too_large_is_the_callers_matter():
    refused = serving.refusal(WireError("request_too_large", "The request is over 10 bytes: shorten it."))

    assert (refused.status, refused.param) == (413, "messages")


@pytest.mark.parametrize(
    ("told", "passed_on"),
    [
        ({"should_retry": False}, {"x-should-retry": "false"}),
        ({"retry_after_seconds": 1.0}, {"retry-after": "1"}),
        ({}, {}),
    ],
)
def test_whether_and_when_to_ask_again_is_passed_on(told: dict[str, Any], passed_on: dict[str, str]):
    refused = serving.refusal(WireError("refused", "x", 504, {"error": {"message": "m"}}, **told))

    assert refused.headers == passed_on


def test_an_answer_is_waited_for_longer_than_the_model_server_takes(settings: Any):
    assert serving._wire().limits.silence_seconds == settings.MODEL_ANSWER_SECONDS > ServerLimits().max_seconds
