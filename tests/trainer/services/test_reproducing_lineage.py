"""A lineage that is run again comes out the same, by the real engine."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings

from tasks.models import Dataset, Task, User
from tasks.models.events import Event
from tasks.states import Role
from tests import cast, world
from tests.trainer.engine.conftest import demonstration_lines
from tests.trainer.services.settling import settle
from trainer.models import Alias, Line, ModelVersion, TrainingRun
from trainer.services import lines, reproducing, runs
from trainer.services.launching import path_of
from trainer.services.reproducing import Outcome, Report
from trainer.states import RUN_ENDED

Fill = Callable[..., Dataset]

ENGINE_SECONDS = 240
# Scores between 0 and 1 even where a model knows nothing, so that there is something to learn from.
GRADER = {
    "type": "text_similarity",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.reference }}",
    "evaluation_metric": "fuzzy_match",
    "pass_threshold": 0.5,
}
SMALL = {
    "steps": 3,
    "prompts_per_step": 4,
    "group_size": 4,
    "max_completion_tokens": 6,
    "learning_rate": 1e-3,
    "save_every": 1,
    "measure_every": 4,
    "probe_prompts": 4,
}


def told(version: ModelVersion, work: Path, **more: Any) -> list[Report]:
    return list(reproducing.reproduce(version, work, lambda words: None, **more))


def outcomes(reports: list[Report]) -> list[tuple[str, Outcome]]:
    return [(report.name, report.outcome) for report in reports]


@dataclass(frozen=True)
class Trained:
    """A base that was built, and two versions trained on it, one after the other; the first one's engine was killed."""

    line: Line
    base: ModelVersion
    first: ModelVersion
    second: ModelVersion


@pytest.fixture(scope="module")
def trained(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trained]:
    """Made once for the module, in a transaction that is never committed."""
    data = tmp_path_factory.mktemp("data")
    own = override_settings(DATA_DIR=data, ENGINE_COMMAND="", ENGINE_THREADS=1)
    with django_db_blocker.unblock(), transaction.atomic(), own:
        yield _trained(data)
        transaction.set_rollback(True)


def _trained(data: Path) -> Trained:
    (data / "demonstrations").mkdir()
    text = "".join(json.dumps(line) + "\n" for line in demonstration_lines())
    (data / "demonstrations" / "some.jsonl").write_text(text)
    operator, contributor = cast.of_the_pool("otto", Role.OPERATOR), cast.of_own_team("carla")
    line = lines.create_shared("Shared", "shared", actor=operator.user, demonstrations="some.jsonl", seed=1, steps=12)
    settle(lambda: line.versions.exists(), ENGINE_SECONDS)
    gifts = world.contributed_dataset(contributor)
    world.imported(gifts, world.rows(60), contributor)
    Task.objects.update(state="approved")
    first = _run(line, gifts, operator.user, kill=True, steps=8)
    second = _run(line, gifts, operator.user, start_from=first)
    return Trained(line, line.versions.get(number=0), first, second)


def _run(
    line: Line,
    dataset: Dataset,
    actor: User,
    *,
    kill: bool = False,
    start_from: ModelVersion | None = None,
    **knobs: Any,
) -> ModelVersion:
    overrides = {**SMALL, **knobs}
    run = runs.start(
        line, actor=actor, dataset=dataset, overrides=overrides, seed=5, grader=GRADER, start_from=start_from
    )
    if kill:
        settle(lambda: _has_saved(run), ENGINE_SECONDS)
        os.kill(run.handle["pid"], signal.SIGKILL)
    settle(lambda: _ended(run), ENGINE_SECONDS)
    assert (run.state, run.attempt) == ("succeeded", 2 if kill else 1), run.error
    return run.version


def _has_saved(run: TrainingRun) -> bool:
    run.refresh_from_db()
    return bool(run.handle) and any(path_of(run.directory).glob("checkpoints/step-*"))


def _ended(run: TrainingRun) -> bool:
    run.refresh_from_db()
    return run.state in RUN_ENDED


@pytest.fixture
def scene(trained: Trained, db: None) -> Trained:
    """What a test changes is rolled back."""
    return trained


def rows_of_the_registry() -> dict[str, list[Any]]:
    kinds = (ModelVersion, TrainingRun, Line, Alias, Task, Event)
    return {kind.__name__: list(kind._default_manager.order_by("pk").values()) for kind in kinds}


def test_training_has_changed_the_weights(scene: Trained):
    assert len({scene.base.digest, scene.first.digest, scene.second.digest}) == 3


def test_a_lineage_with_a_killed_run_is_reproduced_byte_for_byte_and_leaves_no_trace(scene: Trained, tmp_path: Path):
    before = rows_of_the_registry()

    reports = told(scene.second, tmp_path)

    assert [(report.name, report.outcome, report.now, report.notes) for report in reports] == [
        (version.name, Outcome.SAME, version.digest, ()) for version in (scene.base, scene.first, scene.second)
    ]
    assert all(report.environment_then == report.environment_now != {} for report in reports)
    assert rows_of_the_registry() == before


def test_another_seed_gives_other_weights_and_says_which_and_how_far(scene: Trained, tmp_path: Path):
    run = scene.second.run
    TrainingRun.objects.filter(pk=run.pk).update(spec={**run.spec, "seed": 6})

    reports = told(ModelVersion.objects.get(pk=scene.second.pk), tmp_path, begin=scene.second)

    (_, _, report) = reports
    assert [outcome for _, outcome in outcomes(reports)] == [Outcome.TRUSTED, Outcome.TRUSTED, Outcome.DIFFERS]
    assert (report.first_differing, report.notes) == ("model.safetensors", ("The setting seed was 5 and is 6.",))
    assert report.apart is not None
    assert 0 < report.apart < 1


def test_an_altered_row_gives_other_weights_and_the_file_is_named(scene: Trained, tmp_path: Path):
    for task in Task.objects.all():
        Task.objects.filter(pk=task.pk).update(item={"reference": "99999"})

    *_, report = told(scene.second, tmp_path, begin=scene.second)

    assert report.outcome is Outcome.DIFFERS
    assert "train.jsonl is not what was read the first time." in report.notes
