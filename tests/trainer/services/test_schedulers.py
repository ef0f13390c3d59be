"""Supervision of engines that a scheduler starts: waiting, lost, silent, cancelled. The scheduler is Slurm's fake."""

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tasks.models import Event, User
from tests.fakes import cluster as clusters
from tests.fakes.cluster import Cluster
from trainer import contract
from trainer.launchers.protocol import Handle
from trainer.models import Line, TrainingRun
from trainer.services import launching, recipes, runs, supervision
from trainer.states import RunState

pytestmark = pytest.mark.django_db


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Cluster:
    settings.ENGINE_LAUNCHER, settings.ENGINE_POLL_SECONDS = "slurm", 0
    cluster = clusters.install(tmp_path / "cluster")
    monkeypatch.setenv("PATH", f"{cluster.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return cluster


@pytest.fixture
def run(line: Line, fill: Any, operator: User, cluster: Cluster) -> TrainingRun:
    """Handed to the scheduler, where it waits."""
    fill()
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 6})
    run = runs.start(line, actor=operator, recipe=recipe)
    supervision.supervise()
    run.refresh_from_db()
    return run


def passed(run: TrainingRun) -> TrainingRun:
    supervision.supervise()
    run.refresh_from_db()
    return run


def directory_of(run: TrainingRun) -> Path:
    return launching.path_of(run.directory)


def beat(run: TrainingRun, *, age_seconds: float = 0) -> None:
    heartbeat = contract.Heartbeat(run.attempt, 10, time.time() - age_seconds, "training", 3, 6, 0)
    (directory_of(run) / "heartbeat.json").write_bytes(contract.encode(heartbeat))


def test_the_work_says_which_scheduler_has_it(run: TrainingRun):
    assert (run.launcher, run.handle["launcher"], run.handle["attempt"]) == ("slurm", "slurm", 1)


def test_a_run_that_waits_for_its_turn_is_not_given_up(run: TrainingRun, settings: Any):
    settings.ENGINE_LEASE_SECONDS = -1

    passed(run)

    assert (run.state, run.phase, run.attempt) == ("running", "waiting", 1)


def test_the_lease_of_a_job_begins_with_its_start(run: TrainingRun, cluster: Cluster):
    os.utime(directory_of(run) / "handle.json", (0, 0))  # launched long ago
    cluster.move("running")

    passed(run)

    assert (run.state, run.attempt) == ("running", 1)


def test_a_lost_job_is_followed_by_the_next_attempt_on_the_same_directory(run: TrainingRun, cluster: Cluster):
    directory = run.directory
    cluster.move("preempted")

    passed(run)

    assert (run.state, run.attempt, run.directory) == ("running", 2, directory)
    assert len(cluster.names()) == 2


def test_why_a_job_was_lost_stands_in_the_history(run: TrainingRun, cluster: Cluster):
    cluster.move("preempted")

    passed(run)

    reasons = [event.data.get("reason", "") for event in Event.objects.filter(subject_id=str(run.pk))]
    assert any("Slurm says PREEMPTED" in reason for reason in reasons)


def test_a_silent_engine_is_cancelled_at_the_scheduler_before_the_next_attempt(
    run: TrainingRun, cluster: Cluster, settings: Any
):
    settings.ENGINE_LEASE_SECONDS = 5
    cluster.move("running")
    with cluster.jobs() as known:
        known["jobs"][0]["since"] = time.time() - 100
    beat(run, age_seconds=50)

    passed(run)

    assert cluster.calls("scancel")
    assert (run.state, run.attempt) == ("running", 2)


def test_a_scheduler_that_is_away_costs_no_attempt(run: TrainingRun, cluster: Cluster):
    cluster.fails("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")

    passed(run)

    assert (run.state, run.attempt, run.handle is not None) == ("running", 1, True)


def test_a_cancelled_run_keeps_its_handle_until_the_job_is_gone(run: TrainingRun, cluster: Cluster, operator: User):
    runs.cancel(run, actor=operator)
    cluster.fails("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    still = passed(run).handle
    cluster.fails("")

    passed(run)

    assert still is not None
    assert (run.state, run.handle) == (RunState.CANCELLED, None)


def test_a_run_that_slurm_refuses_fails_in_its_words(line: Line, fill: Any, operator: User, cluster: Cluster):
    fill()
    refusal = "sbatch: error: invalid partition specified: gpus"
    (cluster.folder / "bin" / "sbatch").write_text(f"#!/bin/sh\necho '{refusal}' >&2\nexit 1\n")
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 6})

    run = passed(runs.start(line, actor=operator, recipe=recipe))

    assert (run.state, run.error["code"]) == ("failed", "launch_failed")
    assert refusal in run.error["sentence"]


def test_a_handle_that_was_stored_before_there_were_other_launchers_is_still_read():
    stored = {"launcher": "local", "host": "here", "pid": 1, "birth": "boot:1", "attempt": 1}

    handle = msgspec.convert(stored, Handle)

    assert launching.launcher_of(handle).name == "local"
