"""Supervision of engine processes, with a fake engine that writes the same files."""

import os
import signal
from collections.abc import Callable

import psutil
import pytest

from tasks.errors import Conflict
from tasks.models import Dataset, Event, User
from tests.trainer.services.settling import settle
from trainer.models import BaseBuild, Line, ModelVersion, RunMetric, TrainingRun
from trainer.services import recipes, runs, supervision
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
