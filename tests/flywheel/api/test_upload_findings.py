"""What the checks found about an upload's rows, listed for a client."""

import json
from typing import Any

import pytest

from tasks.models import TaskFinding, Upload
from tests import world
from tests.cast import Person

STORY = "A gardener plants tulips in long rows along the {} fence of the old garden. How many are there?"


def rows(*sides: str) -> bytes:
    grader = {"type": "number"}
    asked = [{"prompt": STORY.format(side), "reference": 5, "grader": grader} for side in sides]
    return b"".join(json.dumps(row).encode() + b"\n" for row in asked)


@pytest.fixture
def upload(contributor: Person) -> Upload:
    """Its second and third rows are nearly the first, its last one is the first."""
    dataset = world.private_dataset(contributor, "Gardens")
    return world.imported(dataset, rows("south", "north", "sooth", "south"), contributor)


def listed(person: Person, upload: Upload, **query: Any) -> Any:
    return person.api.get(f"/api/v1/uploads/{upload.pk}/findings", query)


def test_near_copies_are_listed_with_the_task_beside_and_the_evidence(contributor: Person, upload: Upload):
    first = upload.dataset.memberships.get(line=1).task_id

    found = listed(contributor, upload).json()["results"]

    assert [(one["line"], one["kind"], one["rule"], one["other"]) for one in found] == [
        (2, "near_duplicate", "near", first),
        (3, "near_duplicate", "near", first),
    ]
    assert all(one["similarity"] > 0.85 and one["evidence"] for one in found)


def test_rows_that_were_there_already_are_listed_where_asked_for(contributor: Person, upload: Upload):
    first = upload.dataset.memberships.get(line=1).task_id

    found = listed(contributor, upload, kind="duplicate").json()["results"]

    assert [(one["line"], one["task"], one["kind"], one["evidence"]) for one in found] == [
        (4, first, "duplicate", None)
    ]


def test_findings_are_filtered_by_kind(contributor: Person, upload: Upload):
    assert listed(contributor, upload, kind="suspect").json()["results"] == []


def test_findings_come_page_by_page(contributor: Person, upload: Upload):
    first = listed(contributor, upload, limit=1).json()

    second = contributor.api.get(first["next"]).json()

    assert [one["line"] for page in (first, second) for one in page["results"]] == [2, 3]
    assert second["next"] is None


def test_a_kind_that_there_is_not_is_400(contributor: Person, upload: Upload):
    assert listed(contributor, upload, kind="nothing").status_code == 400


def test_a_task_that_the_caller_may_not_see_has_no_id(contributor: Person, upload: Upload):
    TaskFinding.objects.update(other=2**40)

    assert {one["other"] for one in listed(contributor, upload).json()["results"]} == {None}


def test_the_findings_of_another_teams_upload_are_404(stranger: Person, upload: Upload):
    assert listed(stranger, upload).status_code == 404
