"""From one version's rows to the next one's: added, left out, withdrawn, and the shares of domains."""

from collections.abc import Callable

import pytest

from tasks.models import Dataset, Task, User
from tasks.services import withdrawals
from tasks.states import TaskState
from tests.trainer.services.settling import settle
from trainer.models import GateReport, Line, ModelVersion
from trainer.services import data_changes, recipes, runs


@pytest.fixture
def two_turns(
    line: Line, fill: Callable[..., Dataset], operator: User, knobs: Callable[..., None]
) -> tuple[ModelVersion, ModelVersion, Dataset]:
    """A first version on one dataset; a second one after another dataset came."""
    knobs(champion=0.3, candidate=0.7)
    first = fill("sums", train=40, sealed=30)
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
    for turn in (1, 2):
        if turn == 2:
            fill("more", train=10, sealed=0, validation=0, domains=("add", "sort"))
        run = runs.start(line, actor=operator, recipe=recipe, seed=turn)
        settle(lambda run=run: GateReport.objects.filter(evaluation__candidate__run=run).exists())
    old, new = line.versions.filter(number__in=[1, 2]).order_by("number")
    return old, new, first


def test_added_rows_are_told_with_the_shares_of_domains(two_turns: tuple[ModelVersion, ModelVersion, Dataset]):
    old, new, _ = two_turns

    changes = data_changes.between(old, new)

    assert (changes.before, changes.after, changes.added, changes.removed) == (80, 100, 20, 0)
    assert {share.domain: (share.before, share.after) for share in changes.domains} == {
        "add": (40, 50),
        "reverse": (40, 40),
        "sort": (0, 10),
    }
    assert changes.sentence == "100 rows instead of 80: 20 added, 0 left out."


def test_rows_withdrawn_in_between_are_told_apart_from_others_left_out(
    two_turns: tuple[ModelVersion, ModelVersion, Dataset], line: Line, operator: User
):
    _, old, first = two_turns
    gone = Task.objects.filter(memberships__dataset=first, domain="add", split="train").order_by("pk")[:5]
    for task in gone:
        withdrawals.withdraw(task, actor=None, reason="Wrong answers.")
    run = runs.start(line, actor=operator, recipe=line.recipes.get(), seed=3)
    settle(lambda: GateReport.objects.filter(evaluation__candidate__run=run).exists())

    changes = data_changes.between(old, run.version)

    assert Task.objects.filter(state=TaskState.WITHDRAWN).count() == 5
    assert (changes.removed, changes.withdrawn) == (5, 5)
    assert changes.sentence.endswith("0 added, 5 left out (5 of them withdrawn).")


def test_a_base_was_trained_on_none_of_the_rows(two_turns: tuple[ModelVersion, ModelVersion, Dataset], line: Line):
    first = two_turns[0]

    changes = data_changes.between(line.versions.get(number=0), first)

    assert (changes.before, changes.added) == (0, changes.after)
    assert changes.sentence.startswith("The champion was trained on no rows")
