from typing import Any

import pytest

from tasks.models import Dataset
from tasks.services import datasets
from tests import world
from tests.cast import Person


def test_a_private_dataset_is_made_in_ones_only_team(contributor: Person):
    reply = contributor.api.post("/api/v1/datasets", {"name": "Sums"}, format="json")

    assert (reply.status_code, reply.json()["ref"], reply.json()["visibility"]) == (201, "carla-team/sums", "private")


def test_a_contributed_dataset_without_a_licence_is_refused(contributor: Person):
    reply = contributor.api.post("/api/v1/datasets", {"name": "Gifts", "visibility": "contributed"}, format="json")

    assert (reply.status_code, reply.json()["param"]) == (400, "licence")


def test_a_default_grader_is_set_and_shown(contributor: Person):
    dataset = world.private_dataset(contributor)

    reply = contributor.api.put(f"/api/v1/datasets/{dataset.pk}/grader", {"grader": world.GRADER}, format="json")

    assert reply.json() == {"waiting": 0}
    assert contributor.api.get(f"/api/v1/datasets/{dataset.pk}").json()["default_grader"]["type"] == "number"


def test_an_unknown_grader_is_refused(contributor: Person):
    dataset = world.private_dataset(contributor)

    reply = contributor.api.put(f"/api/v1/datasets/{dataset.pk}/grader", {"grader": {"type": "x"}}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (400, "unknown_grader")


def test_counts_are_by_state_and_split(contributor: Person):
    dataset = world.private_dataset(contributor)
    world.imported(dataset, world.rows(5), contributor)

    counts = contributor.api.get(f"/api/v1/datasets/{dataset.pk}/counts").json()

    assert (sum(counts["states"].values()), sum(counts["splits"].values())) == (5, 5)


def test_the_same_content_freezes_into_one_version(contributor: Person):
    dataset = world.private_dataset(contributor)
    world.imported(dataset, world.rows(5), contributor)  # a private space approves by itself

    frozen = [contributor.api.post(f"/api/v1/datasets/{dataset.pk}/freeze", {}, format="json").json() for _ in range(2)]

    assert frozen[0] == frozen[1]
    assert contributor.api.get(f"/api/v1/datasets/{dataset.pk}/versions").json()["results"] == frozen[:1]


def test_an_unapproved_dataset_does_not_freeze(contributor: Person):
    dataset = world.private_dataset(contributor)

    reply = contributor.api.post(f"/api/v1/datasets/{dataset.pk}/freeze", {}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (400, "nothing_approved")


def test_datasets_are_filtered_by_visibility(contributor: Person):
    world.private_dataset(contributor)
    world.contributed_dataset(contributor)

    shown = contributor.api.get("/api/v1/datasets?visibility=contributed").json()["results"]

    assert [dataset["slug"] for dataset in shown] == ["gifts"]


# Another grader


@pytest.fixture
def graded(contributor: Person) -> Dataset:
    """Three rows that go by the dataset's grader."""
    dataset = datasets.create(contributor.team, "By default", actor=contributor.user, default_grader={"type": "number"})
    world.imported(
        dataset, b"".join(b'{"prompt": "Say %d.", "reference": %d}\n' % (n, n) for n in (4, 5, 6)), contributor
    )
    return dataset


def change(person: Person, dataset: Dataset, **body: Any) -> Any:
    return person.api.post(f"/api/v1/datasets/{dataset.pk}/grader", body, format="json")


def test_a_change_of_grader_is_told_before_it_is_made(contributor: Person, graded: Dataset):
    told = change(contributor, graded, grader={"type": "number", "absolute_tolerance": 1}).json()

    graded.refresh_from_db()
    assert (told, graded.default_grader.config["absolute_tolerance"]) == ({"affected": 3, "change": None}, 0)


def test_a_confirmed_change_of_grader_is_made(contributor: Person, graded: Dataset):
    told = change(contributor, graded, grader={"type": "number", "absolute_tolerance": 1}, confirm=True).json()

    graded.refresh_from_db()
    assert (told["change"]["state"], graded.default_grader.config["absolute_tolerance"]) == ("pending", 1)


def test_a_change_to_a_grader_that_cannot_be_right_is_400(contributor: Person, graded: Dataset):
    reply = change(contributor, graded, grader={"type": "numbr"}, confirm=True)

    assert (reply.status_code, reply.json()["code"]) == (400, "unknown_grader")


def test_a_stranger_changes_no_grader(stranger: Person, graded: Dataset):
    assert change(stranger, graded, grader={"type": "number"}, confirm=True).status_code == 404
