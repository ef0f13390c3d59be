"""/leaderboard: everybody signed in reads who stands where; private rows and kept names stay out."""

import json

import pytest

from tasks.models import Task
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.models import CreditEntry, CreditName, Line

pytestmark = pytest.mark.django_db


def test_the_board_is_ranked_by_the_lower_end_of_the_interval(portal: Portal):
    page = browser(portal.stranger).get("/leaderboard")

    lows = [one.effect.low for _, one in page.context["standings"]]
    assert lows == sorted(lows, reverse=True)
    assert "The order is that of the interval's lower ends" in text(page)


def test_one_sentence_says_what_the_drawing_shows(portal: Portal):
    page = text(browser(portal.contributor).get("/leaderboard"))

    assert (
        "On the held-out rows of 2 of 2 contributors the champion got better; 1 more has too few rows to tell." in page
    )


def test_only_promotions_that_lead_to_the_champion_count(portal: Portal):
    page = browser(portal.contributor).get("/leaderboard")

    assert page.context["board"].versions == ("shared/v1",)
    assert "It is no proof that these rows were the cause" in text(page)


def test_who_cannot_be_told_of_yet_is_listed_with_what_is_missing(portal: Portal):
    page = text(browser(portal.stranger).get("/leaderboard"))

    assert "Night school" in page
    assert "No promotion has measured it yet" in page


def test_a_filter_in_the_address_leaves_the_places_as_they_are(portal: Portal):
    client = browser(portal.stranger)

    assert client.get("/leaderboard?claim=worse").context["standings"] == []
    assert [place for place, _ in client.get("/leaderboard?claim=better").context["standings"]] == [1, 2]


def test_no_name_of_a_dataset_and_no_prompt_is_on_it(portal: Portal):
    page = text(browser(portal.stranger).get("/leaderboard"))

    assert portal.contributed.name not in page
    assert portal.private.name not in page
    assert [task.prompt for task in Task.objects.all() if task.prompt in page] == []


def test_the_files_hold_everybody(portal: Portal):
    client = browser(portal.stranger)

    rows = json.loads(text(client.get("/leaderboard?format=json")))
    head = text(client.get("/leaderboard?format=csv")).splitlines()[0]

    assert [(row["place"], row["claim"]) for row in rows] == [
        (1, "better"),
        (2, "better"),
        (None, "too few rows to tell"),
    ]
    assert head.startswith("contributor,items,clusters,before,after,difference,low,high,place,claim")


def test_before_anything_was_measured_the_page_says_how_one_comes_to_stand_there(portal: Portal):
    CreditEntry.objects.all().delete()

    page = text(browser(portal.stranger).get("/leaderboard"))

    assert "Nobody stands here yet" in page


def test_a_private_line_is_no_leaderboard(portal: Portal):
    expert = Line.objects.get(purpose="expert")

    assert browser(portal.contributor).get(f"/leaderboard?line={expert.slug}").status_code == 404


def test_a_team_names_itself(portal: Portal):
    client = browser(portal.contributor)

    client.post("/leaderboard/name", {"team": portal.team.slug, "name": "Carla and friends"})

    assert "Carla and friends" in text(browser(portal.stranger).get("/leaderboard"))


def test_a_team_without_a_name_is_known_to_itself_alone(portal: Portal):
    browser(portal.contributor).post("/leaderboard/name", {"team": portal.team.slug, "anonymous": "on"})

    theirs, own = (text(browser(user).get("/leaderboard")) for user in (portal.stranger, portal.contributor))

    assert (portal.team.name.replace("'", "&#x27;") in theirs, "Anonymous contributor" in theirs) == (False, True)
    assert "(others read: Anonymous contributor)" in own


def test_a_stranger_names_no_team_of_others(portal: Portal):
    reply = browser(portal.stranger).post("/leaderboard/name", {"team": portal.team.slug, "name": "Mine"})

    assert reply.status_code == 404
    assert not CreditName.objects.exists()
