"""Served models as judges: by name, on behalf of a team, in this process and in an engine."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from tasks.errors import Invalid
from tasks.graders import judges as benches
from tasks.graders import judging, registry
from tasks.graders.judges import Endpoint, Judges
from tasks.services import datasets, proving, reproving
from tests import cast, world
from tests.cast import Person
from tests.fakes import model_server
from tests.fakes.model_server import FakeModelServer
from trainer.apps import TrainerConfig
from trainer.models import ModelVersion
from trainer.services import engine_work, judges, launching

pytestmark = pytest.mark.django_db
ELSEWHERE = Endpoint("https://judge.example/v1", "key")


@pytest.fixture
def contributor() -> Person:
    return cast.of_own_team("carla")


@pytest.fixture
def stranger() -> Person:
    return cast.of_own_team("sam")


@pytest.fixture
def own(contributor: Person) -> ModelVersion:
    return world.line_of(contributor, "carla-sums")[1]


@pytest.fixture
def shared(stranger: Person) -> ModelVersion:
    version = world.line_of(stranger, "shared", "shared")[1]
    ModelVersion.objects.filter(pk=version.pk).update(digest="5" * 64)
    return version


@pytest.fixture
def served(settings: Any) -> Iterator[FakeModelServer]:
    judging._without_format.clear()
    with model_server.running() as fake, benches.using(Judges(pause_seconds=0.001)):
        settings.MODEL_SERVER_URL = fake.url
        settings.DATABASE_CONFIGURED = True
        yield fake


def asks(model: str) -> dict[str, Any]:
    verdict = json.dumps({"result": 1})
    return {"type": "score_model", "model": model, "input": [{"role": "user", "content": verdict}]}


def test_a_teams_line_judges_for_the_team(contributor: Person, own: ModelVersion, served: FakeModelServer):
    with benches.for_team(contributor.team.pk):
        found = registry.grade(asks("carla-sums"), "A reply.", {})

    assert (found.score, found.errors) == (1, ())
    assert served.asked[-1]["model"] == own.digest


@pytest.mark.parametrize("name", ["carla-sums", "carla-sums/champion", "carla-sums/anchor", "carla-sums/v0"])
def test_every_public_name_of_a_model_is_a_judges(
    contributor: Person, own: ModelVersion, served: FakeModelServer, name: str
):
    with benches.for_team(contributor.team.pk):
        assert registry.unavailable(asks(name)) is None


def test_a_strangers_line_is_no_judge(
    contributor: Person, stranger: Person, own: ModelVersion, served: FakeModelServer
):
    with benches.for_team(stranger.team.pk):
        assert "No judge is known for the model 'carla-sums'" in str(registry.unavailable(asks("carla-sums")))


def test_without_a_team_only_shared_lines_judge(own: ModelVersion, shared: ModelVersion, served: FakeModelServer):
    assert registry.unavailable(asks("carla-sums"))
    assert registry.unavailable(asks("shared")) is None
    assert registry.unavailable(asks("champion")) is None


@pytest.mark.django_db(transaction=True)
def test_a_look_up_in_a_thread_that_ends_leaves_no_connection(shared: ModelVersion, served: FakeModelServer):
    left = []

    def look() -> None:
        registry.unavailable(asks("shared"))
        left.append(connection.connection)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()

    assert left == [None]


def test_a_digest_is_no_name(contributor: Person, own: ModelVersion, served: FakeModelServer):
    with benches.for_team(contributor.team.pk):
        assert registry.unavailable(asks(own.digest))


def test_without_a_database_no_served_model_is_known(shared: ModelVersion, served: FakeModelServer, settings: Any):
    settings.DATABASE_CONFIGURED = False

    assert registry.unavailable(asks("shared"))


def test_a_served_judge_may_be_a_child_of_a_multi(contributor: Person, own: ModelVersion, served: FakeModelServer):
    config = {"type": "multi", "graders": {"a": asks("carla-sums"), "b": asks("carla-sums/v0")}}

    with benches.for_team(contributor.team.pk):
        found = registry.grade({**config, "calculate_output": "min(a, b)"}, "A reply.", {})

    assert found.score == 1


def test_an_engine_gets_the_names_that_its_team_may_ask(
    contributor: Person, stranger: Person, own: ModelVersion, shared: ModelVersion, served: FakeModelServer
):
    ours, theirs = judges.for_engine(contributor.team.pk), judges.for_engine(None)

    assert ours.find("carla-sums") == Endpoint(f"{served.url}/v1", model_server.TOKEN, own.digest)
    assert ours.find("champion").model == "5" * 64
    assert theirs.find("carla-sums") is None


def test_in_an_engine_too_an_operators_pattern_goes_first_and_the_server_for_all_last(
    contributor: Person, own: ModelVersion, served: FakeModelServer
):
    last = Endpoint("https://all.example/v1")
    with benches.using(Judges({"*": last, "carla-sums": ELSEWHERE})):
        found = judges.for_engine(contributor.team.pk)

    assert found.find("carla-sums") == ELSEWHERE
    assert found.find("carla-sums/v0").model == own.digest
    assert found.find("gpt-5") == last


def test_work_is_launched_with_the_judges_of_its_team(
    contributor: Person, own: ModelVersion, served: FakeModelServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
):
    given = []

    class Launcher:
        def submit(self, directory: Any, *, attempt: int) -> Any:
            raise engine_work.LauncherError("Not started here.")

    class Kind:
        name = "run"

        def prepare(self, work: Any, directory: Any) -> None:
            """Nothing."""

    class Work:
        directory, attempt, owner_team_id = "run-1", 1, contributor.team.pk

    monkeypatch.setattr(engine_work, "launcher", lambda judges: given.append(judges) or Launcher())
    monkeypatch.setattr(engine_work, "path_of", lambda directory: tmp_path / directory)

    with pytest.raises(engine_work.LauncherError):
        engine_work._launch(Kind(), Work())

    assert given[0].find("carla-sums").model == own.digest


def test_the_launcher_hands_its_judges_on(settings: Any):
    bench = Judges({"*": ELSEWHERE})

    for command in ("", "true"):
        settings.ENGINE_COMMAND = command
        assert launching.launcher(bench).judges == bench


def test_nonsense_in_the_environment_stops_the_start(monkeypatch: pytest.MonkeyPatch):
    import trainer

    monkeypatch.setenv("JUDGES", "gpt")
    benches.of_this_process.cache_clear()

    with pytest.raises(ImproperlyConfigured, match="JUDGES must be a JSON object"):
        TrainerConfig("trainer", trainer).ready()

    benches.of_this_process.cache_clear()


# From upload to proof


def rows_judged_by(model: str) -> bytes:
    row = {"prompt": "Name a colour.", "gold": "Red.", "grader": asks(model)}
    return json.dumps(row).encode() + b"\n"


def test_a_row_may_name_its_teams_own_line_as_judge(contributor: Person, own: ModelVersion, served: FakeModelServer):
    upload = world.imported(world.private_dataset(contributor), rows_judged_by("carla-sums"), contributor)

    assert upload.counts["valid"] == 1


def test_a_row_that_names_a_strangers_line_as_judge_is_rejected(
    contributor: Person, stranger: Person, own: ModelVersion, served: FakeModelServer
):
    upload = world.imported(world.private_dataset(stranger), rows_judged_by("carla-sums"), stranger)

    assert upload.counts["rejected"] == {"grader_unavailable": 1}


def test_a_row_for_the_pool_may_name_shared_lines_only(
    contributor: Person, own: ModelVersion, shared: ModelVersion, served: FakeModelServer
):
    gifts = world.contributed_dataset(contributor)

    upload = world.imported(gifts, rows_judged_by("carla-sums") + rows_judged_by("shared"), contributor)

    assert (upload.counts["valid"], upload.counts["rejected"]) == (1, {"grader_unavailable": 1})


def test_proof_asks_the_teams_own_line_once_its_cost_is_agreed_to(
    contributor: Person, own: ModelVersion, served: FakeModelServer
):
    contributor.team.approval = "proved"
    contributor.team.save()
    upload = world.imported(world.private_dataset(contributor), rows_judged_by("carla-sums"), contributor)
    asked_before = len(served.asked)

    reproving.confirm_cost(upload, actor=contributor.user)
    proving.prove_upload(upload.pk)

    assert (asked_before, {ask["model"] for ask in served.asked}) == (0, {own.digest})


def test_a_default_grader_may_name_the_teams_own_line(
    contributor: Person, stranger: Person, own: ModelVersion, served: FakeModelServer
):
    datasets.set_default_grader(world.private_dataset(contributor), asks("carla-sums"), actor=contributor.user)

    with pytest.raises(Invalid, match="No judge is known"):
        datasets.set_default_grader(world.private_dataset(stranger), asks("carla-sums"), actor=stranger.user)
