"""Lineage and withdrawal through the API: a preview, one receipt, and what other people are shown afterwards."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from tasks.models import Dataset, Task, WithdrawalReceipt
from tasks.services import reviews
from tests import world
from tests.cast import Person
from tests.trainer.services.trained import crowned, trained
from trainer.models import ModelVersion
from trainer.services import recipes

pytestmark = pytest.mark.django_db


@pytest.fixture
def gifts(contributor: Person, reviewer: Person) -> Dataset:
    dataset = world.contributed_dataset(contributor)
    world.imported(dataset, world.rows(30), contributor)
    proved = Task.objects.filter(memberships__dataset=dataset, state="proved")
    reviews.bulk(proved, "approved", reviewer=reviewer.user)
    return dataset


@pytest.fixture
def version(gifts: Dataset, operator: Person) -> ModelVersion:
    """Of a mixture of nothing but the gifts; the champion."""
    line, base = world.line_of(operator, "shared", "shared")
    recipe = recipes.create(line, "all", {}, actor=operator.user)
    made = trained(line, base, mixture=recipes.build(recipe, actor=operator.user))
    crowned(made)
    return made


@pytest.fixture
def withdraw(contributor: Person) -> Callable[..., Any]:
    def ask(**subject: Any) -> Any:
        body = {**subject, "reason": "We stop."}
        return contributor.api.post("/api/v1/withdrawals", body, format="json")

    return ask


def test_a_preview_says_who_saw_the_rows_and_changes_nothing(
    gifts: Dataset, version: ModelVersion, contributor: Person
):
    told = contributor.api.get(f"/api/v1/datasets/{gifts.pk}/withdrawal").json()

    (use,) = told["used"]["uses"]
    assert (told["goes"], told["stays"], told["undo"]) == (30, 0, False)
    assert (use["version"], use["share"], use["aliases"]) == (version.name, 1.0, ["champion"])
    assert [one["then"] for one in told["next"]] == [0]
    assert Task.objects.filter(state="approved").count() == 30


def test_a_withdrawal_answers_with_its_receipt(
    gifts: Dataset, version: ModelVersion, contributor: Person, withdraw: Callable[..., Any]
):
    made = withdraw(dataset=str(gifts))

    receipt = made.json()
    assert (made.status_code, receipt["withdrawn"], receipt["dataset"]) == (201, 30, str(gifts))
    assert [one["version"] for one in receipt["seen"]["versions"]] == [version.name]
    assert contributor.api.get(f"/api/v1/withdrawals/{receipt['id']}").json() == receipt
    assert contributor.api.get("/api/v1/withdrawals", {"dataset": str(gifts)}).json()["results"] == [receipt]


def test_a_receipts_digest_can_be_computed_from_its_tasks(
    gifts: Dataset, withdraw: Callable[..., Any], contributor: Person
):
    receipt = withdraw(dataset=str(gifts)).json()

    rows = contributor.api.get(f"/api/v1/withdrawals/{receipt['id']}/tasks", {"limit": 100}).json()["results"]

    lines = [f"{row['task']} {row['content_digest']}\n" for row in sorted(rows, key=lambda row: row["task"])]
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == receipt["digest"]


def test_one_task_is_withdrawn_with_a_preview_and_a_receipt_too(
    gifts: Dataset, version: ModelVersion, contributor: Person, withdraw: Callable[..., Any]
):
    task = version.run.mixture.entries.earliest("position").task_id

    told = contributor.api.get(f"/api/v1/tasks/{task}/withdrawal").json()
    receipt = withdraw(task=task).json()

    assert (told["goes"], told["used"]["uses"][0]["rows"]) == (1, 1)
    assert (receipt["task"], receipt["withdrawn"], receipt["seen"]["versions"][0]["rows"]) == (task, 1, 1)


@pytest.mark.parametrize("person", ["stranger", "reviewer", "operator"])
def test_nobody_else_sees_the_receipt(
    gifts: Dataset, withdraw: Callable[..., Any], person: str, request: pytest.FixtureRequest
):
    receipt = withdraw(dataset=str(gifts)).json()

    asked = request.getfixturevalue(person).api

    assert asked.get(f"/api/v1/withdrawals/{receipt['id']}").status_code == 404
    assert asked.get("/api/v1/withdrawals").json()["results"] == []


def test_an_open_withdrawal_is_no_receipt_yet(gifts: Dataset, contributor: Person):
    begun = WithdrawalReceipt.objects.create(team=contributor.team, dataset=gifts, reason="We stop.")

    assert contributor.api.get(f"/api/v1/withdrawals/{begun.pk}").status_code == 404


# Lineage


def test_a_version_tells_where_it_comes_from_to_those_who_may_know(
    gifts: Dataset, version: ModelVersion, contributor: Person, stranger: Person
):
    (mine, base), (theirs, _) = (
        person.api.get(f"/api/v1/versions/{version.pk}/lineage").json()["steps"] for person in (contributor, stranger)
    )

    assert [source["dataset"] for source in mine["training"]["sources"]] == [str(gifts)]
    assert [source["dataset"] for source in theirs["training"]["sources"]] == [""]
    assert (base["name"], base["training"]) == ("shared/v0", None)


@pytest.mark.parametrize("what", ["datasets", "tasks", "teams"])
def test_data_tells_what_became_of_it(gifts: Dataset, version: ModelVersion, contributor: Person, what: str):
    task = version.run.mixture.entries.earliest("position").task_id
    pk = {"datasets": gifts.pk, "tasks": task, "teams": contributor.team.pk}[what]

    (use,) = contributor.api.get(f"/api/v1/{what}/{pk}/used-in").json()["uses"]

    assert (use["version"], use["aliases"]) == (version.name, ["champion"])


def test_a_frozen_version_tells_what_became_of_it(gifts: Dataset, version: ModelVersion, contributor: Person):
    used = contributor.api.get(f"/api/v1/datasets/{gifts.pk}/versions/1/used-in").json()

    assert [use["version"] for use in used["uses"]] == [version.name]


# Tombstones


def test_a_withdrawn_task_is_a_tombstone_to_all_but_its_team(
    gifts: Dataset, withdraw: Callable[..., Any], contributor: Person, reviewer: Person
):
    task = Task.objects.filter(memberships__dataset=gifts).earliest("pk")
    withdraw(task=task.pk)

    mine, theirs = (person.api.get(f"/api/v1/tasks/{task.pk}").json() for person in (contributor, reviewer))

    assert world.SECRET in mine["prompt"]
    assert (world.SECRET in str(theirs), theirs["item"], theirs["gold"], theirs["proof"]) == (False, {}, None, None)
    assert (theirs["state"], theirs["content_digest"]) == ("withdrawn", task.content_digest)


def test_no_list_gives_a_withdrawn_prompt_out_again(
    gifts: Dataset, version: ModelVersion, withdraw: Callable[..., Any], operator: Person
):
    withdraw(dataset=str(gifts))

    replies = [
        operator.api.get("/api/v1/tasks", {"state": "withdrawn"}),
        operator.api.get(f"/api/v1/datasets/{gifts.pk}/changes", {"kind": "removed"}),
        operator.browser.get(f"/datasets/{gifts}?state=withdrawn"),
        operator.browser.get(f"/datasets/{gifts}/changes?kind=removed"),
        operator.browser.get(f"/datasets/{gifts}?format=json"),
        operator.browser.get(f"/submit/{gifts.uploads.get().pk}/grader?at=1"),
        operator.api.get(f"/api/v1/datasets/{gifts.pk}/versions/1/export"),
    ]

    told = [b"".join(reply) if reply.streaming else reply.content for reply in replies]
    assert {reply.status_code for reply in replies} == {200}
    assert [world.SECRET.encode() in body for body in told] == [False] * len(told)


def test_a_mixture_keeps_place_and_digest_of_what_is_withdrawn(
    gifts: Dataset, version: ModelVersion, withdraw: Callable[..., Any], operator: Person
):
    mixture = version.run.mixture_id
    first = operator.api.get(f"/api/v1/mixtures/{mixture}/entries").json()["results"][0]
    withdraw(task=first["task"])

    entry = operator.api.get(f"/api/v1/mixtures/{mixture}/entries").json()["results"][0]
    digest = operator.api.get(f"/api/v1/mixtures/{mixture}/digest").json()

    assert (first["withdrawn"], entry) == (False, {**first, "withdrawn": True})
    assert (digest["holds"], digest["now"], digest["withdrawn"]) == (True, digest["digest"], 1)
