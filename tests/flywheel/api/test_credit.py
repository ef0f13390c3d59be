"""/api/v1/credit and /api/v1/leaderboard."""

import pytest

from tasks.services import accounts
from tests import cast
from tests.cast import Person
from tests.fixtures_portal import Portal
from tests.portal_client import portal, seeded
from trainer.models import Line

__all__ = ["portal", "seeded"]
pytestmark = pytest.mark.django_db


def caller(portal: Portal, name: str = "contributor", team: object = None) -> Person:
    user = getattr(portal, name)
    team = team or (portal.team if name == "contributor" else user.memberships.first().team)
    return Person(user, team, cast.key(user, team))  # type: ignore[arg-type]


def test_credit_is_listed_by_dataset_with_its_interval_and_in_words(portal: Portal):
    api = caller(portal).api

    found = api.get("/api/v1/credit", {"dataset": str(portal.contributed)}).json()["results"]

    assert [row["version"] for row in found] == ["shared/v3", "shared/v2", "shared/v1"]
    assert {"items", "clusters", "before", "after", "difference", "low", "high", "p_value"} == set(found[0]["effect"])
    assert found[0]["sentence"].startswith(f"{found[0]['rows']} of its tasks were in shared/v3; on its 138 held-out")
    assert "sums" not in found[0]


def test_without_a_dataset_the_team_as_a_whole_is_listed_too(portal: Portal):
    found = caller(portal).api.get("/api/v1/credit").json()["results"]

    assert {row["dataset"] for row in found} == {str(portal.contributed), None}
    assert {row["team"] for row in found} == {portal.team.slug}


def test_a_strangers_key_reads_no_credit_of_others(portal: Portal):
    api = caller(portal, "stranger").api

    assert api.get("/api/v1/credit").json()["results"] == []
    assert api.get("/api/v1/credit", {"dataset": str(portal.contributed)}).status_code == 404


def test_a_key_of_elsewhere_reads_nothing_of_its_users_other_team(portal: Portal):
    other = accounts.create_team("Second team", actor=portal.contributor)

    assert caller(portal, team=other).api.get("/api/v1/credit").json()["results"] == []


def test_everybody_reads_the_leaderboard(portal: Portal):
    board = caller(portal, "stranger").api.get("/api/v1/leaderboard").json()

    assert (board["line"], board["versions"]) == ("shared", ["shared/v1"])
    assert [(row["mine"], row["claim"]) for row in board["standings"]] == [(False, "better")] * 2
    assert [(row["name"], row["effect"]) for row in board["waiting"]] == [("Night school", None)]


def test_a_line_that_is_not_shared_has_no_leaderboard(portal: Portal):
    reply = caller(portal).api.get("/api/v1/leaderboard", {"line": "carlas-lab-house"})

    assert (reply.status_code, reply.json()["param"]) == (404, "line")


def test_a_name_is_set_and_kept_back_by_api(portal: Portal):
    api = caller(portal).api

    named = api.put("/api/v1/leaderboard/name", {"team": portal.team.slug, "anonymous": True}, format="json")

    assert named.json() == {"team": portal.team.slug, "name": "", "anonymous": True}
    names = [row["name"] for row in caller(portal, "stranger").api.get("/api/v1/leaderboard").json()["standings"]]
    assert "Anonymous contributor" in names
    assert portal.team.name not in names


def test_a_stranger_names_no_team_of_others(portal: Portal):
    body = {"team": portal.team.slug, "name": "Mine"}

    assert caller(portal, "stranger").api.put("/api/v1/leaderboard/name", body, format="json").status_code == 404


def test_without_a_shared_line_there_is_no_board(portal: Portal):
    Line.objects.update(purpose="expert")

    assert caller(portal).api.get("/api/v1/leaderboard").status_code == 404


def test_a_dataset_without_comparisons_has_no_credit(portal: Portal):
    found = caller(portal).api.get("/api/v1/credit", {"dataset": str(portal.private)})

    assert found.json()["results"] == []
