from typing import Any

import pytest

from tasks.models import Dataset, IdempotencyRecord
from tests import cast
from tests.cast import Person

pytestmark = pytest.mark.django_db


@pytest.fixture
def contributor() -> Person:
    return cast.of_own_team("carla")


def make(person: Person, name: str, key: str) -> Any:
    body = {"name": name, "team": person.team.slug}
    return person.api.post("/api/v1/datasets", body, format="json", HTTP_IDEMPOTENCY_KEY=key)


def test_the_same_key_and_body_answer_the_same_and_do_nothing_twice(contributor: Person):
    first, second = make(contributor, "Sums", "k"), make(contributor, "Sums", "k")

    assert (second.status_code, second.json()) == (201, first.json())
    assert (Dataset.objects.count(), second["Idempotent-Replay"]) == (1, "true")


def test_the_same_key_with_another_body_is_422(contributor: Person):
    make(contributor, "Sums", "k")

    reply = make(contributor, "Others", "k")

    assert (reply.status_code, reply.json()["code"], Dataset.objects.count()) == (422, "idempotency_key_reused", 1)


def test_the_same_key_at_another_address_is_422(contributor: Person):
    dataset = make(contributor, "Sums", "k").json()["id"]

    reply = contributor.api.post(f"/api/v1/datasets/{dataset}/freeze", {}, format="json", HTTP_IDEMPOTENCY_KEY="k")

    assert reply.status_code == 422


def test_a_refused_request_may_be_put_right_and_sent_again(contributor: Person):
    refused = make(contributor, "", "k")

    reply = make(contributor, "Sums", "k")

    assert (refused.status_code, reply.status_code) == (400, 201)


def test_another_persons_key_is_another_key(contributor: Person):
    make(contributor, "Sums", "k")

    assert make(cast.of_own_team("sven"), "Sums", "k").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_a_key_has_1_to_200_characters(contributor: Person, key: str):
    assert make(contributor, "Sums", key).status_code == 400


def test_the_reply_that_shows_a_secret_is_never_stored(contributor: Person):
    body = {"name": "robot", "scopes": ["read"]}

    contributor.api.post("/api/v1/keys", body, format="json", HTTP_IDEMPOTENCY_KEY="k")

    assert IdempotencyRecord.objects.count() == 0
