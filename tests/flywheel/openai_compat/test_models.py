import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from tasks.states import Role
from tests import cast, world
from tests.cast import Person

pytestmark = pytest.mark.django_db


@pytest.fixture
def contributor() -> Person:
    return cast.of_own_team("carla")


def names(client: APIClient) -> list[str]:
    return [model["id"] for model in client.get("/openai/v1/models").json()["data"]]


def test_ones_lines_are_listed_under_every_name_that_resolves(contributor: Person):
    world.line_of(contributor, "carla-sums")

    assert names(contributor.api) == ["carla-sums", "carla-sums/champion", "carla-sums/anchor", "carla-sums/v0"]


def test_the_shared_lines_champion_is_called_champion_by_everybody(contributor: Person):
    world.line_of(cast.of_the_pool("otto", Role.OPERATOR), "shared", "shared")

    assert names(contributor.api)[:2] == ["champion", "shared"]


def test_the_list_asks_no_more_where_there_are_more_lines(contributor: Person):
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert len(names(contributor.api)) == 4 * contributor.team.lines.count()
        return len(queries)

    world.line_of(contributor, "carla-sums")
    asked()  # the first use of a key within a minute is written down
    few = asked()
    for number in range(5):
        world.line_of(contributor, f"carla-{number}")

    assert asked() == few


def test_a_listed_name_can_be_retrieved(contributor: Person):
    _, version = world.line_of(contributor, "carla-sums")

    shown = [contributor.api.get(f"/openai/v1/models/{name}").json() for name in names(contributor.api)]

    assert {(model["object"], model["owned_by"]) for model in shown} == {("model", "carla-team")}
    assert {model["created"] for model in shown} == {int(version.created_at.timestamp())}


def test_an_id_may_come_with_its_slash_encoded(contributor: Person):
    world.line_of(contributor, "carla-sums")

    assert contributor.api.get("/openai/v1/models/carla-sums%2Fv0").json()["id"] == "carla-sums/v0"


@pytest.mark.parametrize(
    "name", ["champion", "carla-sums/v9", "carla-sums/newest", "carla-sums/v0/x", "x", "x/v0", "/"]
)
def test_other_names_are_not_found(contributor: Person, name: str):
    world.line_of(contributor, "carla-sums")

    assert contributor.api.get(f"/openai/v1/models/{name}").status_code == 404


def test_a_stranger_sees_none_of_it(contributor: Person):
    world.line_of(contributor, "carla-sums")

    assert names(cast.of_own_team("sven").api) == []


def test_a_key_of_another_team_sees_none_of_it_either(contributor: Person):
    world.line_of(contributor, "carla-sums")
    other = cast.of_own_team("olga")
    other.user.memberships.create(team=contributor.team, role="operator")

    assert names(other.api) == []
