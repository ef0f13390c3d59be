import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from tasks.models import Dataset, Event, User
from tasks.services.pruning import Pruned, prune
from tests import cast
from tests.trainer.services.hooked import add
from tests.trainer.services.settling import settle
from trainer.models import (
    BaseBuild,
    DeliveryTry,
    Evaluation,
    Firing,
    Line,
    ModelVersion,
    Recipe,
    RunCheckpoint,
    RunSample,
    Schedule,
    TrainingRun,
)
from trainer.services import artifacts, checkpoints, engine_work, pruning, runs
from trainer.services.launching import new_directory, path_of
from trainer.states import RUN_ENDED

pytestmark = pytest.mark.django_db
LONG_AGO = timedelta(days=1000)
SOME_DAYS = timedelta(days=20)  # after which checkpoints go, and rollouts do not


def _pruned(kind: str, *, dry_run: bool = False) -> Pruned:
    return next(found for found in prune(pruning.rules(), dry_run=dry_run) if found.kind == kind)


def _age(path: Path, age: timedelta = LONG_AGO) -> None:
    moment = (timezone.now() - age).timestamp()
    for each in [*path.rglob("*"), path]:
        os.utime(each, (moment, moment))


@pytest.fixture
def trained(line: Line, fill: Callable[..., Dataset], contributor: User) -> TrainingRun:
    """A run of the fake engine that has given a version."""
    run = runs.train_expert(fill("letters", visibility="private", sealed=0), actor=contributor, overrides={"steps": 4})

    def ended() -> bool:
        run.refresh_from_db()
        return run.state in RUN_ENDED

    settle(ended)
    assert run.state == "succeeded"
    RunSample.objects.create(run=run, step=1, data={})
    folder = path_of(run.directory)
    for name in ("samples.jsonl", "rollouts/step-000001.parquet", "checkpoints/step-4/weights"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"12345678")
    return run


def _ended(run: TrainingRun, ago: timedelta) -> Path:
    TrainingRun.objects.filter(pk=run.pk).update(finished_at=timezone.now() - ago)
    _age(path_of(run.directory), ago)
    return path_of(run.directory)


def test_checkpoints_of_a_run_go_some_days_after_its_end(trained: TrainingRun):
    folder = _ended(trained, SOME_DAYS)

    found = _pruned("checkpoints")

    assert found.count == 1
    assert not (folder / "checkpoints").exists()
    assert not (folder / "model").exists()
    assert (folder / "rollouts").exists()


def test_the_version_that_a_run_gave_stays_whole(trained: TrainingRun):
    _ended(trained, LONG_AGO)
    before = sorted(Path(trained.version.path).rglob("*"))
    _age(artifacts.store())

    prune(pruning.rules())

    assert sorted(Path(trained.version.path).rglob("*")) == before != []


def test_a_model_that_the_store_has_lost_is_not_taken_from_its_run_too(trained: TrainingRun):
    folder = _ended(trained, LONG_AGO)
    Path(trained.version.path).rename(artifacts.store() / "elsewhere")

    prune(pruning.rules())

    assert (folder / "model").exists()
    assert not (folder / "checkpoints").exists()


@pytest.mark.parametrize("state", ["paused", "queued"])
def test_a_run_that_may_go_on_keeps_all_it_has(trained: TrainingRun, state: str):
    folder = _ended(trained, LONG_AGO)
    TrainingRun.objects.filter(pk=trained.pk).update(state=state)
    before = sorted(folder.rglob("*"))

    prune(pruning.rules())

    assert sorted(folder.rglob("*")) == before
    assert RunSample.objects.filter(run=trained).exists()


def test_a_run_whose_engine_still_writes_keeps_all_it_has(trained: TrainingRun):
    folder = _ended(trained, LONG_AGO)
    os.utime(folder / "heartbeat.json")

    prune(pruning.rules())

    assert (folder / "checkpoints").exists()


def test_rollouts_and_samples_go_and_the_curves_stay(trained: TrainingRun, settings: Any):
    settings.PRUNE_RUNS_DAYS = 0
    folder = _ended(trained, LONG_AGO)
    assert RunSample.objects.filter(run=trained).exists()

    prune(pruning.rules())

    assert not (folder / "rollouts").exists()
    assert not (folder / "samples.jsonl").exists()
    assert not RunSample.objects.filter(run=trained).exists()
    assert trained.metrics.exists()
    assert (folder / "metrics.jsonl").exists()


def test_at_last_the_whole_directory_goes(trained: TrainingRun):
    folder = _ended(trained, LONG_AGO)

    prune(pruning.rules())

    assert not folder.exists()
    assert Event.objects.filter(kind="prune.runs", data__trainingrun=trained.pk, team=trained.line.team).exists()


def test_a_dry_run_removes_nothing(trained: TrainingRun):
    folder = _ended(trained, LONG_AGO)
    before = sorted(folder.rglob("*"))

    found = _pruned("runs", dry_run=True)

    assert (found.count, found.bytes) == (1, sum(path.stat().st_size for path in before if path.is_file()))
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("name", ["", ".", "..", "/etc", "run-x/../.."])
def test_nothing_but_a_run_directory_is_taken_for_one(trained: TrainingRun, name: str):
    folder = _ended(trained, LONG_AGO)
    TrainingRun.objects.filter(pk=trained.pk).update(directory=name)

    prune(pruning.rules())

    assert (folder / "checkpoints").exists()


def test_a_build_of_a_base_loses_what_the_store_has(unbuilt_line: Line):
    settle(lambda: unbuilt_line.versions.exists())
    build = BaseBuild.objects.get(line=unbuilt_line)
    BaseBuild.objects.update(finished_at=timezone.now() - SOME_DAYS)
    folder = path_of(build.directory)
    _age(folder)

    prune(pruning.rules())

    assert not (folder / "model").exists()
    assert (folder / "spec.json").exists()
    assert artifacts.path_of(unbuilt_line.versions.get().digest).is_dir()


# Evaluations


def _evaluation(line: Line, state: str) -> Path:
    base = line.versions.get()
    work = Evaluation.objects.create(
        line=line, candidate=base, champion=base, sampling={}, policy={}, policy_digest="0" * 64, state=state,
        directory=new_directory("evaluation"), finished_at=timezone.now() - LONG_AGO,
    )  # fmt: skip
    folder = path_of(work.directory)
    folder.mkdir(parents=True)
    (folder / "scores.jsonl").write_text("{}")
    return folder


@pytest.mark.parametrize(("state", "there"), [("failed", False), ("cancelled", False), ("running", True)])
def test_the_directory_of_an_evaluation_goes_with_its_end(line: Line, state: str, there: bool):
    folder = _evaluation(line, state)

    prune(pruning.rules())

    assert folder.exists() is there


def test_an_evaluation_that_the_gate_has_not_decided_keeps_its_scores(line: Line):
    folder = _evaluation(line, "succeeded")

    prune(pruning.rules())

    assert folder.exists()


# Artifacts, fire times


@pytest.fixture
def unregistered(line: Line) -> Path:
    path = artifacts.path_of("e" * 64)
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"1234")
    _age(path)
    return path


def test_an_artifact_that_no_version_names_goes(unregistered: Path):
    found = _pruned("unregistered_models")

    assert (found.count, found.bytes, unregistered.exists()) == (1, 4, False)


def test_a_checkpoint_that_is_pruned_is_no_model_any_more(trained: TrainingRun):
    RunCheckpoint.objects.create(run=trained, step=4)
    _ended(trained, SOME_DAYS)

    prune(pruning.rules())

    assert list(trained.checkpoints.filter(gone_at=None)) == []


def test_an_artifact_that_a_used_checkpoint_names_stays(unregistered: Path, trained: TrainingRun):
    RunCheckpoint.objects.create(run=trained, step=99, digest=unregistered.name)

    prune(pruning.rules())

    assert unregistered.exists()


def test_an_artifact_goes_when_its_checkpoint_was_deleted(unregistered: Path, trained: TrainingRun, contributor: User):
    kept = RunCheckpoint.objects.create(run=trained, step=99, digest=unregistered.name)

    checkpoints.delete(kept, actor=contributor)
    prune(pruning.rules())

    assert not unregistered.exists()


def test_an_artifact_that_is_named_meanwhile_stays(unregistered: Path, line: Line, monkeypatch: Any):
    alone = engine_work.alone

    def late(*args: Any) -> Any:
        ModelVersion.objects.create(line=line, number=9, digest=unregistered.name, origin="just now")
        return alone(*args)

    monkeypatch.setattr(pruning.engine_work, "alone", late)

    prune(pruning.rules())

    assert unregistered.exists()


def test_no_artifact_goes_while_a_base_is_being_taken_in(unregistered: Path):
    BaseBuild.objects.update(source="directory", state="queued")

    prune(pruning.rules())

    assert unregistered.exists()


def test_skipped_fire_times_go_and_runs_of_a_schedule_stay(line: Line):
    recipe = Recipe.objects.create(line=line, name="all", body={})
    schedule = Schedule.objects.create(line=line, recipe=recipe, cron="0 3 * * *", decided_until=timezone.now())
    for hours, outcome in enumerate(("skipped", "ran")):
        Firing.objects.create(schedule=schedule, due_at=timezone.now() - timedelta(hours=hours), outcome=outcome)
    Firing.objects.update(decided_at=timezone.now() - LONG_AGO)

    prune(pruning.rules())

    assert [firing.outcome for firing in schedule.firings.all()] == ["ran"]


def test_deliveries_of_webhooks_go_with_their_tries_when_they_have_ended():
    hook = add(cast.of_own_team("carla"), "https://192.0.43.8/news")
    for state, ago in (("delivered", LONG_AGO), ("delivered", timedelta()), ("pending", LONG_AGO)):
        moment = timezone.now() - ago
        sent = hook.deliveries.create(type="webhook.test", body="{}", state=state, due_at=moment, finished_at=moment)
        sent.log.create(number=1)

    found = _pruned("deliveries")

    assert (found.count, DeliveryTry.objects.count()) == (1, 2)
    assert set(hook.deliveries.values_list("state", flat=True)) == {"delivered", "pending"}
