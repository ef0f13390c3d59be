"""/api/v1/difficulty-checks and /api/v1/pass-rates."""

from typing import Any

import pytest

from tasks.models import Task
from tasks.states import Role
from tests import cast, world
from tests.cast import Person
from trainer.models import PassRate, Recipe

pytestmark = pytest.mark.django_db


@pytest.fixture
def carla() -> Person:
    return cast.of_own_team("carla")


@pytest.fixture
def mine(carla: Person) -> world.World:
    """A private line with a recipe, and twelve approved tasks; one of them is measured."""
    made = world.full(carla)
    PassRate.objects.update(sampling="6" * 32)  # by settings of another time
    Task.objects.filter(memberships__dataset=made["dataset"]).update(split="train")
    return made


def _rows(reply: Any) -> list[Any]:
    return next(rows for rows in reply.json().values() if isinstance(rows, list))


def test_a_check_is_started_for_a_recipe(carla: Person, mine: world.World):
    reply = carla.api.post("/api/v1/difficulty-checks", {"recipe": mine["recipe"]}, format="json")

    check = reply.json()
    assert reply.status_code == 201
    assert (check["state"], check["asked"], check["version_name"]) == ("queued", 12, "carla-team-expert/v0")


def test_a_check_is_started_for_a_dataset(carla: Person, mine: world.World):
    body = {"line": mine["line"], "dataset": str(mine["dataset"])}

    reply = carla.api.post("/api/v1/difficulty-checks", body, format="json")

    assert (reply.status_code, reply.json()["dataset"]) == (201, mine["dataset"])


def test_a_check_of_nothing_is_refused_in_a_sentence(carla: Person, mine: world.World):
    reply = carla.api.post("/api/v1/difficulty-checks", {}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (400, "one_source")


def test_a_check_is_cancelled(carla: Person, mine: world.World):
    check = carla.api.post("/api/v1/difficulty-checks", {"recipe": mine["recipe"]}, format="json").json()["id"]

    reply = carla.api.post(f"/api/v1/difficulty-checks/{check}/cancel", {}, format="json")

    assert (reply.status_code, reply.json()["state"]) == (200, "cancelled")


def test_a_key_without_the_scope_train_starts_none(carla: Person, mine: world.World):
    carla.user.api_keys.update(scopes=["read", "write"])

    reply = carla.api.post("/api/v1/difficulty-checks", {"recipe": mine["recipe"]}, format="json")

    assert reply.status_code == 403


def test_a_contributor_starts_none_on_the_shared_line(carla: Person):
    otto = cast.of_the_pool("otto", Role.OPERATOR)
    shared = world.full(otto, purpose="shared", dataset=world.contributed_dataset(carla), uploader=carla)

    reply = carla.api.post("/api/v1/difficulty-checks", {"recipe": shared["recipe"]}, format="json")

    assert reply.status_code in (403, 404)


def test_a_tasks_rates_are_listed(carla: Person, mine: world.World):
    reply = carla.api.get(f"/api/v1/pass-rates?task={mine['task']}")

    (rate,) = _rows(reply)
    assert (rate["passes"], rate["graded"], rate["rate"]) == (0, 8, 0.0)


def test_a_task_that_asks_something_else_by_now_has_no_rates(carla: Person, mine: world.World):
    Task.objects.filter(pk=mine["task"]).update(content_digest="7" * 64)

    assert _rows(carla.api.get(f"/api/v1/pass-rates?task={mine['task']}")) == []


def test_rates_of_another_teams_task_are_404(mine: world.World):
    sven = cast.of_own_team("sven")

    assert sven.api.get(f"/api/v1/pass-rates?task={mine['task']}").status_code == 404


def test_a_recipe_with_a_band_tells_what_it_left_out(carla: Person, mine: world.World):
    Recipe.objects.filter(pk=mine["recipe"]).update(body={"difficulty": {"unknown": "keep"}})

    preview = carla.api.post(f"/api/v1/recipes/{mine['recipe']}/preview", {}, format="json").json()

    assert (preview["size"], preview["unknown"], preview["solved"]) == (12, 12, 0)
