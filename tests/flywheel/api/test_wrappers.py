"""Wrappers of a space by program."""

from typing import Any

import pytest

from tasks.models import Wrapper
from tasks.services import wrapping
from tests.cast import Person


@pytest.fixture
def proposed(reviewer: Person) -> Wrapper:
    """Of the pool."""
    return Wrapper.objects.create(space=reviewer.team, text="start solve this:", rows=30)


def post(person: Person, path: str, **body: Any) -> Any:
    return person.api.post(f"/api/v1/wrappers{path}", body, format="json")


def test_a_reviewer_lists_what_is_proposed(reviewer: Person, proposed: Wrapper):
    (shown,) = reviewer.api.get("/api/v1/wrappers?state=proposed").json()["results"]

    assert (shown["id"], shown["place"], shown["text"], shown["rows"]) == (proposed.pk, "start", "solve this:", 30)


def test_an_approved_one_says_when_stored_tasks_follow(reviewer: Person, proposed: Wrapper):
    approved = post(reviewer, f"/{proposed.pk}/approve").json()
    wrapping.rekey(reviewer.team.pk)

    later = reviewer.api.get(f"/api/v1/wrappers/{proposed.pk}").json()

    assert (approved["state"], approved["decided_by"]) == ("approved", "rosa")
    assert (approved["stored_tasks_follow"], later["stored_tasks_follow"]) == (False, True)


def test_a_refused_one_stays_refused(reviewer: Person, proposed: Wrapper):
    refused = post(reviewer, f"/{proposed.pk}/refuse")

    again = post(reviewer, f"/{proposed.pk}/refuse")

    assert (refused.json()["state"], again.status_code, again.json()["code"]) == ("refused", 409, "decided")


def test_one_is_added_to_ones_own_space(contributor: Person):
    reply = post(contributor, "", place="end", text="Reply like a PIRATE!")

    made = reply.json()
    assert (reply.status_code, made["space"], made["text"]) == (201, contributor.team.slug, "reply like a pirate")


def test_a_stranger_neither_sees_nor_decides(stranger: Person, proposed: Wrapper):
    listed = stranger.api.get("/api/v1/wrappers").json()["results"]

    assert (listed, post(stranger, f"/{proposed.pk}/approve").status_code) == ([], 404)


def test_nobody_adds_one_to_the_space_of_others(stranger: Person, reviewer: Person):
    reply = post(stranger, "", space=reviewer.team.slug, place="end", text="Reply like a pirate")

    assert reply.status_code == 404
