"""/api/v1/samples: programs send what a model got wrong, with consent; it waits, and goes off as an upload."""

from typing import Any

import pytest

from tasks.models import Sample, Upload
from tests import cast
from tests.cast import Person
from tests.fixtures_portal import Portal
from tests.portal_client import portal, seeded

__all__ = ["portal", "seeded"]
pytestmark = pytest.mark.django_db
WRONG: dict[str, Any] = {"prompt": "Compute 2 + 2.", "model": "champion", "answer": "5", "reference": 4}
RIGHTS: dict[str, Any] = {"licence": "MIT", "consent": True}


@pytest.fixture
def program(portal: Portal) -> Person:
    """With a key of the contributor's team, whose basket is empty."""
    Sample.objects.all().delete()
    return Person(portal.contributor, portal.team, cast.key(portal.contributor, portal.team))


def posted(program: Person, *many: dict[str, Any], **rights: Any) -> Any:
    body = {**RIGHTS, **rights, "samples": list(many or [WRONG])}
    return program.api.post("/api/v1/samples", body, format="json")


def test_samples_are_collected_with_the_version_that_the_name_means(program: Person):
    reply = posted(program, {**WRONG, "score": 0.0, "feedback": "wrong"}, {**WRONG, "model": "shared/v0"})

    kept = reply.json()["collected"]
    assert (reply.status_code, [one["version"] for one in kept]) == (201, ["shared/v1", "shared/v0"])
    assert (kept[0]["asked_as"], kept[0]["score"], kept[0]["source"], kept[0]["upload"]) == (
        "champion", 0.0, "program", None,
    )  # fmt: skip
    assert kept[0]["row"]["grader"] == {"type": "number"}


def test_messages_and_a_grader_are_taken_too(program: Person):
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Capital of France?"}]
    grader = {"type": "set_match"}
    one = {"messages": messages, "model": "shared/v1", "answer": "Lyon", "reference": ["Paris"], "grader": grader}

    kept = posted(program, one).json()["collected"][0]

    assert (kept["row"]["messages"], kept["row"]["grader"]) == (messages, grader)


@pytest.mark.parametrize(
    ("rights", "param"),
    [({"consent": False}, "consent_version"), ({"licence": ""}, "licence"), ({"licence": "X"}, "licence")],
)
def test_without_consent_or_licence_nothing_is_kept(program: Person, rights: dict[str, Any], param: str):
    reply = posted(program, **rights)

    assert (reply.status_code, reply.json()["param"]) == (400, param)
    assert not Sample.objects.exists()


def test_consent_is_asked_for_in_words_where_it_is_left_out(program: Person):
    reply = program.api.post("/api/v1/samples", {"licence": "MIT", "samples": [WRONG]}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (400, "consent_missing")
    assert "I may share these tasks under the licence named" in reply.json()["detail"]


def test_one_that_cannot_be_right_is_named_and_none_is_kept(program: Person):
    reply = posted(program, WRONG, {**WRONG, "reference": "four", "grader": {"type": "number"}})

    assert (reply.status_code, reply.json()["code"], reply.json()["param"]) == (
        400, "reference_bad", "samples.1.reference",
    )  # fmt: skip
    assert not Sample.objects.exists()


def test_more_than_a_call_may_hold_are_refused(program: Person):
    assert posted(program, *[WRONG] * 501).status_code == 400


def test_a_model_that_the_team_may_not_ask_is_not_there(program: Person):
    reply = posted(program, {**WRONG, "model": "elsewhere/v1"})

    assert (reply.status_code, reply.json()["code"]) == (404, "model_not_found")


def test_a_call_that_is_repeated_with_its_key_collects_once(program: Person):
    body = {**RIGHTS, "samples": [WRONG]}
    replies = [
        program.api.post("/api/v1/samples", body, format="json", HTTP_IDEMPOTENCY_KEY="night-1") for _ in range(2)
    ]

    assert [reply.status_code for reply in replies] == [201, 201]
    assert replies[0].json() == replies[1].json()
    assert Sample.objects.count() == 1


def test_what_waits_is_sent_by_a_call(program: Person):
    posted(program, WRONG, {**WRONG, "prompt": "Compute 3 + 3.", "reference": 6})

    reply = program.api.post("/api/v1/samples/send", {}, format="json")

    assert (reply.status_code, reply.json()["dataset_name"]) == (201, f"{program.team.slug}/sent-back-mit")
    assert {one["upload"] for one in listed(program, state="sent")} == {reply.json()["id"]}


def listed(program: Person, **asked: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = program.api.get("/api/v1/samples", asked).json()["results"]
    return found


def test_sent_twice_they_answer_with_the_upload_that_there_is(program: Person):
    ids = [one["id"] for one in posted(program).json()["collected"]]
    first = program.api.post("/api/v1/samples/send", {"samples": ids}, format="json")
    before = Upload.objects.count()

    again = program.api.post("/api/v1/samples/send", {"samples": ids}, format="json")

    assert (again.status_code, again.json()["id"], Upload.objects.count()) == (200, first.json()["id"], before)


def test_one_is_taken_out_again(program: Person):
    (one,) = posted(program).json()["collected"]

    reply = program.api.delete(f"/api/v1/samples/{one['id']}")

    assert (reply.status_code, listed(program)) == (204, [])
    assert program.api.get(f"/api/v1/samples/{one['id']}").status_code == 404


@pytest.mark.parametrize(
    ("asked", "count"), [({"state": "sent"}, 0), ({"source": "program"}, 1), ({"licence": "X"}, 0)]
)
def test_lists_are_filtered(program: Person, asked: dict[str, str], count: int):
    posted(program)

    assert len(listed(program, **asked)) == count


def test_a_strangers_key_neither_sees_nor_sends_nor_removes(program: Person, portal: Portal):
    (one,) = posted(program).json()["collected"]
    team = portal.stranger.memberships.first().team
    stranger = Person(portal.stranger, team, cast.key(portal.stranger, team))

    assert listed(stranger) == []
    assert stranger.api.delete(f"/api/v1/samples/{one['id']}").status_code == 404
    sent = stranger.api.post("/api/v1/samples/send", {"samples": [one["id"]]}, format="json")
    assert sent.status_code == 404
    assert Sample.objects.waiting().count() == 1
