from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from tasks import admin as tasks_admin
from tasks.models import Dataset, Review, User
from tasks.services import first_admin
from tests.cast import Person
from tests.tasks.pipeline import proved, states, sums, tasks

pytestmark = pytest.mark.django_db

LIST = "admin:tasks_task_changelist"


@pytest.fixture
def administrator() -> Client:
    first_admin.ensure()
    client = Client()
    user = User.objects.get(username=first_admin.USERNAME)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def _act(client: Client, action: str, dataset: Dataset, **more: str) -> Any:
    chosen = [str(task.pk) for task in tasks(dataset)]
    return client.post(reverse(LIST), {"action": action, "_selected_action": chosen, **more}, follow=True)


@pytest.mark.parametrize("model", list(apps.get_app_config("tasks").get_models()))
def test_every_model_has_a_list_that_opens(administrator: Client, contributed: Dataset, model: Any):
    proved(contributed, sums(2))

    page = administrator.get(reverse(f"admin:tasks_{model._meta.model_name}_changelist"))

    assert page.status_code == 200


@pytest.mark.parametrize("model", list(apps.get_app_config("tasks").get_models()))
def test_no_model_can_be_changed_by_hand(administrator: Client, model: Any, rf: Any):
    request = rf.get("/")
    request.user = User.objects.get(username=first_admin.USERNAME)
    registered = admin.site.get_model_admin(model)

    assert not registered.has_add_permission(request)
    assert not registered.has_change_permission(request)
    assert not registered.has_delete_permission(request)


def test_a_task_can_be_read_in_full(administrator: Client, contributed: Dataset):
    proved(contributed, sums(1))

    page = administrator.get(reverse("admin:tasks_task_change", args=[tasks(contributed)[0].pk]))

    assert "What is 100 + 100?" in page.content.decode()


def test_an_action_first_says_how_many_tasks_it_would_decide(administrator: Client, contributed: Dataset):
    proved(contributed, sums(3))

    page = _act(administrator, "approve", contributed)

    assert "3 of the selected tasks wait for your decision" in page.content.decode()
    assert states(contributed) == ["proved"] * 3


def test_approving_goes_through_reviews(administrator: Client, contributed: Dataset):
    proved(contributed, sums(3))

    _act(administrator, "approve", contributed, apply="1")

    assert states(contributed) == ["approved"] * 3
    assert Review.objects.count() == 3


def test_rejecting_takes_a_reason_code(administrator: Client, contributed: Dataset):
    proved(contributed, sums(1))

    _act(administrator, "reject", contributed, apply="1", reason_code="ambiguous", note="both")

    assert (Review.objects.get().reason_code, Review.objects.get().note) == ("ambiguous", "both")


def test_rejecting_without_a_reason_code_is_refused(administrator: Client, contributed: Dataset):
    proved(contributed, sums(1))

    page = _act(administrator, "reject", contributed, apply="1")

    assert "Give a reason code" in page.content.decode()
    assert states(contributed) == ["proved"]


def test_undo_takes_the_last_decisions_back(administrator: Client, contributed: Dataset):
    proved(contributed, sums(2))
    _act(administrator, "approve", contributed, apply="1")

    _act(administrator, "undo", contributed, apply="1")

    assert states(contributed) == ["proved"] * 2


def test_an_administrator_of_the_pool_does_not_decide_on_private_tasks(administrator: Client, dataset: Dataset):
    proved(dataset, sums(1))

    _act(administrator, "approve", dataset, apply="1")

    assert states(dataset) == ["proved"]


def test_the_admin_is_closed_to_everybody_else(contributor: Person):
    client = Client()
    client.force_login(contributor.user, backend="django.contrib.auth.backends.ModelBackend")

    assert client.get(reverse(LIST)).status_code == 302


def test_a_list_reads_no_payload_and_counts_no_further_than_its_pages(
    administrator: Client, contributed: Dataset, django_assert_max_num_queries: Any
):
    proved(contributed, sums(3))

    with django_assert_max_num_queries(20) as queries:
        administrator.get(reverse(LIST))

    sql = [query["sql"] for query in queries.captured_queries if '"tasks_task"' in query["sql"]]
    assert len(sql) == 2  # the count and the page
    assert not [statement for statement in sql if '"messages"' in statement]
    assert "LIMIT 10000" in next(statement for statement in sql if "COUNT" in statement)


def test_the_bounded_count_stops(contributed: Dataset, monkeypatch: Any):
    proved(contributed, sums(5))
    monkeypatch.setattr(tasks_admin, "COUNTED", 3)

    assert tasks_admin.BoundedPaginator(contributed.memberships.order_by("pk"), 2).count == 3
