"""What is said of versions that cannot be run again, and of what is not as it was. The engine is the fake one."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tasks.errors import Invalid
from tasks.models import Dataset, Task, User
from tests.trainer.services.settling import settle
from trainer.contract import ModelRef, decode_spec
from trainer.models import Line, ModelVersion, TrainingRun
from trainer.services import artifacts, reproducing, runs
from trainer.services.launching import path_of
from trainer.services.reproducing import Outcome, Report
from trainer.services.training import TrainingKind
from trainer.states import RUN_ENDED

Fill = Callable[..., Dataset]


def told(version: ModelVersion, work: Path, **more: Any) -> list[Report]:
    return list(reproducing.reproduce(version, work, lambda words: None, **more))


def outcomes(reports: list[Report]) -> list[tuple[str, Outcome]]:
    return [(report.name, report.outcome) for report in reports]


def _ended(run: TrainingRun) -> bool:
    run.refresh_from_db()
    return run.state in RUN_ENDED


@pytest.fixture
def expert(knobs: Callable[..., None], line: Line, fill: Fill, contributor: User) -> ModelVersion:
    """Of the fake engine, whose models depend on the directory that it works in: another one never is the same."""
    run = runs.train_expert(fill("letters", visibility="private", sealed=0), actor=contributor, overrides={"steps": 2})
    settle(lambda: _ended(run))
    return run.version


@pytest.fixture
def own(expert: ModelVersion) -> dict[str, Any]:
    """Begin with the version itself."""
    return {"begin": expert}


def test_a_withdrawn_row_is_not_used_again_and_is_named(expert: ModelVersion, own: Any, tmp_path: Path):
    lost = Task.objects.filter(split="train").earliest("pk")
    Task.objects.filter(pk=lost.pk).update(state="withdrawn")

    *_, report = told(expert, tmp_path, **own)

    assert (report.outcome, report.now) == (Outcome.CANNOT, "")
    assert f"(task {lost.pk})" in report.sentence


def test_withdrawn_rows_are_found_where_the_directory_of_the_run_is_gone(
    expert: ModelVersion, own: Any, tmp_path: Path
):
    gone = list(Task.objects.filter(split="train").order_by("pk")[:12].values_list("pk", flat=True))
    Task.objects.filter(pk__in=gone).update(state="withdrawn")
    path_of(expert.run.directory).rename(tmp_path / "elsewhere")

    *_, report = told(expert, tmp_path / "work", **own)

    assert report.outcome is Outcome.CANNOT
    assert f"12 rows that it was trained on have been withdrawn or retired since (tasks {gone[0]}, " in report.sentence
    assert "and 2 more" in report.sentence


def test_a_withdrawn_row_that_was_only_measured_on_is_noticed_and_holds_up_nothing(
    expert: ModelVersion, own: Any, tmp_path: Path
):
    Task.objects.filter(split="validation").update(state="withdrawn")

    *_, report = told(expert, tmp_path, **own)

    assert report.outcome is Outcome.DIFFERS  # by the fake engine; it was run
    assert "probe.jsonl is not what was read the first time." in report.notes


def test_inputs_that_cannot_be_compared_are_told(expert: ModelVersion, own: Any, tmp_path: Path):
    path_of(expert.run.directory).rename(tmp_path / "elsewhere")

    *_, report = told(expert, tmp_path / "work", **own)

    assert any("no longer here to compare with" in note for note in report.notes)


def test_a_run_that_a_judge_graded_cannot_be_run_again(expert: ModelVersion, own: Any, tmp_path: Path):
    judge = {"type": "score_model", "model": "judge", "input": [{"role": "user", "content": "Good?"}], "range": [0, 1]}
    TrainingRun.objects.filter(pk=expert.run.pk).update(grader=judge)

    *_, report = told(ModelVersion.objects.get(pk=expert.pk), tmp_path, **own)

    assert (report.outcome, "ask a judge" in report.sentence) == (Outcome.CANNOT, True)


def test_settings_that_todays_engine_does_not_know_are_named(expert: ModelVersion, own: Any, tmp_path: Path):
    TrainingRun.objects.filter(pk=expert.run.pk).update(spec={**expert.run.spec, "warp": 9})

    *_, report = told(ModelVersion.objects.get(pk=expert.pk), tmp_path, **own)

    assert (report.outcome, "warp" in report.sentence) == (Outcome.CANNOT, True)


def test_budgets_are_lifted_and_called_no_difference(expert: ModelVersion, own: Any, tmp_path: Path):
    run = expert.run
    TrainingRun.objects.filter(pk=run.pk).update(spec={**run.spec, "max_minutes": 0.01})
    spec = path_of(run.directory) / "spec.json"
    spec.write_bytes(spec.read_bytes().replace(b'"max_minutes":0', b'"max_minutes":0.01', 1))

    *_, report = told(ModelVersion.objects.get(pk=expert.pk), tmp_path, **own)

    written = msgspec.json.decode((tmp_path / expert.name.replace("/", "-") / "spec.json").read_bytes())
    assert (written["recipe"]["max_minutes"], report.notes) == (0, ())


def test_a_start_that_the_store_has_lost_is_replaced_by_what_came_out_here(expert: ModelVersion, tmp_path: Path):
    model = ModelRef(path=str(tmp_path), digest="d" * 64, name="made here")
    directory = tmp_path / "work"
    directory.mkdir()
    TrainingKind().prepare(expert.run, directory)
    artifacts.path_of(expert.parent.digest).rename(tmp_path / "lost")

    reproducing._as_one_piece(directory, {expert.parent.digest: model})

    assert decode_spec((directory / "spec.json").read_bytes()).model == model


def test_an_engine_that_fails_is_told_with_its_boundary(expert: ModelVersion, own: Any, knobs: Any, tmp_path: Path):
    knobs(fail="sampling")

    *_, report = told(expert, tmp_path, **own)

    assert (report.outcome, report.sentence[:29]) == (Outcome.CANNOT, "The engine failed in sampling")


def test_an_engine_that_leaves_without_a_result_is_told(expert: ModelVersion, own: Any, knobs: Any, tmp_path: Path):
    knobs(leave=True)

    *_, report = told(expert, tmp_path, **own)

    assert "without a result (exit status 3)" in report.sentence


def test_an_experts_version_0_is_the_version_that_it_starts_from(expert: ModelVersion, tmp_path: Path):
    base, zero = reproducing.lineage(expert)[:2]

    reports = told(expert, tmp_path, begin=zero)

    assert outcomes(reports)[:2] == [(base.name, Outcome.TRUSTED), (zero.name, Outcome.SAME)]


def test_a_base_that_was_taken_in_is_compared_by_its_hashes(line: Line, tmp_path: Path):
    line.base_build.source = "directory"
    line.base_build.save()

    assert outcomes(told(line.versions.get(), tmp_path)) == [("shared/v0", Outcome.SAME)]


def test_a_base_that_was_taken_in_and_is_damaged_is_noticed(line: Line, tmp_path: Path):
    line.base_build.source = "directory"
    line.base_build.save()
    (artifacts.path_of(line.versions.get().digest) / "config.json").write_text("[]")

    (report,) = told(line.versions.get(), tmp_path)

    assert (report.outcome, report.sentence[:26]) == (Outcome.DIFFERS, "config.json does not match")


def test_demonstrations_that_are_gone_are_named(line: Line, settings: Any, tmp_path: Path):
    (settings.DATA_DIR / "demonstrations" / "flawed.jsonl").unlink()

    (report,) = told(line.versions.get(), tmp_path)

    assert (report.outcome, "flawed.jsonl" in report.sentence) == (Outcome.CANNOT, True)


def test_a_version_that_nobody_made_here_cannot_be_run(line: Line, tmp_path: Path):
    stray = ModelVersion.objects.create(line=line, number=9, digest="9" * 64, origin="by hand")

    (report,) = told(stray, tmp_path)

    assert (report.outcome, "No build and no run" in report.sentence) == (Outcome.CANNOT, True)


def test_one_begins_with_a_version_of_the_lineage(expert: ModelVersion, line: Line, tmp_path: Path):
    stray = ModelVersion.objects.create(line=line, number=9, digest="9" * 64, origin="by hand")

    with pytest.raises(Invalid, match="does not come from shared/v9"):
        told(expert, tmp_path, begin=stray)


def test_the_engine_is_given_the_threads_of_the_first_time(
    expert: ModelVersion, own: Any, monkeypatch: Any, tmp_path: Path
):
    ModelVersion.objects.filter(pk=expert.pk).update(environment={"threads": "3"})
    given = []
    monkeypatch.setattr(reproducing, "_environment", lambda threads: given.append(threads) or dict(os.environ))

    told(ModelVersion.objects.get(pk=expert.pk), tmp_path, **own)

    assert given == ["3"]


def test_an_interrupted_reproduction_ends_its_engine(expert: ModelVersion, own: Any, knobs: Any, tmp_path: Path):
    knobs(seconds=9)

    def interrupt(words: str) -> None:
        if "steps" in words:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(reproducing.reproduce(expert, tmp_path, interrupt, **own))

    pid = msgspec.json.decode((tmp_path / expert.name.replace("/", "-") / "heartbeat.json").read_bytes())["pid"]
    assert _gone(pid)


def _gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
