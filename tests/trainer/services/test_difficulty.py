"""Checks of difficulty with a fake engine: what is asked, what is stored, what follows from it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tasks.errors import Conflict, Forbidden, Invalid
from tasks.models import Dataset, Event, Task, TaskFinding, Team, User
from tasks.services import suspecting
from tests.trainer.services.settling import settle
from trainer.models import (
    Alias,
    DifficultyCheck,
    Firing,
    Line,
    ModelVersion,
    PassRate,
    Recipe,
    Schedule,
    TrainingRun,
)
from trainer.services import difficulty, firings, lines, recipes, runs, schedules
from trainer.services.training_data import train_tasks
from trainer.states import AliasName

Knobs = Callable[..., None]
Fill = Callable[..., Dataset]


@pytest.fixture
def recipe(line: Line, fill: Fill, operator: User) -> Recipe:
    """120 approved training tasks: 60 of each domain."""
    fill()
    return recipes.create(line, "all", {}, actor=operator, overrides={"steps": 6})


def banded(line: Line, operator: User, **band: Any) -> Recipe:
    return recipes.create(line, "banded", {"difficulty": band}, actor=operator, overrides={"steps": 6})


def ended(check: DifficultyCheck) -> bool:
    check.refresh_from_db()
    return check.state not in ("queued", "running")


def measured(recipe: Recipe, operator: User) -> DifficultyCheck:
    check = difficulty.start(recipe.line, actor=operator, recipe=recipe)
    settle(lambda: ended(check))
    return check


def promote(line: Line) -> ModelVersion:
    """Another champion, with another artifact."""
    old = line.alias(AliasName.CHAMPION)
    version = ModelVersion.objects.create(line=line, number=old.number + 1, digest="ab" * 32, origin="test")
    Alias.objects.filter(line=line, name=AliasName.CHAMPION).update(version=version)
    return version


def test_every_approved_training_task_gets_its_rate(recipe: Recipe, operator: User):
    check = measured(recipe, operator)

    assert (check.state, check.asked, check.measured) == ("succeeded", 120, 120)
    assert PassRate.objects.count() == 120


def test_a_rate_says_of_how_many_graded_answers_how_many_passed(recipe: Recipe, knobs: Knobs, operator: User):
    knobs(sample={"add": 3, "*": 8})

    measured(recipe, operator)

    added = Task.objects.filter(domain="add", split="train").first()
    rate = PassRate.objects.get(task=added.pk)
    assert (rate.answers, rate.graded, rate.passes, rate.reward) == (8, 8, 3, 0.375)


def test_what_is_measured_is_not_asked_again(recipe: Recipe, fill: Fill, operator: User):
    measured(recipe, operator)
    fill("more", train=5)

    again = measured(recipe, operator)

    assert (again.known, again.asked) == (120, 10)


def test_with_nothing_left_to_ask_a_check_is_refused(recipe: Recipe, operator: User):
    measured(recipe, operator)

    with pytest.raises(Conflict, match="All 120 tasks have a pass rate for shared/v0"):
        difficulty.start(recipe.line, actor=operator, recipe=recipe)


def test_another_champion_is_asked_anew(recipe: Recipe, operator: User):
    measured(recipe, operator)
    promote(recipe.line)

    check = difficulty.start(recipe.line, actor=operator, recipe=recipe)

    assert (check.known, check.asked) == (0, 120)


def test_another_token_limit_is_another_measure(recipe: Recipe, operator: User):
    measured(recipe, operator)
    longer = recipes.create(recipe.line, "longer", {}, actor=operator, overrides={"max_completion_tokens": 99})

    assert difficulty.start(recipe.line, actor=operator, recipe=longer).asked == 120


def test_domains_that_the_recipe_keeps_out_are_not_asked(recipe: Recipe, operator: User):
    only = recipes.create(recipe.line, "only-add", {"weights": {"reverse": 0}}, actor=operator)

    assert difficulty.start(recipe.line, actor=operator, recipe=only).asked == 60


def test_a_check_that_is_under_way_is_not_doubled(recipe: Recipe, operator: User):
    first = difficulty.start(recipe.line, actor=operator, recipe=recipe)

    assert difficulty.start(recipe.line, actor=operator, recipe=recipe) == first


def test_answers_that_cannot_be_graded_are_counted_and_are_no_zero(recipe: Recipe, knobs: Knobs, operator: User):
    knobs(sample={"add": None, "*": 4})

    check = measured(recipe, operator)

    assert (check.measured, check.ungradable, check.never_solved) == (60, 480, 0)
    assert not PassRate.objects.filter(passes=0).exists()


def test_tasks_that_could_not_be_graded_are_asked_again(recipe: Recipe, knobs: Knobs, operator: User):
    knobs(sample={"add": None, "*": 4})
    measured(recipe, operator)

    assert difficulty.start(recipe.line, actor=operator, recipe=recipe).asked == 60


def test_a_killed_engine_goes_on_and_nothing_is_stored_twice(recipe: Recipe, knobs: Knobs, operator: User):
    knobs(crash_at=3)

    check = measured(recipe, operator)

    assert (check.state, check.attempt, check.measured) == ("succeeded", 2, 120)


def test_rates_are_there_while_the_engine_is_still_at_work(recipe: Recipe, knobs: Knobs, operator: User):
    knobs(seconds=4)
    check = difficulty.start(recipe.line, actor=operator, recipe=recipe)
    settle(lambda: PassRate.objects.exists())

    check.refresh_from_db()
    assert (check.state, 0 < check.measured < 120) == ("running", True)
    difficulty.cancel(check, actor=operator)
    settle(lambda: DifficultyCheck.objects.get(pk=check.pk).handle is None)


def test_what_a_cancelled_check_has_measured_stays(recipe: Recipe, knobs: Knobs, operator: User):
    knobs(seconds=4)
    check = difficulty.start(recipe.line, actor=operator, recipe=recipe)
    settle(lambda: PassRate.objects.exists())

    difficulty.cancel(check, actor=operator)
    settle(lambda: DifficultyCheck.objects.get(pk=check.pk).handle is None)

    assert ended(check)
    assert check.state == "cancelled"
    assert PassRate.objects.exists()


def test_a_check_that_has_ended_cannot_be_cancelled(recipe: Recipe, operator: User):
    check = measured(recipe, operator)

    with pytest.raises(Conflict):
        difficulty.cancel(check, actor=operator)


def test_a_chunk_of_rates_is_one_event(recipe: Recipe, operator: User):
    check = measured(recipe, operator)

    told = Event.objects.filter(kind="difficultycheck.measured", subject_id=str(check.pk))
    assert sum(event.data["count"] for event in told) == 120
    assert told.count() < 10


def test_a_contributor_does_not_measure_the_shared_line(recipe: Recipe, contributor: User):
    with pytest.raises(Forbidden):
        difficulty.start(recipe.line, actor=contributor, recipe=recipe)


def test_a_recipe_of_another_line_is_refused(recipe: Recipe, team: Team, contributor: User):
    expert = lines.create_expert(team, "mine", recipe.line.alias(AliasName.CHAMPION), actor=contributor)

    with pytest.raises(Invalid, match="another line"):
        difficulty.start(expert, actor=contributor, recipe=recipe)


def test_a_line_without_a_version_says_so(unbuilt_line: Line, operator: User):
    recipe = recipes.create(unbuilt_line, "all", {}, actor=operator)

    with pytest.raises(Conflict, match="still being built"):
        difficulty.start(unbuilt_line, actor=operator, recipe=recipe)


# Suspected references


def test_a_task_that_no_answer_solved_is_suspected(recipe: Recipe, knobs: Knobs, operator: User):
    knobs(sample={"add": 0, "*": 4})

    check = measured(recipe, operator)

    suspects = suspecting.suspected([recipe.line.team_id])
    assert check.never_solved == 60
    assert set(suspects.values_list("domain", flat=True)) == {"add"}
    assert TaskFinding.objects.first().evidence["model"] == "shared/v0"


def test_what_postgres_cannot_store_of_an_answer_is_replaced(recipe: Recipe, knobs: Knobs, operator: User):
    knobs(sample=0, wrong="4\x001")

    check = measured(recipe, operator)

    assert (check.state, check.never_solved) == ("succeeded", 120)
    assert TaskFinding.objects.earliest("pk").evidence["most_frequent_answer"] == "4\ufffd1"


def test_a_better_champion_withdraws_the_suspicion(recipe: Recipe, knobs: Knobs, operator: User):
    knobs(sample=0)
    measured(recipe, operator)
    promote(recipe.line)
    knobs(sample=2)

    measured(recipe, operator)

    assert not TaskFinding.objects.filter(kind="never_solved").exists()


def test_a_task_that_some_model_solved_is_not_suspected_for_a_worse_one(recipe: Recipe, knobs: Knobs, operator: User):
    knobs(sample=2)
    measured(recipe, operator)
    promote(recipe.line)
    knobs(sample=0)

    check = measured(recipe, operator)

    assert check.never_solved == 120
    assert not TaskFinding.objects.filter(kind="never_solved").exists()


def test_a_teams_expert_suspects_its_own_tasks(line: Line, fill: Fill, team: Team, contributor: User, knobs: Knobs):
    knobs(sample=0)
    dataset = fill("mine", visibility="private", train=3, sealed=0, validation=0)
    expert = lines.create_expert(team, "mine", line.alias(AliasName.CHAMPION), actor=contributor, dataset=dataset)

    check = difficulty.start(expert, actor=contributor, dataset=dataset)
    settle(lambda: ended(check))

    assert (check.state, suspecting.suspected([team.pk]).count()) == ("succeeded", 6)


def test_a_teams_expert_suspects_nothing_of_the_pool(
    line: Line, fill: Fill, team: Team, contributor: User, knobs: Knobs
):
    knobs(sample=0)
    given = fill("given")
    expert = lines.create_expert(team, "mine", line.alias(AliasName.CHAMPION), actor=contributor, dataset=given)

    check = difficulty.start(expert, actor=contributor, dataset=given)
    settle(lambda: ended(check))

    assert check.measured == train_tasks(Task.objects.all(), private=True).count()
    assert not TaskFinding.objects.exists()


# The band of a recipe


def test_a_band_leaves_out_what_the_champion_solves(recipe: Recipe, knobs: Knobs, operator: User):
    knobs(sample={"add": 8, "*": 4})
    measured(recipe, operator)

    mixture = recipes.build(banded(recipe.line, operator), actor=operator)

    assert set(mixture.by_domain) == {"add", "reverse"}
    assert (mixture.size, mixture.by_domain["add"]["used"]) == (60, 0)
    assert mixture.by_difficulty == {"model": "shared/v0", "solved": 60, "too_hard": 0, "unknown": 0}


def test_the_preview_and_the_mixture_leave_out_the_same(recipe: Recipe, knobs: Knobs, operator: User):
    knobs(sample={"add": 8, "*": 0})
    measured(recipe, operator)
    banded_recipe = recipes.create(recipe.line, "b", {"difficulty": {"max": 1, "min": 0.125}}, actor=operator)

    plan, mixture = recipes.preview(banded_recipe), recipes.build(banded_recipe, actor=operator)

    assert (plan.too_hard, plan.size) == (60, 60)
    assert plan.tasks == [str(entry.task_id) for entry in mixture.entries.all()]


def test_rates_of_an_earlier_champion_say_nothing_of_this_one(recipe: Recipe, knobs: Knobs, operator: User):
    knobs(sample=8)
    measured(recipe, operator)
    promote(recipe.line)

    plan = recipes.preview(banded(recipe.line, operator))

    assert (plan.size, plan.unknown) == (120, 120)


def test_a_recipe_that_leaves_the_unknown_out_is_refused_until_it_is_measured(recipe: Recipe, operator: User):
    strict = banded(recipe.line, operator, unknown="leave")

    with pytest.raises(Invalid, match="120 tasks without a pass rate of the champion, left out: measure them first"):
        recipes.build(strict, actor=operator)


def test_a_run_on_unmeasured_tasks_says_how_many(recipe: Recipe, operator: User):
    run = runs.start(recipe.line, actor=operator, recipe=banded(recipe.line, operator))

    assert "120 tasks have no pass rate for shared/v0 and train all the same" in run.notes[1]


def test_a_band_that_ends_before_it_begins_is_no_recipe(line: Line, operator: User):
    with pytest.raises(Invalid) as refused:
        banded(line, operator, min=0.9, max=0.1)

    assert refused.value.param == "difficulty"


def test_the_picture_counts_tasks_by_passes(recipe: Recipe, fill: Fill, knobs: Knobs, operator: User):
    knobs(sample={"add": 8, "*": 3})
    measured(recipe, operator)
    fill("more", train=5)

    picture = difficulty.picture(recipe)

    assert (picture.tasks, picture.known, picture.missing) == (130, 120, 10)
    assert picture.counts == {(8, 8): 60, (3, 8): 60}


def test_the_ends_are_the_hardest_and_the_easiest_that_one_may_see(
    recipe: Recipe, knobs: Knobs, operator: User, stranger: User
):
    knobs(sample={"add": 8, "*": 1})
    measured(recipe, operator)

    hardest, easiest = difficulty.ends(recipe, Task.objects.for_user(operator))

    assert {(task.domain, rate.passes) for task, rate in hardest} == {("reverse", 1)}
    assert {(task.domain, rate.passes) for task, rate in easiest} == {("add", 8)}
    assert difficulty.ends(recipe, Task.objects.for_user(stranger)) == ([], [])


# Scheduled turns


def nightly(line: Line, operator: User, **band: Any) -> Schedule:
    return schedules.create(line, banded(line, operator, **band), "0 3 * * *", actor=operator, min_new_tasks=1)


def fire(schedule: Schedule) -> Firing:
    (firing,) = firings.fire_due(schedule.decided_until + timedelta(days=1))
    return firing


def test_a_scheduled_turn_measures_first(recipe: Recipe, operator: User):
    firing = fire(nightly(recipe.line, operator))

    assert (firing.outcome, firing.run) == ("skipped", None)
    assert "shared/v0 answers 120 tasks that have no pass rate first" in firing.reason
    assert DifficultyCheck.objects.get().state == "queued"


def test_the_run_follows_when_the_measurement_has_ended(recipe: Recipe, operator: User):
    schedule = nightly(recipe.line, operator)
    fire(schedule)

    settle(lambda: TrainingRun.objects.exists())

    firing = schedule.firings.get(outcome="ran")
    assert firing.run == TrainingRun.objects.get()
    assert firing.run.mixture.by_difficulty["unknown"] == 0


def test_a_measurement_is_followed_once(recipe: Recipe, operator: User):
    schedule = nightly(recipe.line, operator)
    fire(schedule)
    settle(lambda: TrainingRun.objects.exists())

    assert firings.go_on() == []
    assert schedule.firings.count() == 2


def test_a_measurement_that_broke_holds_up_no_training(recipe: Recipe, knobs: Knobs, operator: User):
    schedule = nightly(recipe.line, operator)
    fire(schedule)
    DifficultyCheck.objects.update(state="failed")

    (firing,) = firings.go_on()

    assert firing.run.mixture.by_difficulty["unknown"] == 120


def test_a_measurement_that_was_cancelled_is_followed_by_nothing(recipe: Recipe, operator: User):
    fire(nightly(recipe.line, operator))
    difficulty.cancel(DifficultyCheck.objects.get(), actor=operator)

    assert firings.go_on() == []


def test_a_turn_whose_tasks_are_measured_runs_at_once(recipe: Recipe, operator: User):
    measured(recipe, operator)

    assert fire(nightly(recipe.line, operator)).outcome == "ran"


def test_a_turn_without_a_band_measures_nothing(recipe: Recipe, operator: User):
    schedule = schedules.create(recipe.line, recipe, "0 3 * * *", actor=operator, min_new_tasks=1)

    assert fire(schedule).outcome == "ran"
    assert not DifficultyCheck.objects.exists()
