"""Supervision of engine processes, with a fake engine that writes the same files."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tasks.errors import Conflict, Invalid
from tasks.models import Dataset, Event, User
from tests.trainer.services.settling import settle
from trainer.contract import StepMetrics, encode
from trainer.models import BaseBuild, Line, ModelVersion, RunMetric, TrainingRun, Usage
from trainer.services import recipes, runs, supervision, usage
from trainer.services.training import TrainingKind
from trainer.states import RUN_ENDED, AliasName, RunState

Knobs = Callable[..., None]
Fill = Callable[..., Dataset]


@pytest.fixture
def run(line: Line, fill: Fill, operator: User) -> TrainingRun:
    fill()
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 6})
    return runs.start(line, actor=operator, recipe=recipe)


def ended(run: TrainingRun) -> bool:
    run.refresh_from_db()
    return run.state in RUN_ENDED


def started(run: TrainingRun) -> bool:
    run.refresh_from_db()
    return run.handle is not None and run.step > 0


def test_a_local_base_becomes_version_0_champion_and_anchor(unbuilt_line: Line):
    settle(lambda: ModelVersion.objects.filter(line=unbuilt_line).exists())

    version = ModelVersion.objects.get(line=unbuilt_line)
    assert version.number == 0
    assert unbuilt_line.alias(AliasName.CHAMPION) == unbuilt_line.alias(AliasName.ANCHOR) == version


def test_a_run_trains_and_its_model_is_registered_as_challenger(run: TrainingRun):
    settle(lambda: ended(run))

    assert run.state == "succeeded"
    assert run.version.number == 1
    assert run.line.alias(AliasName.CHALLENGER) == run.version
    assert RunMetric.objects.filter(run=run).count() == 6


def test_a_killed_engine_is_started_again_and_the_run_shows_attempt_2(run: TrainingRun, knobs: Knobs):
    knobs(crash_at=3)

    settle(lambda: ended(run))

    assert (run.state, run.attempt) == ("succeeded", 2)
    assert list(RunMetric.objects.filter(run=run).values_list("step", flat=True)) == [1, 2, 3, 4, 5, 6]


def test_a_run_whose_engine_always_dies_fails_with_a_sentence(run: TrainingRun, knobs: Knobs, settings):
    settings.ENGINE_ATTEMPTS = 2
    knobs(leave=True)

    settle(lambda: ended(run))

    assert run.state == "failed"
    assert run.error["code"] == "too_many_attempts"


def test_an_engine_fault_is_recorded_with_the_boundary_where_it_broke(run: TrainingRun, knobs: Knobs):
    knobs(fail="training")

    settle(lambda: ended(run))

    assert (run.state, run.error["boundary"]) == ("failed", "training")


def test_a_stopped_engine_is_fenced_after_its_lease(run: TrainingRun, knobs: Knobs, settings):
    settings.ENGINE_LEASE_SECONDS = 1
    knobs(seconds=3)
    settle(lambda: started(run))
    stopped = psutil.Process(run.handle["pid"])
    os.kill(stopped.pid, signal.SIGSTOP)

    settle(lambda: ended(run))

    assert (run.state, run.attempt) == ("succeeded", 2)
    assert not stopped.is_running()


def test_late_writes_of_a_fenced_attempt_change_nothing(run: TrainingRun, knobs: Knobs):
    knobs(seconds=5)
    settle(lambda: started(run))
    TrainingRun.objects.filter(pk=run.pk).update(attempt=run.attempt + 1, step=0)

    late = TrainingRun.objects.advance(run.pk, RunState.RUNNING, RunState.SUCCEEDED, attempt=run.attempt)

    assert late is False
    runs.cancel(TrainingRun.objects.get(pk=run.pk), actor=None)
    supervision.supervise()


def test_cancelling_ends_the_run_and_its_process(run: TrainingRun, knobs: Knobs, operator: User):
    knobs(seconds=30)
    settle(lambda: started(run))
    engine = psutil.Process(run.handle["pid"])

    runs.cancel(run, actor=operator)
    supervision.supervise()

    assert ended(run)
    assert run.state == "cancelled"
    assert not engine.is_running()


def test_a_paused_run_keeps_a_snapshot_and_goes_on_when_resumed(
    run: TrainingRun, knobs: Knobs, operator: User, django_capture_on_commit_callbacks
):
    knobs(seconds=3)
    settle(lambda: started(run))
    with django_capture_on_commit_callbacks(execute=True):
        runs.pause(run, actor=operator)
    settle(lambda: TrainingRun.objects.get(pk=run.pk).state == "paused")

    runs.resume(TrainingRun.objects.get(pk=run.pk), actor=operator)
    settle(lambda: ended(run))

    assert (run.state, run.attempt) == ("succeeded", 2)


def test_pausing_and_resuming_uses_up_no_try(
    run: TrainingRun, knobs: Knobs, operator: User, settings, django_capture_on_commit_callbacks
):
    settings.ENGINE_ATTEMPTS = 2
    knobs(seconds=2)
    for _ in range(2):
        settle(lambda: started(run))
        with django_capture_on_commit_callbacks(execute=True):
            runs.pause(run, actor=operator)
        settle(lambda: TrainingRun.objects.get(pk=run.pk).state == "paused")
        runs.resume(TrainingRun.objects.get(pk=run.pk), actor=operator)
        TrainingRun.objects.filter(pk=run.pk).update(step=0)

    settle(lambda: ended(run))

    assert (run.state, run.attempt) == ("succeeded", 3)


def test_a_pause_that_was_asked_for_during_the_launch_is_not_lost(run: TrainingRun, knobs: Knobs, operator: User):
    knobs(seconds=5)
    settle(lambda: started(run))
    runs.pause(run, actor=operator)  # nothing is committed here, so nobody tells the engine

    settle(lambda: TrainingRun.objects.get(pk=run.pk).state == "paused")

    assert TrainingRun.objects.get(pk=run.pk).step < run.total_steps


def test_a_line_has_one_run_at_a_time(run: TrainingRun, operator: User):
    with pytest.raises(Conflict, match="wait for it"):
        runs.start(run.line, actor=operator, mixture=run.mixture)


def test_every_state_of_a_run_has_its_event(run: TrainingRun):
    settle(lambda: ended(run))

    kinds = Event.objects.filter(subject_type="trainingrun", subject_id=str(run.pk)).order_by("id")
    assert list(kinds.values_list("kind", flat=True)) == [
        "trainingrun.queued",
        "trainingrun.running",
        "trainingrun.succeeded",
    ]


def test_a_missing_demonstrations_file_fails_the_build_in_a_sentence(unbuilt_line: Line):
    BaseBuild.objects.filter(line=unbuilt_line).update(demonstrations="gone.jsonl")

    settle(lambda: BaseBuild.objects.get(line=unbuilt_line).state == "failed")

    assert "gone.jsonl" in BaseBuild.objects.get(line=unbuilt_line).error["sentence"]


def paused(run: TrainingRun) -> bool:
    run.refresh_from_db()
    return run.state == RunState.PAUSED


@pytest.fixture
def spent(line: Line, fill: Fill, operator: User) -> TrainingRun:
    """A run of six steps that its budget has paused after three."""
    fill()
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 6, "max_steps": 3})
    run = runs.start(line, actor=operator, recipe=recipe)
    settle(lambda: paused(run))
    return run


def test_a_spent_budget_pauses_the_run_and_says_so(spent: TrainingRun):
    assert (spent.step, spent.ending["code"], spent.tries) == (3, "budget_steps", 0)
    assert "budget of 3 steps is spent" in spent.ending["sentence"]


def test_a_paused_run_goes_on_with_another_budget(spent: TrainingRun, operator: User):
    runs.resume(spent, actor=operator, budgets={"max_steps": 5})

    settle(lambda: paused(spent))

    assert (spent.step, spent.attempt, spent.spec["max_steps"]) == (5, 2, 5)


def test_without_a_budget_a_paused_run_goes_on_to_its_end(spent: TrainingRun, operator: User):
    runs.resume(spent, actor=operator, budgets={"max_steps": 0})

    settle(lambda: ended(spent))

    assert (spent.state, spent.step, spent.ending["code"]) == ("succeeded", 6, "completed")


@pytest.mark.parametrize("budgets", [{}, {"max_steps": 3}, {"max_steps": 6, "max_tokens": 2500}])
def test_a_budget_that_is_spent_already_is_refused(spent: TrainingRun, operator: User, budgets: dict[str, int]):
    with pytest.raises(Invalid, match="would pause at once"):
        runs.resume(spent, actor=operator, budgets=budgets)


def test_a_changed_budget_leaves_its_event(spent: TrainingRun, operator: User):
    runs.resume(spent, actor=operator, budgets={"max_steps": 5})

    told = Event.objects.get(kind="trainingrun.budgets", subject_id=str(spent.pk)).data
    assert (told["old"]["max_steps"], told["new"]["max_steps"]) == (3, 5)


def test_only_budgets_change_when_a_run_goes_on(spent: TrainingRun, operator: User):
    with pytest.raises(Invalid, match="A budget is one of"):
        runs.resume(spent, actor=operator, budgets={"learning_rate": 1.0})


def test_no_run_goes_on_beside_another_one_of_its_line(spent: TrainingRun, operator: User):
    runs.start(spent.line, actor=operator, mixture=spent.mixture)

    with pytest.raises(Conflict, match="wait for it"):
        runs.resume(spent, actor=operator, budgets={"max_steps": 0})


def test_alarms_come_to_the_run_with_what_was_done(run: TrainingRun, knobs: Knobs):
    knobs(alarms=[{"step": 2, "kind": "kl"}, {"step": 4, "level": "stop", "action": "stopped", "kind": "entropy_low"}])

    settle(lambda: ended(run))

    assert [(alarm.step, alarm.kind, alarm.data["action"]) for alarm in run.alarms.all()] == [
        (2, "kl", "none"),
        (4, "entropy_low", "stopped"),
    ]
    assert (run.state, run.ending["code"], run.kept_step) == ("succeeded", "alarm", 4)


def test_steps_that_a_run_went_back_on_are_gone_from_its_curves(run: TrainingRun, knobs: Knobs):
    back = {"step": 5, "level": "stop", "action": "rolled_back", "back_to": 2}
    knobs(alarms=[back, {"step": 4, "level": "stop", "action": "stopped", "again": True}])

    settle(lambda: ended(run))

    assert list(run.metrics.values_list("step", flat=True)) == [1, 2, 3, 4]
    assert run.learning_rate == pytest.approx(1.5e-4)


def test_what_an_engine_spent_is_kept_by_attempt(run: TrainingRun, knobs: Knobs):
    knobs(crash_at=4)

    settle(lambda: ended(run))

    spent = Usage.objects.filter(kind="run", work=run.pk).order_by("attempt")
    assert [(row.attempt, row.steps, row.tokens) for row in spent] == [(1, 3, 3000), (2, 3, 3000)]
    assert all(row.seconds > 0 and row.team == run.line.team for row in spent)


def test_steps_that_are_trained_again_are_spent_twice(run: TrainingRun, knobs: Knobs):
    knobs(alarms=[{"step": 5, "level": "stop", "action": "rolled_back", "back_to": 2}])

    settle(lambda: ended(run))

    spent = Usage.objects.get(kind="run", work=run.pk)
    assert (spent.steps, spent.tokens) == (9, 9000)


def test_the_measurement_before_the_first_step_is_no_step(run: TrainingRun, tmp_path: Path):
    usage.open_attempt("run", run)
    lines = [StepMetrics(step=step, total_steps=6, at=0.0, tokens_seen=100 * step or None) for step in (0, 1, 2)]
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(encode(line) + b"\n" for line in lines))

    TrainingKind().read_progress(run, tmp_path)

    spent = Usage.objects.get(kind="run", work=run.pk)
    assert (spent.steps, spent.tokens) == (2, 200)
