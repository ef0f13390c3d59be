"""The Slurm launcher: its batch script, its secret file and the words of sacct and squeue."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.cluster import Cluster
from tests.trainer.launchers.conftest import BENCH, KEY, Make
from tests.trainer.launchers.test_payload import HOSTILE
from trainer.launchers import slurm
from trainer.launchers.payload import Payload
from trainer.launchers.slurm import SlurmLauncher

SHELLCHECK = Path(sys.executable).with_name("shellcheck")
RUN = Path("/data/runs/run-1")
FULL = SlurmLauncher(
    payload=Payload("/shared/python", (), 4, 32, 200, 600, {"ENGINE_THREADS": "8"}),
    partition="gpu,spare",
    account="research",
    qos="high",
    gpu_type="h100",
)


def complaints(script: str, *, severity: str = "style") -> str:
    command = [str(SHELLCHECK), f"--severity={severity}", "--format=gcc", "--shell=bash", "-"]
    return subprocess.run(command, input=script, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("launcher", [SlurmLauncher(), FULL], ids=["bare", "full"])
@pytest.mark.parametrize("secret", [None, Path("/data/secrets/j.json")])
def test_the_script_passes_shellcheck(launcher: SlurmLauncher, secret: Path | None):
    assert complaints(launcher.script(RUN, "flywheel-run-1-1", secret)) == ""


@pytest.mark.parametrize("secret", [None, Path("/data") / HOSTILE])
def test_the_script_of_a_hostile_directory_passes_shellcheck(secret: Path | None):
    """But for its notes that a dollar sign in single quotes stays one: it has to."""
    assert complaints(FULL.script(Path("/data") / HOSTILE, "flywheel-run-1-1", secret), severity="warning") == ""


def test_shellcheck_would_find_a_name_that_is_not_quoted():
    assert "SC2086" in complaints("#!/bin/bash\ncd $HOME\n")


def test_the_settings_become_options_of_the_job():
    options = [line.removeprefix("#SBATCH ") for line in FULL.script(RUN, "n").splitlines() if "#SBATCH" in line]

    assert {
        *("--job-name=n", "--partition=gpu,spare", "--account=research", "--qos=high", "--gres=gpu:h100:4"),
        *("--cpus-per-task=32", "--mem=200G", "--time=600", "--no-requeue", "--signal=B:TERM@120"),
    } <= set(options)


def test_what_is_not_set_is_left_to_slurm():
    script = SlurmLauncher().script(RUN, "n")

    asked_for = ("--partition", "--account", "--qos", "--gres", "--cpus-per-task", "--mem", "--time")
    assert [option for option in asked_for if option in script] == []


def test_a_hostile_directory_breaks_neither_out_of_the_script_nor_out_of_the_options(
    make: Make, working_cluster: Cluster, data_dir: Path
):
    run_dir = data_dir / HOSTILE.replace("/", "")
    run_dir.mkdir(parents=True)
    (run_dir / "spec.json").write_text("{}")
    program = "import sys, pathlib; pathlib.Path(sys.argv[1], 'seen').write_text(sys.argv[1]); print('said')"
    launcher = make("slurm", payload=Payload(command=(sys.executable, "-c", program)), judges=BENCH)

    handle = launcher.submit(run_dir, attempt=1)

    while launcher.poll(handle, run_dir).exit_code is None:
        pass
    assert (run_dir / "seen").read_text() == str(run_dir)
    assert (run_dir / "engine.log").read_text() == "said\n"
    assert [path.name for path in data_dir.rglob("owned")] == []


def test_judges_wait_in_a_file_for_this_user_only_outside_the_run_directory(
    make: Make, cluster: Cluster, data_dir: Path, shared_dir: Path
):
    make("slurm", judges=BENCH).submit(shared_dir, attempt=1)

    holding = [path for path in data_dir.rglob("*") if path.is_file() and KEY in path.read_text()]
    assert [path.parent for path in holding] == [data_dir / "secrets"]
    assert stat.S_IMODE(holding[0].stat().st_mode) == 0o600
    assert stat.S_IMODE(holding[0].parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("end", ["cancel", "lose"])
def test_judges_of_a_job_that_never_started_are_removed(
    make: Make, cluster: Cluster, data_dir: Path, shared_dir: Path, end: str
):
    launcher = make("slurm", judges=BENCH)
    handle = launcher.submit(shared_dir, attempt=1)

    if end == "cancel":
        launcher.stop(handle, shared_dir, grace_seconds=0)
    else:
        cluster.forget()
        launcher.poll(handle, shared_dir)

    assert os.listdir(data_dir / "secrets") == []


def test_no_key_is_on_a_command_line(make: Make, cluster: Cluster, shared_dir: Path):
    launcher = make("slurm", judges=BENCH)
    launcher.stop(launcher.submit(shared_dir, attempt=1), shared_dir, grace_seconds=0)

    assert KEY not in (cluster.folder / "calls.jsonl").read_text()


def test_a_job_that_accounting_does_not_know_yet_is_found_in_the_queue(make: Make, cluster: Cluster, shared_dir: Path):
    launcher = make("slurm")
    handle = launcher.submit(shared_dir, attempt=1)
    with cluster.jobs() as known:
        known["accounting_is_late"] = True

    assert launcher.poll(handle, shared_dir).waiting


def test_a_running_engine_gets_sigterm_before_its_job_is_cancelled(make: Make, cluster: Cluster, shared_dir: Path):
    launcher = make("slurm")
    handle = launcher.submit(shared_dir, attempt=1)
    cluster.move("running")

    launcher.stop(handle, shared_dir, grace_seconds=0)

    assert [call["words"] for call in cluster.calls("scancel")] == [
        ["--full", "--signal=TERM", handle.job],
        [handle.job],
    ]


def test_an_engine_that_leaves_at_sigterm_hands_its_work_back(make: Make, working_cluster: Cluster, shared_dir: Path):
    program = (
        "import signal, sys, time, pathlib;"
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1], 'left').touch(), sys.exit(0)));"
        "pathlib.Path(sys.argv[1], 'up').touch(); time.sleep(600)"
    )
    launcher = make("slurm", payload=Payload(command=(sys.executable, "-c", program)))
    handle = launcher.submit(shared_dir, attempt=1)
    while not (shared_dir / "up").exists():
        pass

    assert launcher.stop(handle, shared_dir, grace_seconds=30)

    assert (shared_dir / "left").exists()
    assert [call["words"][-1] for call in working_cluster.calls("scancel")] == [handle.job]


@pytest.mark.parametrize(
    ("line", "state", "exit_code"),
    [
        ("PENDING|0:0|Unknown", "waiting", None),
        ("REQUEUED|0:0|Unknown", "waiting", None),
        ("SUSPENDED|0:0|1763879354", "waiting", None),
        ("RUNNING|0:0|1763879354", "running", None),
        ("COMPLETING|0:0|1763879354", "running", None),
        ("A_WORD_OF_TOMORROW|0:0|1763879354", "running", None),
        ("COMPLETED|0:0|1763879354", "ended", 0),
        ("FAILED|1:0|1763879354", "ended", 1),
        ("FAILED|0:9|1763879354", "ended", -9),
        ("OUT_OF_MEMORY|0:125|1763879354", "ended", -125),
        ("CANCELLED by 1000|0:15|1763879354", "ended", None),
        ("TIMEOUT|0:0|1763879354", "ended", None),
        ("PREEMPTED|0:0|1763879354", "ended", None),
        ("NODE_FAIL|1:0|1763879354", "ended", None),
    ],
)
def test_the_words_of_sacct_are_understood(line: str, state: str, exit_code: int | None):
    report = slurm._report(*line.split("|"))

    assert (report.state, report.exit_code) == (state, exit_code)


def test_a_preempted_job_is_lost(make: Make, cluster: Cluster, shared_dir: Path):
    launcher = make("slurm")
    handle = launcher.submit(shared_dir, attempt=1)
    cluster.move("preempted")

    status = launcher.poll(handle, shared_dir)

    assert not status.alive
    assert status.said.startswith("Slurm says PREEMPTED")
