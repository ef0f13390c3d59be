"""A file that waits for its mapping: what it is, a preview, a confirmation."""

from typing import Any

import pytest

from tasks.models import Upload
from tests.cast import Person

CHOSEN = {"columns": {"frage": "prompt", "antwort": "reference"}}


def test_a_file_that_waits_says_what_it_is(contributor: Person, unmapped: Upload):
    told = contributor.api.get(f"/api/v1/uploads/{unmapped.pk}").json()

    columns = [column["name"] for column in told["detected"]["columns"]]
    assert (told["state"], told["format"], told["mapping"], columns) == ("unmapped", "csv", None, ["frage", "antwort"])


def test_a_preview_shows_rows_beside_what_they_become(contributor: Person, unmapped: Upload):
    reply = contributor.api.post(f"/api/v1/uploads/{unmapped.pk}/mapping/preview", {"mapping": CHOSEN}, format="json")

    first = reply.json()[0]
    assert (first["raw"], first["task"]["item"]) == ({"frage": "Was ist 1 + 1?", "antwort": "2"}, {"reference": "2"})


def test_confirming_a_mapping_begins_the_import(contributor: Person, unmapped: Upload):
    reply = contributor.api.post(f"/api/v1/uploads/{unmapped.pk}/mapping", {"mapping": CHOSEN}, format="json")

    assert (reply.status_code, reply.json()["state"], reply.json()["mapping"]) == (200, "received", CHOSEN)


def test_a_mapping_is_confirmed_once(contributor: Person, unmapped: Upload):
    contributor.api.post(f"/api/v1/uploads/{unmapped.pk}/mapping", {"mapping": CHOSEN}, format="json")

    reply = contributor.api.post(f"/api/v1/uploads/{unmapped.pk}/mapping", {"mapping": CHOSEN}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (409, "not_unmapped")


@pytest.mark.parametrize("path", ["mapping", "mapping/preview"])
@pytest.mark.parametrize("given", [7, "nonsense", [], {"columns": {"x": "prompt"}}, {"colums": {}}])
def test_a_mapping_that_makes_no_tasks_is_refused(contributor: Person, unmapped: Upload, path: str, given: Any):
    reply = contributor.api.post(f"/api/v1/uploads/{unmapped.pk}/{path}", {"mapping": given}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (400, "bad_mapping")


def test_who_only_looks_on_cannot_confirm(onlooker: Person, unmapped: Upload):
    reply = onlooker.api.post(f"/api/v1/uploads/{unmapped.pk}/mapping", {"mapping": CHOSEN}, format="json")

    assert reply.status_code == 403
