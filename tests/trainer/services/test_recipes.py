from collections.abc import Callable

import pytest

from tasks.errors import Conflict, Forbidden, Invalid
from tasks.models import Dataset, HeldOutSuite, Task, Team, User
from tasks.services import accounts
from tasks.states import Split, TaskState
from trainer.models import Line, Mixture
from trainer.services import recipes

Fill = Callable[..., Dataset]


def test_the_same_inputs_and_seed_give_the_same_mixture(line: Line, fill: Fill, operator: User):
    fill()
    recipe = recipes.create(line, "all", {"seed": 3}, actor=operator)

    first, second = recipes.build(recipe, actor=operator), recipes.build(recipe, actor=operator)

    assert first == second


def test_another_seed_gives_another_order(line: Line, fill: Fill, operator: User):
    fill()
    recipe = recipes.create(line, "all", {}, actor=operator)

    first, second = recipes.build(recipe, seed=1, actor=operator), recipes.build(recipe, seed=2, actor=operator)

    assert first.digest != second.digest
    assert first.size == second.size


def test_only_approved_training_tasks_are_mixed(line: Line, fill: Fill, operator: User):
    fill("good")
    fill("waiting", state=TaskState.PROVED)

    mixture = recipes.build(recipes.create(line, "all", {}, actor=operator), actor=operator)

    mixed = Task.objects.filter(pk__in=mixture.entries.values("task"))
    assert set(mixed.values_list("state", "split")) == {(TaskState.APPROVED, Split.TRAIN)}


def test_private_tasks_stay_out_of_the_shared_mixture(line: Line, fill: Fill, operator: User):
    fill("shared")
    private = fill("mine", visibility="private")

    mixture = recipes.build(recipes.create(line, "all", {}, actor=operator), actor=operator)

    assert not mixture.entries.filter(task__memberships__dataset=private).exists()


def test_a_cap_per_contributor_binds_and_the_mixture_says_so(line: Line, fill: Fill, operator: User, stranger: User):
    fill("big", train=200)
    fill("small", train=50, owner=Team.objects.get(name="Sam's"))

    mixture = recipes.build(
        recipes.create(line, "capped", {"cap_per_contributor": 0.6}, actor=operator), actor=operator
    )

    largest = max(count["used"] for count in mixture.by_contributor.values())
    assert largest <= 0.6 * mixture.size
    assert mixture.notes


def test_a_preview_counts_rows_and_writes_none(line: Line, fill: Fill, operator: User):
    dataset = fill()

    plan = recipes.preview(recipes.create(line, "all", {}, actor=operator))

    assert plan.size == 120
    assert not Mixture.objects.exists()
    assert not dataset.versions.exists()


def test_a_preview_holds_the_tasks_that_are_built(line: Line, fill: Fill, operator: User):
    fill()
    recipe = recipes.create(line, "all", {}, actor=operator)

    plan, mixture = recipes.preview(recipe), recipes.build(recipe, actor=operator)

    assert plan.tasks == [str(entry.task_id) for entry in mixture.entries.all()]


def test_a_recipe_with_an_unknown_knob_is_refused(line: Line, operator: User):
    with pytest.raises(Invalid, match="weightz"):
        recipes.create(line, "typo", {"weightz": {}}, actor=operator)


def test_a_contributor_cannot_write_a_recipe_of_the_shared_line(line: Line, contributor: User):
    with pytest.raises(Forbidden):
        recipes.create(line, "mine", {}, actor=contributor)


def test_the_pool_is_where_contributed_datasets_live(fill: Fill):
    assert fill().space == accounts.pool()


def test_nothing_is_mixed_while_a_new_suite_is_compared_with_the_stored_tasks(line: Line, fill: Fill, operator: User):
    fill()
    recipe = recipes.create(line, "all", {}, actor=operator)
    HeldOutSuite.objects.create(space=line.team, digest="d", name="new suite", scanned_at=None)

    with pytest.raises(Conflict) as refused:
        recipes.build(recipe, actor=operator)

    assert refused.value.code == "suite_scan_running"
