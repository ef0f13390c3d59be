"""Slurm, Kubernetes and SkyPilot through submit, poll, lose, resume and cancel, against fakes of their commands."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from tests.fakes.cluster import Cluster
from tests.trainer.launchers.conftest import BENCH, KEY, SCHEDULERS, Make
from trainer import contract
from trainer.launchers import scheduled
from trainer.launchers.payload import Payload
from trainer.launchers.protocol import Handle, LauncherError, Status, Unreachable
from trainer.launchers.slurm import REPOSITORY

pytestmark = pytest.mark.parametrize("scheduler", SCHEDULERS)
DOWN = {
    "slurm": "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
    "kubernetes": "Unable to connect to the server: dial tcp 10.0.0.1:443: i/o timeout",
    "skypilot": "sky.exceptions.ApiServerConnectionError: Could not connect to SkyPilot API server at http://10.0.0.1",
}
REFUSALS = {
    "slurm": "sbatch: error: invalid partition specified: gpus",
    "kubernetes": 'Error from server (NotFound): namespaces "training" not found',
    "skypilot": "ValueError: Invalid infra: nowhere",
}


def beat(run_dir: Path, *, attempt: int = 1, age_seconds: float = 0.0) -> None:
    heartbeat = contract.Heartbeat(attempt, 10, time.time() - age_seconds, "training", 3, 9, 0)
    (run_dir / "heartbeat.json").write_bytes(contract.encode(heartbeat))


def finish(run_dir: Path, *, attempt: int = 1) -> None:
    (run_dir / "result.json").write_bytes(contract.encode(contract.Result("succeeded", attempt)))


# Submit


def test_a_run_is_submitted_under_a_name_of_directory_and_attempt(
    make: Make, cluster: Cluster, shared_dir: Path, scheduler: str
):
    handle = make(scheduler).submit(shared_dir, attempt=3)

    assert cluster.names() == [handle.name]
    assert handle.name.startswith("flywheel-run-0123456789abcdef")
    assert handle.name.endswith("-3")


def test_submitting_an_attempt_twice_starts_one_job(make: Make, cluster: Cluster, shared_dir: Path, scheduler: str):
    first = make(scheduler).submit(shared_dir, attempt=1)

    assert make(scheduler).submit(shared_dir, attempt=1) == first
    assert len(cluster.names()) == 1


def test_a_submit_that_died_before_it_wrote_the_handle_finds_its_job_again(
    make: Make, cluster: Cluster, data_dir: Path, shared_dir: Path, scheduler: str
):
    program = (
        "import sys, pathlib; from tests.trainer.launchers.conftest import launcher_on;"
        "data_dir, run_dir, scheduler = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3];"
        "launcher_on(data_dir, scheduler).submit(run_dir, attempt=1)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(data_dir), str(shared_dir), scheduler],
        cwd=REPOSITORY, env={**os.environ, "FLYWHEEL_CRASH_AT": "launch.before_handle"}, check=False,
    )  # fmt: skip

    handle = make(scheduler).submit(shared_dir, attempt=1)

    assert killed.returncode == -signal.SIGKILL
    assert cluster.names() == [handle.name]


def test_the_handle_survives_storage_as_json(make: Make, cluster: Cluster, shared_dir: Path, scheduler: str):
    handle = make(scheduler).submit(shared_dir, attempt=1)

    stored = json.loads(json.dumps(msgspec.to_builtins(handle)))

    assert stored["launcher"] == scheduler
    assert msgspec.convert(stored, Handle) == handle


def test_a_directory_without_a_spec_is_refused(make: Make, cluster: Cluster, tmp_path: Path, scheduler: str):
    with pytest.raises(LauncherError, match="holds no spec"):
        make(scheduler).submit(tmp_path, attempt=1)


def test_a_refused_job_is_told_in_the_schedulers_words(make: Make, cluster: Cluster, shared_dir: Path, scheduler: str):
    launcher = make(scheduler)
    if scheduler == "slurm":  # squeue still answers
        (cluster.folder / "bin" / "sbatch").write_text(f"#!/bin/sh\necho '{REFUSALS['slurm']}' >&2\nexit 1\n")
    else:
        cluster.fails(REFUSALS[scheduler])

    with pytest.raises(LauncherError, match="refused the") as refused:
        launcher.submit(shared_dir, attempt=1)

    assert REFUSALS[scheduler] in str(refused.value)
    assert not isinstance(refused.value, Unreachable)


def test_a_scheduler_that_is_away_at_the_submit_is_asked_again_later(
    make: Make, cluster: Cluster, shared_dir: Path, scheduler: str
):
    launcher = make(scheduler)
    cluster.fails(DOWN[scheduler])
    with pytest.raises(Unreachable):
        launcher.submit(shared_dir, attempt=1)
    cluster.fails("")

    handle = launcher.submit(shared_dir, attempt=1)

    assert cluster.names() == [handle.name]


def test_a_machine_without_the_command_line_tool_says_so(
    make: Make, shared_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scheduler: str
):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(LauncherError, match="was not found"):
        make(scheduler).submit(shared_dir, attempt=1)


def test_the_scheduler_learns_nothing_of_the_platforms_secrets(
    make: Make, cluster: Cluster, shared_dir: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str
):
    for name in ("DATABASE_URL", "SECRET_KEY", "MODEL_SERVER_TOKEN", "JUDGE_API_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "the-platforms-own")

    launcher = make(scheduler)
    launcher.poll(launcher.submit(shared_dir, attempt=1), shared_dir)

    assert cluster.calls()
    assert "the-platforms-own" not in json.dumps(cluster.calls())


# Poll


def test_a_job_that_waits_for_its_turn_is_alive_and_waiting(
    make: Make, cluster: Cluster, shared_dir: Path, scheduler: str
):
    launcher = make(scheduler)
    handle = launcher.submit(shared_dir, attempt=1)

    status = launcher.poll(handle, shared_dir)

    assert (status.alive, status.waiting, status.heartbeat) == (True, True, None)


def test_a_running_job_is_alive_and_says_since_when(make: Make, cluster: Cluster, shared_dir: Path, scheduler: str):
    launcher = make(scheduler)
    handle = launcher.submit(shared_dir, attempt=1)
    cluster.move("running")

    status = launcher.poll(handle, shared_dir)

    assert (status.alive, status.waiting) == (True, False)
    assert status.started_at == pytest.approx(time.time(), abs=5)


def test_a_job_that_ended_shows_its_result_and_exit_code(
    make: Make, cluster: Cluster, shared_dir: Path, scheduler: str
):
    launcher = make(scheduler)
    handle = launcher.submit(shared_dir, attempt=1)
    finish(shared_dir)
    cluster.move("exited", code=0)

    status = launcher.poll(handle, shared_dir)

    assert status.result is not None
    assert (status.alive, status.result.status, status.exit_code) == (False, "succeeded", 0)


def test_another_process_can_poll_the_job(
    make: Make, cluster: Cluster, data_dir: Path, shared_dir: Path, scheduler: str
):
    handle = make(scheduler).submit(shared_dir, attempt=1)
    cluster.move("running")
    program = (
        "import sys, msgspec, pathlib; from tests.trainer.launchers.conftest import launcher_on;"
        "from trainer.launchers.protocol import Handle;"
        "handle = msgspec.json.decode(sys.argv[1], type=Handle);"
        "launcher = launcher_on(pathlib.Path(sys.argv[2]), sys.argv[4]);"
        "print(launcher.poll(handle, pathlib.Path(sys.argv[3])).alive)"
    )

    words = [msgspec.json.encode(handle).decode(), str(data_dir), str(shared_dir), scheduler]
    answer = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert answer.stdout.strip() == "True"


def test_nobody_is_asked_while_the_heartbeat_is_fresh(make: Make, cluster: Cluster, shared_dir: Path, scheduler: str):
    launcher = make(scheduler, every_seconds=30.0)
    handle = launcher.submit(shared_dir, attempt=1)
    beat(shared_dir)
    before = len(cluster.calls())

    status = launcher.poll(handle, shared_dir)

    assert status.alive
    assert len(cluster.calls()) == before


def test_an_answer_is_believed_for_a_while_by_every_process(
    make: Make, cluster: Cluster, shared_dir: Path, scheduler: str
):
    handle = make(scheduler).submit(shared_dir, attempt=1)
    make(scheduler, every_seconds=30.0).poll(handle, shared_dir)
    before = len(cluster.calls())

    status = make(scheduler, every_seconds=30.0).poll(handle, shared_dir)

    assert status.waiting
    assert len(cluster.calls()) == before


def test_a_scheduler_that_is_away_has_lost_nothing(make: Make, cluster: Cluster, shared_dir: Path, scheduler: str):
    launcher = make(scheduler)
    handle = launcher.submit(shared_dir, attempt=1)
    cluster.fails(DOWN[scheduler])

    with pytest.raises(Unreachable):
        launcher.poll(handle, shared_dir)


# Lose


def lost(launcher: object, handle: object, run_dir: Path) -> Status:
    status: Status = launcher.poll(handle, run_dir)  # type: ignore[attr-defined]
    assert (status.alive, status.result) == (False, None)
    return status


def test_a_job_that_the_scheduler_has_forgotten_is_lost(
    make: Make, cluster: Cluster, shared_dir: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str
):
    monkeypatch.setattr("trainer.launchers.skypilot.APPEARS_SECONDS", 0.0)
    launcher = make(scheduler)
    handle = launcher.submit(shared_dir, attempt=1)
    beat(shared_dir, age_seconds=100)
    cluster.forget()

    assert "knows the" in lost(launcher, handle, shared_dir).said


def test_a_job_that_somebody_cancelled_is_lost(make: Make, cluster: Cluster, shared_dir: Path, scheduler: str):
    launcher = make(scheduler)
    handle = launcher.submit(shared_dir, attempt=1)
    cluster.move("cancelled")

    lost(launcher, handle, shared_dir)


def test_an_engine_killed_by_a_signal_is_lost_with_its_number(
    make: Make, cluster: Cluster, shared_dir: Path, scheduler: str
):
    launcher = make(scheduler)
    handle = launcher.submit(shared_dir, attempt=1)
    cluster.move("exited", code=-9)

    assert launcher.poll(handle, shared_dir).exit_code == {"slurm": -9, "kubernetes": -9, "skypilot": 1}[scheduler]


def test_a_result_that_is_on_its_way_over_a_shared_file_system_is_waited_for(
    make: Make, cluster: Cluster, shared_dir: Path, scheduler: str
):
    launcher = make(scheduler)
    handle = launcher.submit(shared_dir, attempt=1)
    cluster.move("exited", code=0)
    before = launcher.poll(handle, shared_dir)
    finish(shared_dir)

    after = launcher.poll(handle, shared_dir)

    assert (before.alive, before.waiting, before.result) == (True, True, None)
    assert (after.alive, after.result is not None) == (False, True)


def test_a_result_that_does_not_come_is_lost_in_the_end(
    make: Make, cluster: Cluster, shared_dir: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str
):
    launcher = make(scheduler)
    handle = launcher.submit(shared_dir, attempt=1)
    cluster.move("exited", code=0)
    launcher.poll(handle, shared_dir)
    monkeypatch.setattr(scheduled, "RESULT_PATIENCE_SECONDS", 0.0)

    lost(launcher, handle, shared_dir)


# Resume


def test_the_next_attempt_is_another_job_on_the_same_directory(
    make: Make, cluster: Cluster, shared_dir: Path, scheduler: str
):
    launcher = make(scheduler)
    first = launcher.submit(shared_dir, attempt=1)
    cluster.move("cancelled")

    second = launcher.submit(shared_dir, attempt=2)

    assert cluster.names() == [first.name, second.name]
    assert launcher.poll(second, shared_dir).waiting


def test_what_an_earlier_attempt_left_is_no_news_of_the_next(
    make: Make, cluster: Cluster, shared_dir: Path, scheduler: str
):
    launcher = make(scheduler, every_seconds=30.0)
    launcher.poll(launcher.submit(shared_dir, attempt=1), shared_dir)
    finish(shared_dir, attempt=1)
    beat(shared_dir, attempt=1)
    second = launcher.submit(shared_dir, attempt=2)
    cluster.move("running")

    status = launcher.poll(second, shared_dir)

    assert (status.alive, status.waiting, status.heartbeat, status.result) == (True, False, None, None)


# Cancel


@pytest.mark.parametrize("state", ["waiting", "running"])
def test_a_cancelled_job_is_gone(make: Make, cluster: Cluster, shared_dir: Path, scheduler: str, state: str):
    launcher = make(scheduler)
    handle = launcher.submit(shared_dir, attempt=1)
    cluster.move(state)

    gone = launcher.stop(handle, shared_dir, grace_seconds=0)

    assert gone or launcher.stop(handle, shared_dir, grace_seconds=0)
    assert not launcher.poll(handle, shared_dir).alive or scheduler == "skypilot"


def test_cancelling_what_has_ended_is_no_fault(make: Make, cluster: Cluster, shared_dir: Path, scheduler: str):
    launcher = make(scheduler)
    handle = launcher.submit(shared_dir, attempt=1)
    cluster.move("exited", code=0)

    assert launcher.stop(handle, shared_dir, grace_seconds=0)


# The engine itself


def test_the_job_runs_the_engine_to_its_result(make: Make, working_cluster: Cluster, shared_dir: Path, scheduler: str):
    (shared_dir / "spec.json").write_bytes(contract.encode(tiny_spec()))
    (shared_dir / "demonstrations.jsonl").write_text(demonstrations())
    launcher = make(scheduler, judges=BENCH)

    handle = launcher.submit(shared_dir, attempt=1)

    status = ended(launcher, handle, shared_dir)
    assert status.result is not None, (shared_dir / "engine.log").read_text()
    assert (status.result.status, status.exit_code) == ("succeeded", 0)


def test_a_job_hands_the_judges_to_the_engine_and_leaves_no_key_behind(
    make: Make, working_cluster: Cluster, data_dir: Path, shared_dir: Path, scheduler: str
):
    program = (
        "import os, sys, json, pathlib; from tasks.graders import judges;"
        "known = [judges.of_this_process().endpoints['*'].api_key for _ in range(2)];"
        "pathlib.Path(sys.argv[1], 'seen').write_text(known[0][:3] + json.dumps(dict(os.environ)))"
    )
    launcher = make(scheduler, judges=BENCH, payload=Payload(command=(sys.executable, "-c", program)))

    handle = launcher.submit(shared_dir, attempt=1)

    ended(launcher, handle, shared_dir, without_result=True)
    seen = (shared_dir / "seen").read_text()
    assert seen.startswith("sk-")
    assert KEY not in seen
    assert [path for path in data_dir.rglob("*") if path.is_file() and KEY in path.read_text(errors="replace")] == []


def tiny_spec() -> contract.BaseSpec:
    return contract.BaseSpec(seed=1, steps=2, batch_size=4, vocabulary=280, hidden=32, layers=1, heads=2)


def demonstrations() -> str:
    lines = ({"messages": [{"role": "user", "content": f"Say {n}"}], "completion": str(n % 10)} for n in range(20))
    return "".join(json.dumps(line) + "\n" for line in lines)


def ended(launcher: object, handle: object, run_dir: Path, *, without_result: bool = False) -> Status:
    deadline = time.monotonic() + 120
    while True:
        status: Status = launcher.poll(handle, run_dir)  # type: ignore[attr-defined]
        if not status.alive or (without_result and (run_dir / "seen").exists()):
            return status
        assert time.monotonic() < deadline, (run_dir / "engine.log").read_text()
        time.sleep(0.2)
