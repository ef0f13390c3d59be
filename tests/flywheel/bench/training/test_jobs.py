"""Jobs of the training bench: done once, watched from outside, read afterwards."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flywheel.bench.training import jobs
from flywheel.bench.training.jobs import Job, Point, Scored
from trainer.contract import StepMetrics, encode


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(jobs, "HOME", tmp_path / "home")
    return tmp_path / "home"


def _count(directory: Path) -> None:
    with (directory.parent / "done").open("a") as file:
        file.write("x")


def test_a_job_that_is_done_is_not_done_again(home: Path):
    job = Job("group/one", {"spec.json": b"1"}, _count)

    jobs.perform([job])
    jobs.perform([job])

    assert (home / "group" / "done").read_text() == "x"


def test_a_job_with_other_files_is_another_job(home: Path):
    jobs.perform([Job("group/one", {"spec.json": b"1"}, _count)])

    jobs.perform([Job("group/one", {"spec.json": b"2"}, _count)])

    assert (home / "group" / "done").read_text() == "xx"


def test_a_job_that_broke_off_is_begun_anew(home: Path):
    job = Job("one", {"spec.json": b"1"}, lambda directory: (directory / "left").touch(exist_ok=False))
    job.directory.mkdir(parents=True)
    (job.directory / "left").touch()

    (done,) = jobs.perform([job])

    assert (done / "spec.json").read_bytes() == b"1"


def test_a_process_that_ends_without_a_result_is_told_with_its_last_words(tmp_path: Path):
    command = [sys.executable, "-c", "raise SystemExit('no such luck')"]

    with pytest.raises(SystemExit, match="no such luck"):
        jobs._run(command, tmp_path, None)


def test_cpu_time_is_told_for_any_moment(tmp_path: Path):
    (tmp_path / "timeline.jsonl").write_text("[100, 1.0]\n[110, 9.0]\n")

    assert jobs.clock(tmp_path)(105) == 5


def test_the_cpu_time_of_a_process_is_its_own(tmp_path: Path):
    worked = "import time, pathlib; start = time.process_time()\nwhile time.process_time() < start + 1: pass\n"
    command = [sys.executable, "-c", worked + f"pathlib.Path({str(tmp_path / 'result.json')!r}).touch()"]

    jobs._run(command, tmp_path, None)

    assert 0.9 < jobs.cpu_seconds(tmp_path) < 1.3


def test_what_measuring_took_is_no_part_of_a_steps_cost(tmp_path: Path):
    (tmp_path / "timeline.jsonl").write_text("[0, 0]\n[100, 100]\n")
    lines = [
        StepMetrics(step=0, total_steps=2, at=10, seconds_measuring=5),
        StepMetrics(step=1, total_steps=2, at=17, groups_drawn=10),
        StepMetrics(step=2, total_steps=2, at=20, groups_drawn=12),
    ]
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(encode(line) + b"\n" for line in lines))

    assert jobs.trained_by_us(tmp_path, group_size=4) == [
        Point(0, 0, 0, 0),
        Point(1, 40, 2, 2),
        Point(2, 88, 5, 5),
    ]


def test_what_saving_took_is_no_part_of_the_peers_cost(tmp_path: Path):
    (tmp_path / "timeline.jsonl").write_text("[0, 0]\n[100, 50]\n")
    rows = [
        {"step": 0, "completions": 0, "at": 10, "aside": 0},
        {"step": 1, "completions": 128, "at": 14, "aside": 4},
        {"step": 2, "completions": 128, "at": 20, "aside": 0},
    ]
    (tmp_path / "steps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    assert jobs.trained_beside(tmp_path) == [Point(0, 0, 0, 0), Point(1, 128, 4, 2), Point(2, 256, 6, 3)]


def _checkpoint(run: Path, step: int) -> Path:
    directory = run / "checkpoints" / f"step-{step}"
    directory.mkdir(parents=True)
    for name in ("model.safetensors", "config.json", "optimizer.pt"):
        (directory / name).write_text(str(step))
    return directory


def test_weights_are_kept_though_the_engine_prunes_them(tmp_path: Path):
    checkpoint = _checkpoint(tmp_path, 5)

    jobs.keeper(5)(tmp_path)
    for file in checkpoint.iterdir():
        file.unlink()

    assert sorted(path.name for path in Path(jobs.kept(tmp_path)[5]).iterdir()) == ["config.json", "model.safetensors"]


def test_only_every_so_many_steps_are_kept(tmp_path: Path):
    for step in (5, 7, 10):
        _checkpoint(tmp_path, step)

    jobs.keeper(5)(tmp_path)

    assert list(jobs.kept(tmp_path)) == [5, 10]


def test_a_pass_rate_is_the_share_of_answers_and_pass_any_that_of_items(tmp_path: Path):
    outcomes = {"a": ["correct", "incorrect"], "b": ["incorrect", "incorrect"]}
    lines = [{"side": "x", "key": key, "outcome": outcome} for key, several in outcomes.items() for outcome in several]
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert jobs.scores(tmp_path) == {"x": Scored(pass_rate=0.25, pass_any=0.5)}


def test_an_engine_is_asked_to_stop_by_its_heartbeat(tmp_path: Path):
    sleeper = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)", str(tmp_path)]
    with subprocess.Popen(sleeper, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline()  # before its exec it carries our own command line
        (tmp_path / "heartbeat.json").write_text(json.dumps({"pid": process.pid}))

        jobs.stop(tmp_path)

        assert process.wait(10) != 0


def test_a_process_that_merely_has_the_number_is_left_alone(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        (tmp_path / "heartbeat.json").write_text(json.dumps({"pid": process.pid}))

        jobs.stop(tmp_path)

        process.communicate()
    assert process.returncode == 0
