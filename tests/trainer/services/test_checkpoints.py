import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import Conflict, Forbidden, NotFound
from tasks.models import Dataset, Event, User
from tests import cast
from tests.trainer.services.at_once import at_once
from tests.trainer.services.settling import settle
from trainer.launchers import merging
from trainer.launchers.protocol import path_of_checkpoint
from trainer.models import Line, RunCheckpoint, TrainingRun
from trainer.services import artifacts, checkpoints, runs
from trainer.services.launching import path_of
from trainer.services.training import TrainingKind
from trainer.states import RUN_ENDED

Fill = Callable[..., Dataset]


@pytest.fixture
def run(line: Line, fill: Fill, contributor: User) -> TrainingRun:
    overrides = {"steps": 10, "save_every": 2, "measure_every": 2}
    found = runs.train_expert(fill("letters", visibility="private", sealed=0), actor=contributor, overrides=overrides)

    def ended() -> bool:
        found.refresh_from_db()
        return found.state in RUN_ENDED

    settle(ended)
    return found


def at(run: TrainingRun, step: int) -> RunCheckpoint:
    return RunCheckpoint.objects.get(run=run, step=step)


def test_what_the_engine_keeps_is_known(run: TrainingRun):
    assert [row.step for row in run.checkpoints.all()] == [10, 8, 6, 4, 2]


def test_the_best_three_by_validation_are_usable(run: TrainingRun):
    assert [row.step for row in checkpoints.usable(run)] == [10, 8, 6]


def test_a_run_that_was_not_validated_shows_all_that_is_kept(run: TrainingRun):
    for metric in run.metrics.all():
        metric.data.pop("validation_reward", None)
        metric.save()

    assert len(checkpoints.usable(run)) == 5


def test_a_checkpoint_comes_into_the_store_at_its_first_use(run: TrainingRun):
    found = checkpoints.in_store(at(run, 8))

    names = {path.name for path in artifacts.path_of(found.digest).iterdir()}
    assert names == {"config.json", "tokenizer.json", "model.safetensors", "manifest.json"}
    assert at(run, 8).digest == found.digest != run.version.digest


def test_a_used_checkpoint_outlives_its_run_directory(run: TrainingRun):
    used = checkpoints.in_store(at(run, 8))
    shutil.rmtree(path_of(run.directory) / "checkpoints")
    checkpoints.follow(run, path_of(run.directory))

    assert checkpoints.in_store(at(run, 8)).digest == used.digest
    assert [row.step for row in run.checkpoints.filter(gone_at=None)] == [8]


def test_a_checkpoint_that_was_let_go_is_not_found(run: TrainingRun):
    shutil.rmtree(path_of(run.directory) / "checkpoints")

    with pytest.raises(NotFound):
        checkpoints.in_store(at(run, 8))


# Deleted


def test_a_deleted_checkpoint_stays_away_while_its_run_still_holds_it(run: TrainingRun, contributor: User):
    checkpoints.in_store(at(run, 8))

    checkpoints.delete(at(run, 8), actor=contributor)
    checkpoints.follow(run, path_of(run.directory))

    gone = at(run, 8)
    assert (gone.digest, gone.gone_at == gone.deleted_at) == ("", True)
    assert 8 not in [row.step for row in checkpoints.usable(run)]
    assert path_of_checkpoint(path_of(run.directory), 8).is_dir()


def test_a_deletion_is_one_event_however_often_it_is_asked_for(run: TrainingRun, contributor: User):
    digest = checkpoints.in_store(at(run, 8)).digest

    for _ in range(2):
        checkpoints.delete(at(run, 8), actor=contributor)

    event = Event.objects.get(kind="model.deleted")
    assert (event.actor, event.subject_id) == (contributor, str(at(run, 8).pk))
    assert event.data == {"run": run.pk, "step": 8, "digest": digest, "teams": []}


def test_a_stranger_deletes_no_checkpoint(run: TrainingRun):
    with pytest.raises(Forbidden):
        checkpoints.delete(at(run, 8), actor=cast.of_own_team("sven").user)

    assert at(run, 8).gone_at is None


def test_a_checkpoint_that_is_deleted_while_it_is_taken_in_stays_deleted(
    run: TrainingRun, contributor: User, monkeypatch: pytest.MonkeyPatch
):
    found, take_in = at(run, 8), artifacts.take_in

    def slow(source: Path, **given: Any) -> Any:
        checkpoints.delete(at(run, 8), actor=contributor)
        return take_in(source, **given)

    monkeypatch.setattr(artifacts, "take_in", slow)

    with pytest.raises(NotFound):
        checkpoints.in_store(found)

    assert at(run, 8).digest == ""


def test_a_checkpoint_that_its_run_lets_go_while_it_is_taken_in_is_kept(
    run: TrainingRun, monkeypatch: pytest.MonkeyPatch
):
    found, take_in = at(run, 8), artifacts.take_in

    def slow(source: Path, **given: Any) -> Any:
        taken = take_in(source, **given)
        shutil.rmtree(source)
        checkpoints.follow(run, path_of(run.directory))
        return taken

    monkeypatch.setattr(artifacts, "take_in", slow)

    checkpoints.in_store(found)

    assert at(run, 8).gone_at is None


# Adapters


def adapter_of(run: TrainingRun, step: int) -> Path:
    folder = path_of_checkpoint(path_of(run.directory), step)
    (folder / "adapter_config.json").write_text("{}")
    return folder


@pytest.fixture
def merges(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Path]]:
    """What was merged; a whole model comes of it, which takes a moment."""
    calls = []

    def merge(start: Path, checkpoint: Path, target: Path) -> None:
        calls.append((start, checkpoint))
        time.sleep(0.2)
        shutil.copytree(path_of(run.directory) / "model", target)

    monkeypatch.setattr(merging, "merge", merge)
    return calls


def test_an_adapter_is_merged_into_what_its_run_began_with(run: TrainingRun, merges: list):
    folder = adapter_of(run, 8)

    found = checkpoints.in_store(at(run, 8))

    assert merges == [(artifacts.path_of(run.start.digest), folder)]
    assert at(run, 8).digest == found.digest == run.version.digest  # the same weights are one entry of the store


@pytest.mark.django_db(transaction=True)
def test_an_adapter_is_merged_once_however_many_ask(run: TrainingRun, merges: list):
    adapter_of(run, 8)

    found = at_once(lambda: checkpoints.in_store(at(run, 8)).digest, times=4)

    assert (len(merges), len(found), len(set(found))) == (1, 4, 1)


def test_an_adapter_that_cannot_be_merged_is_refused_with_the_reason(run: TrainingRun):
    adapter_of(run, 8)

    with pytest.raises(Conflict) as caught:
        checkpoints.in_store(at(run, 8))

    assert caught.value.code == "adapter_unmerged"
    assert caught.value.sentence.startswith("The adapter could not be merged: ")
    assert (at(run, 8).digest, list(artifacts.store().glob(".incoming-*"))) == ("", [])


def test_the_checkpoints_of_an_adapter_are_known(run: TrainingRun):
    adapter_of(run, 8)
    at(run, 8).delete()

    checkpoints.follow(run, path_of(run.directory))

    assert at(run, 8).gone_at is None


def test_a_checkpoint_that_is_saved_after_its_step_was_told_is_known(run: TrainingRun):
    at(run, 10).delete()

    TrainingKind().read_progress(run, path_of(run.directory))

    assert at(run, 10).gone_at is None


def test_following_a_directory_twice_changes_nothing(run: TrainingRun):
    before = list(run.checkpoints.values())

    checkpoints.follow(run, path_of(run.directory))

    assert list(run.checkpoints.values()) == before
