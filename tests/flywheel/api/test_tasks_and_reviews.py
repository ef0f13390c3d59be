import pytest

from tasks.models import Dataset, Task
from tests import world
from tests.cast import Person


@pytest.fixture
def gifts(contributor: Person) -> Dataset:
    """A contributed dataset with ten proved tasks in the pool."""
    dataset = world.contributed_dataset(contributor)
    world.imported(dataset, world.rows(10), contributor)
    return dataset


def test_a_contributor_sees_the_tasks_that_they_brought(contributor: Person, gifts: Dataset):
    assert len(contributor.api.get("/api/v1/tasks").json()["results"]) == 10


def test_a_contributor_sees_no_task_that_only_others_brought(contributor: Person, stranger: Person, gifts: Dataset):
    assert stranger.api.get("/api/v1/tasks").json()["results"] == []


def test_the_pools_reviewer_sees_every_task_of_the_pool(reviewer: Person, gifts: Dataset):
    assert len(reviewer.api.get("/api/v1/tasks").json()["results"]) == 10


def test_tasks_are_filtered_by_dataset_state_domain_and_split(contributor: Person, gifts: Dataset):
    def count(query: str) -> int:
        return len(contributor.api.get(f"/api/v1/tasks?{query}").json()["results"])

    assert (count(f"dataset={gifts}"), count("state=proved"), count("state=rejected")) == (10, 10, 0)
    assert (count("domain=sums"), count("domain=other")) == (10, 0)
    assert sum(count(f"split={split}") for split in ("train", "validation", "sealed")) == 10


def test_a_task_shows_its_grader_and_its_proof(contributor: Person, gifts: Dataset):
    task = Task.objects.first()
    assert task is not None

    shown = contributor.api.get(f"/api/v1/tasks/{task.pk}").json()

    assert (shown["grader"]["type"], shown["proof"]["outcome"]) == ("number", "proved")


def test_a_conflict_names_the_other_side(contributor: Person, gifts: Dataset):
    first = Task.objects.order_by("pk")[0]
    other = b'{"prompt": "xyzzy: add 0 to 7 and say the number.", "item": {"reference": 8}, "grader": '
    body = other + b'{"type": "number", "reference": "{{ item.reference }}"}}\n'
    world.imported(gifts, body, contributor)

    assert contributor.api.get(f"/api/v1/tasks/{first.pk}").json()["conflicts"] == [Task.objects.latest("pk").pk]


def test_the_queue_holds_what_waits_for_the_reviewer(reviewer: Person, gifts: Dataset):
    assert len(reviewer.api.get("/api/v1/reviews/queue").json()["results"]) == 10


def test_the_queue_of_a_contributor_without_a_role_in_the_pool_is_empty(contributor: Person, gifts: Dataset):
    assert contributor.api.get("/api/v1/reviews/queue").json()["results"] == []


def test_a_reviewer_approves_one_task_and_takes_it_back(reviewer: Person, gifts: Dataset):
    task = Task.objects.latest("pk")

    review = reviewer.api.post(f"/api/v1/tasks/{task.pk}/approve", {"note": "fine"}, format="json").json()
    approved = Task.objects.get(pk=task.pk).state
    undone = reviewer.api.post(f"/api/v1/reviews/{review['id']}/undo", {}, format="json").json()

    assert (approved, Task.objects.get(pk=task.pk).state) == ("approved", "proved")
    assert undone["undone_at"] is not None


def test_a_rejection_needs_a_reason_code(reviewer: Person, gifts: Dataset):
    task = Task.objects.latest("pk")

    without = reviewer.api.post(f"/api/v1/tasks/{task.pk}/reject", {}, format="json")
    having = reviewer.api.post(f"/api/v1/tasks/{task.pk}/reject", {"reason_code": "unclear"}, format="json")

    assert (without.status_code, having.status_code, Task.objects.get(pk=task.pk).state) == (400, 201, "rejected")


def test_a_contributor_may_not_approve_into_the_pool(contributor: Person, gifts: Dataset):
    task = Task.objects.latest("pk")

    assert contributor.api.post(f"/api/v1/tasks/{task.pk}/approve", {}, format="json").status_code == 403


def test_a_decided_task_is_not_decided_again(reviewer: Person, gifts: Dataset):
    task = Task.objects.latest("pk")
    reviewer.api.post(f"/api/v1/tasks/{task.pk}/approve", {}, format="json")

    assert reviewer.api.post(f"/api/v1/tasks/{task.pk}/approve", {}, format="json").status_code == 409


def test_a_dry_run_counts_and_touches_nothing(reviewer: Person, gifts: Dataset):
    body = {"decision": "approved", "filter": {"state": "proved"}, "dry_run": True}

    reply = reviewer.api.post("/api/v1/reviews/bulk", body, format="json").json()

    assert reply == {"count": 10, "batch": None}
    assert Task.objects.filter(state="approved").count() == 0


def test_a_bulk_decision_is_taken_and_taken_back_as_one(reviewer: Person, gifts: Dataset):
    body = {"decision": "rejected", "filter": {"dataset": str(gifts)}, "reason_code": "off_topic"}

    batch = reviewer.api.post("/api/v1/reviews/bulk", body, format="json").json()["batch"]
    rejected = Task.objects.filter(state="rejected").count()
    undone = reviewer.api.post(f"/api/v1/reviews/batches/{batch}/undo", {}, format="json").json()

    assert (rejected, undone) == (10, {"undone": 10})


def test_a_bulk_approval_may_carry_an_empty_reason_code(reviewer: Person, gifts: Dataset):
    body = {"decision": "approved", "filter": {}, "reason_code": ""}

    assert reviewer.api.post("/api/v1/reviews/bulk", body, format="json").json()["count"] == 10


def test_a_contributor_withdraws_a_task(contributor: Person, gifts: Dataset):
    task = Task.objects.latest("pk")

    reply = contributor.api.post("/api/v1/withdrawals", {"task": task.pk, "reason": "mine"}, format="json")

    assert (reply.json()["withdrawn"], Task.objects.get(pk=task.pk).state) == (1, "withdrawn")


def test_a_withdrawal_names_one_thing(contributor: Person, gifts: Dataset):
    body = {"task": 1, "dataset": str(gifts), "reason": "mine"}

    assert contributor.api.post("/api/v1/withdrawals", body, format="json").json()["code"] == "one_of_two"
