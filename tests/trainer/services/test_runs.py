from collections.abc import Callable

import pytest

from tasks.errors import Conflict, Forbidden, Invalid
from tasks.models import Dataset, Task, Team, User
from tests.trainer.services.settling import settle
from trainer.models import Line, TrainingRun
from trainer.services import lines, recipes, runs, training_data
from trainer.services.launching import path_of
from trainer.states import RUN_ENDED

Fill = Callable[..., Dataset]


def lines_of(run: TrainingRun, name: str) -> int:
    return len((path_of(run.directory) / name).read_text().splitlines())


def finished(run: TrainingRun) -> bool:
    run.refresh_from_db()
    return run.state in RUN_ENDED


def test_a_contributor_trains_an_expert_on_a_private_dataset(line: Line, fill: Fill, contributor: User):
    dataset = fill("letters", visibility="private")

    run = runs.train_expert(dataset, actor=contributor, overrides={"steps": 4})
    settle(lambda: finished(run))

    assert run.state == "succeeded"
    assert run.version.line.team == dataset.team
    assert run.version.parent.digest == line.alias("champion").digest


def test_an_expert_without_sealed_rows_says_why_it_is_not_evaluated(line: Line, fill: Fill, contributor: User):
    run = runs.train_expert(fill("few", visibility="private", sealed=0), actor=contributor, overrides={"steps": 4})

    settle(lambda: finished(run) and run.version.not_evaluated != "")

    assert "must be sealed" in run.version.not_evaluated


def test_an_experts_second_run_goes_on_from_its_newest_version(line: Line, fill: Fill, contributor: User):
    dataset = fill("letters", visibility="private", sealed=0)
    first = runs.train_expert(dataset, actor=contributor, overrides={"steps": 4})
    settle(lambda: finished(first))

    second = runs.train_expert(dataset, actor=contributor, overrides={"steps": 4})

    assert second.start == first.version
    assert second.line == first.line


def test_a_small_private_set_trains_on_all_of_its_rows(line: Line, fill: Fill, contributor: User):
    dataset = fill("few", visibility="private", train=8, sealed=2, validation=2, domains=("add",))

    run = runs.train_expert(dataset, actor=contributor, overrides={"steps": 4})
    settle(lambda: finished(run))

    assert lines_of(run, "train.jsonl") == 12
    assert lines_of(run, "validation.jsonl") == 0


def test_a_large_private_set_keeps_its_split(fill: Fill):
    dataset = fill("many", visibility="private", train=100, sealed=20, validation=20, domains=("add",))
    tasks = Task.objects.filter(memberships__dataset=dataset)

    assert training_data.train_tasks(tasks, private=True).count() == 100
    assert training_data.validation_tasks(tasks).count() == 20


def test_a_stranger_cannot_train_on_a_dataset(line: Line, fill: Fill, stranger: User):
    with pytest.raises(Forbidden):
        runs.train_expert(fill("mine", visibility="private"), actor=stranger)


def test_a_dataset_without_approved_tasks_is_refused(line: Line, fill: Fill, contributor: User):
    empty = fill("empty", visibility="private", train=0, sealed=0, validation=0)

    with pytest.raises(Invalid, match="approved"):
        runs.train_expert(empty, actor=contributor)


def test_an_estimate_comes_before_the_start_and_writes_nothing(line: Line, fill: Fill):
    estimated = runs.estimate(fill("mine", visibility="private"))

    assert estimated.seconds > 0
    assert f"{estimated.rows} tasks" in estimated.sentence
    assert not TrainingRun.objects.exists()


def test_without_a_base_training_is_refused_with_what_to_do(fill: Fill, contributor: User):
    with pytest.raises(Conflict, match="Try again"):
        runs.train_expert(fill("mine", visibility="private"), actor=contributor)


def test_an_unknown_knob_is_refused_by_name(line: Line, fill: Fill, contributor: User):
    with pytest.raises(Invalid, match="learning_speed"):
        runs.train_expert(fill("mine", visibility="private"), actor=contributor, overrides={"learning_speed": 1})


def test_only_a_running_run_can_be_paused(line: Line, fill: Fill, contributor: User):
    run = runs.train_expert(fill("mine", visibility="private"), actor=contributor)

    with pytest.raises(Conflict, match="this one is queued"):
        runs.pause(run, actor=contributor)


def test_a_cancelled_run_cannot_be_cancelled_again(line: Line, fill: Fill, contributor: User):
    run = runs.train_expert(fill("mine", visibility="private"), actor=contributor)
    runs.cancel(run, actor=contributor)

    with pytest.raises(Conflict, match="ended already"):
        runs.cancel(TrainingRun.objects.get(pk=run.pk), actor=contributor)


def test_a_line_cannot_train_on_another_lines_mixture(line: Line, fill: Fill, operator: User, contributor: User):
    fill("shared")
    recipe = recipes.create(line, "all", {}, actor=operator)
    mixture = recipes.build(recipe, actor=operator)
    expert = lines.create_expert(fill("mine", visibility="private").team, "Mine", line.alias("champion"), actor=None)

    for source in ({"mixture": mixture}, {"recipe": recipe}):
        with pytest.raises(Invalid, match="another line"):
            runs.start(expert, actor=contributor, **source)


def test_a_run_has_one_source(line: Line, fill: Fill, operator: User):
    dataset = fill("shared")
    recipe = recipes.create(line, "all", {}, actor=operator)

    for sources in ({}, {"recipe": recipe, "dataset": dataset}):
        with pytest.raises(Invalid, match="one thing to train on"):
            runs.start(line, actor=operator, **sources)


def test_the_shared_line_goes_on_from_its_own_versions_only(line: Line, fill: Fill, operator: User):
    expert = lines.create_expert(fill("mine", visibility="private").team, "Mine", line.alias("champion"), actor=None)

    with pytest.raises(Invalid, match="its own versions"):
        runs.start(line, actor=operator, dataset=fill("shared"), start_from=expert.alias("champion"))


def test_a_small_contributed_set_keeps_its_sealed_rows_sealed_on_the_shared_line(
    line: Line, fill: Fill, operator: User
):
    dataset = fill("few", train=20, sealed=10, validation=5, domains=("add",))

    run = runs.start(line, actor=operator, dataset=dataset, overrides={"steps": 4})
    settle(lambda: finished(run))

    assert lines_of(run, "train.jsonl") == 20


def test_an_expert_may_train_with_a_grader_of_its_own(line: Line, fill: Fill, contributor: User):
    grader = {"type": "choice", "reference": "{{ item.reference }}"}

    run = runs.train_expert(fill("mine", visibility="private"), actor=contributor, grader=grader)

    assert run.grader == grader


def test_datasets_whose_names_look_alike_have_experts_of_their_own(line: Line, fill: Fill, contributor: User):
    first = runs.train_expert(fill("Letters one", visibility="private"), actor=contributor)
    second = runs.train_expert(fill("Letters, one", visibility="private", slug="l-1"), actor=contributor)

    assert first.line != second.line


def test_an_expert_whose_slug_is_taken_gets_another(line: Line, fill: Fill, contributor: User, team: Team):
    dataset = fill("mine", visibility="private")
    taken = lines.create_expert(team, "mine", line.alias("champion"), actor=None)

    run = runs.train_expert(dataset, actor=contributor)

    assert run.line.slug != taken.slug


@pytest.mark.parametrize("name", ["../first_admin", "/etc/passwd", "", "a/b"])
def test_a_base_is_built_only_of_files_among_the_demonstrations(line: Line, operator: User, name: str):
    with pytest.raises(Invalid, match="without a path"):
        lines.create_shared("Other", "other", actor=operator, demonstrations=name)


@pytest.fixture
def trained(line: Line, fill: Fill, contributor: User) -> TrainingRun:
    """A finished expert of Ada's team."""
    run = runs.train_expert(fill("letters", visibility="private"), actor=contributor, overrides={"steps": 4})
    settle(lambda: finished(run))
    return run


def test_a_clone_has_the_rows_the_start_and_the_settings_of_its_run(trained: TrainingRun, contributor: User):
    clone = runs.clone(trained, actor=contributor)

    assert (clone.dataset_version, clone.start, clone.spec) == (trained.dataset_version, trained.start, trained.spec)
    assert (clone.cloned_from, clone.state) == (trained, "queued")


def test_a_clone_differs_in_what_was_asked_for_and_says_so(trained: TrainingRun, contributor: User):
    clone = runs.clone(trained, actor=contributor, overrides={"steps": 8}, seed=5)

    assert clone.spec == {**trained.spec, "steps": 8, "seed": 5}
    assert any(f"run {trained.pk} with seed 5 (was 0), steps 8 (was 4)" in note for note in clone.notes)


def test_a_knob_of_a_clone_can_be_left_to_its_preset(trained: TrainingRun, contributor: User):
    clone = runs.clone(trained, actor=contributor, overrides={"steps": "auto"})

    assert clone.spec["steps"] == 30
    assert "steps" in clone.reasons


def test_an_unknown_knob_of_a_clone_is_refused_by_name(trained: TrainingRun, contributor: User):
    with pytest.raises(Invalid, match="learning_speed"):
        runs.clone(trained, actor=contributor, overrides={"learning_speed": 1})


def test_a_stranger_clones_nothing(trained: TrainingRun, stranger: User):
    with pytest.raises(Forbidden):
        runs.clone(trained, actor=stranger)


def test_an_expert_starts_from_any_version_that_its_team_may_see(trained: TrainingRun, line: Line, contributor: User):
    run = runs.train_expert(trained.dataset, actor=contributor, start_from=line.alias("champion"))

    assert run.start == line.alias("champion")


def test_an_expert_does_not_start_from_another_teams_weights(
    trained: TrainingRun, fill: Fill, stranger: User, contributor: User
):
    theirs = stranger.memberships.first().team
    foreign = lines.create_expert(theirs, "Theirs", runs.shared_champion(), actor=None).alias("champion")

    with pytest.raises(Invalid, match="team's versions"):
        runs.train_expert(trained.dataset, actor=contributor, start_from=foreign)


def test_a_run_keeps_why_its_knobs_are_what_they_are(line: Line, fill: Fill, contributor: User):
    run = runs.train_expert(fill("mine", visibility="private"), actor=contributor, overrides={"steps": 4})

    assert "steps" not in run.reasons
    assert run.reasons["beta"].startswith("a light tie")


def test_an_estimate_says_time_and_tokens_and_what_it_rests_on(line: Line, fill: Fill):
    estimated = runs.estimate(fill("mine", visibility="private"))

    assert f"{estimated.tokens:,} tokens" in estimated.sentence
    assert "no run of its kind ended here" in estimated.sentence


def test_the_next_estimate_rests_on_the_run_before(trained: TrainingRun, line: Line):
    estimated = runs.estimate(trained.dataset, overrides={"steps": 8}, start_from=line.alias("champion"))

    assert estimated.runs == 1
    assert estimated.tokens == pytest.approx(8000, rel=0.01)  # the fake engine draws 1,000 a step


def test_a_recipes_run_is_estimated_before_it_is_built(line: Line, fill: Fill, operator: User):
    fill("shared")
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 7})

    estimated = runs.estimate_recipe(recipe, rows=recipes.preview(recipe).size, overrides={"group_size": 4})

    assert (estimated.steps, estimated.spec.group_size, estimated.rows) == (7, 4, 120)
    assert not TrainingRun.objects.exists()
