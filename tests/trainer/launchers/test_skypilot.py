"""The SkyPilot launcher: its task loaded by SkyPilot itself, its words for states, and recovery."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes import cluster as clusters
from tests.fakes.cluster import Cluster
from tests.trainer.launchers.conftest import BENCH, KEY, Make
from tests.trainer.launchers.test_payload import HOSTILE
from tests.trainer.launchers.test_slurm import complaints
from trainer.launchers import skypilot
from trainer.launchers.payload import Payload
from trainer.launchers.protocol import LauncherError, SkyPilotHandle
from trainer.launchers.skypilot import SkyPilotLauncher
from trainer.launchers.slurm import REPOSITORY

RUN = Path("/data/runs/run-1")
IMAGE = "registry.example/flywheel:1.0"
LAUNCHERS = {
    "volume": SkyPilotLauncher(Path("/data"), IMAGE, "flywheel-data"),
    "bucket": SkyPilotLauncher(Path("/data"), IMAGE, "s3://flywheel-data"),
    "full": SkyPilotLauncher(
        Path("/data"), IMAGE, "flywheel-data", "k8s/my-context", "H100", True,
        payload=Payload("python", (), 4, 32, 200, 0, {"ENGINE_THREADS": "8"}), judges=BENCH,
    ),
}  # fmt: skip
ASK_SKYPILOT = """
import json, sys, sky
from sky.client.cli import command
from sky.jobs.state import ManagedJobStatus
from sky.schemas.api.responses import ManagedJobRecord

def loaded(path):
    task = sky.Task.from_yaml(path)
    (resources,) = task.resources
    return {
        "name": task.name, "run": task.run, "volumes": task.volumes, "storage": list(task.storage_mounts),
        "modes": [str(mount.mode) for mount in task.storage_mounts.values()], "secrets": list(task.secrets),
        "cloud": str(resources.cloud), "accelerators": resources.accelerators, "spot": resources.use_spot,
        "image": resources.image_id, "cpus": resources.cpus, "memory": resources.memory,
    }

def options(verb):
    return [name for parameter in verb.params for name in (*parameter.opts, *parameter.secondary_opts)]

print(json.dumps({
    "tasks": {name: loaded(path) for name, path in json.loads(sys.argv[1]).items()},
    "statuses": [status.value for status in ManagedJobStatus],
    "record": list(ManagedJobRecord.model_fields),
    "options": {"launch": options(command.jobs_launch), "queue": options(command.jobs_queue),
                "cancel": options(command.jobs_cancel)},
}, default=str))
"""


@pytest.fixture(scope="module")
def says(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What SkyPilot's own library makes of our tasks; asked once, because it takes seconds to import."""
    python = REPOSITORY / ".venv" / "skypilot" / "bin" / "python"
    assert python.exists(), "SkyPilot is not installed: run `make skypilot`."
    home = tmp_path_factory.mktemp("sky")
    tasks = {name: launcher.task(RUN, "flywheel-run-1-1") for name, launcher in LAUNCHERS.items()}
    tasks["hostile"] = LAUNCHERS["full"].task(Path("/data") / HOSTILE, "flywheel-run-1-1")
    paths = {name: home / f"{name}.yaml" for name in tasks}
    for name, task in tasks.items():
        paths[name].write_text(task)
    alone = {"PATH": os.environ["PATH"], "HOME": str(home), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    asked = subprocess.run(
        [str(python), "-c", ASK_SKYPILOT, json.dumps({name: str(path) for name, path in paths.items()})],
        env=alone, cwd=home, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    answer: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    return answer


# Asked of SkyPilot itself


@pytest.mark.parametrize("name", [*LAUNCHERS, "hostile"])
def test_the_task_loads_in_skypilots_own_library(says: dict[str, Any], name: str):
    assert says["tasks"][name]["name"] == "flywheel-run-1-1"
    assert says["tasks"][name]["image"] is not None


def test_what_skypilot_runs_is_the_script_that_was_written(says: dict[str, Any]):
    assert says["tasks"]["hostile"]["run"] == LAUNCHERS["full"].script(Path("/data") / HOSTILE)


def test_gpus_cores_memory_and_place_arrive(says: dict[str, Any]):
    task = says["tasks"]["full"]

    assert (task["accelerators"], task["cpus"], task["memory"]) == ({"H100": 4}, "32+", "200+")
    assert (task["cloud"], task["spot"]) == ("Kubernetes", True)


def test_a_volume_is_mounted_where_the_data_is_here(says: dict[str, Any]):
    assert says["tasks"]["volume"]["volumes"] == {"/data": "flywheel-data"}


def test_a_bucket_is_mounted_so_that_files_can_be_appended_to_and_renamed(says: dict[str, Any]):
    assert (says["tasks"]["bucket"]["storage"], says["tasks"]["bucket"]["modes"]) == (
        ["/data"],
        ["StorageMode.MOUNT_CACHED"],
    )


def test_every_state_of_skypilot_has_a_meaning_here(says: dict[str, Any]):
    running = {"RUNNING", "WINDING_DOWN", "CANCELLING"}

    assert set(says["statuses"]) == running | skypilot.WAITING | skypilot.ENDED | set(skypilot.EXIT_CODES)


def test_the_fakes_record_has_fields_of_skypilots(says: dict[str, Any]):
    record = clusters.sky_record({"id": 1, "name": "n", "state": "running", "code": 0, "since": 0.0})

    assert record.keys() <= set(says["record"])


def test_every_option_that_sky_is_given_exists(says: dict[str, Any], make: Make, cluster: Cluster, shared_dir: Path):
    launcher = make("skypilot", judges=BENCH, storage="s3://flywheel-data")
    launcher.stop(launcher.submit(shared_dir, attempt=1), shared_dir, grace_seconds=0)

    for call in cluster.calls("sky"):
        given = {word.partition("=")[0] for word in call["words"] if word.startswith("--")}
        assert given <= set(says["options"][call["words"][1]])


# The script


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_script_passes_shellcheck(name: str):
    assert complaints(LAUNCHERS[name].script(RUN)) == ""


def test_the_script_of_a_hostile_directory_passes_shellcheck():
    assert complaints(LAUNCHERS["full"].script(Path("/data") / HOSTILE), severity="warning") == ""


def test_a_hostile_directory_does_not_break_out_of_the_script(make: Make, working_cluster: Cluster, data_dir: Path):
    run_dir = data_dir / HOSTILE.replace("/", "")
    run_dir.mkdir(parents=True)
    (run_dir / "spec.json").write_text("{}")
    program = "import sys, pathlib; pathlib.Path(sys.argv[1], 'seen').write_text(sys.argv[1]); print('said')"
    launcher = make("skypilot", payload=Payload(command=(sys.executable, "-c", program)))

    handle = launcher.submit(run_dir, attempt=1)

    while launcher.poll(handle, run_dir).exit_code is None:
        pass
    assert (run_dir / "seen").read_text() == str(run_dir)
    assert (run_dir / "engine.log").read_text() == "said\n"
    assert [path.name for path in data_dir.rglob("owned")] == []


# Secrets


def test_no_key_is_in_the_task_or_on_a_command_line(make: Make, cluster: Cluster, shared_dir: Path):
    make("skypilot", judges=BENCH).submit(shared_dir, attempt=1)

    task = (shared_dir / "skypilot.yaml").read_text()
    assert yaml.safe_load(task)["secrets"] == {"FLYWHEEL_JUDGES": None}
    assert KEY not in task + json.dumps([call["words"] for call in cluster.calls()])


def test_the_key_is_given_with_the_launch_only(make: Make, cluster: Cluster, shared_dir: Path):
    launcher = make("skypilot", judges=BENCH)
    launcher.poll(launcher.submit(shared_dir, attempt=1), shared_dir)

    knowing = [call["words"][1] for call in cluster.calls() if KEY in json.dumps(call["environment"])]
    assert knowing == ["launch"]


# Submit and recover


def test_a_job_that_the_queue_does_not_show_yet_is_not_launched_again(make: Make, cluster: Cluster, shared_dir: Path):
    launcher = make("skypilot")
    launcher.submit(shared_dir, attempt=1)
    (shared_dir / "handle.json").unlink()
    cluster.forget()

    again = launcher.submit(shared_dir, attempt=1)

    assert cluster.names() == []
    assert launcher.poll(again, shared_dir).waiting


def test_a_job_that_skypilot_recovers_is_waited_for(make: Make, cluster: Cluster, shared_dir: Path):
    launcher = make("skypilot")
    handle = launcher.submit(shared_dir, attempt=1)
    cluster.move("preempted")

    status = launcher.poll(handle, shared_dir)

    assert (status.alive, status.waiting) == (True, True)


def test_a_recovered_job_is_given_its_lease_anew(make: Make, cluster: Cluster, shared_dir: Path):
    launcher = make("skypilot")
    handle = launcher.submit(shared_dir, attempt=1)
    cluster.move("preempted")
    launcher.poll(handle, shared_dir)
    cluster.move("running")
    with cluster.jobs() as known:
        known["jobs"][-1]["since"] = 1.0  # SkyPilot's start is that of the first machine

    polls = [launcher.poll(handle, shared_dir).started_at for _ in range(2)]

    assert polls[0] is not None
    assert polls[0] > 1.0
    assert polls[1] == polls[0]


def test_the_latest_job_of_a_name_counts():
    handle = SkyPilotHandle("n", 0.0, 1)
    records = [{"job_id": 1, "job_name": "n", "status": "FAILED"}, {"job_id": 2, "job_name": "n", "status": "RUNNING"}]

    assert skypilot.report(handle, records, now=0.0).state == "running"


def test_why_a_job_failed_is_said():
    record = {"job_id": 1, "job_name": "n", "status": "FAILED_NO_RESOURCE", "failure_reason": "no H100 in any region"}

    answer = skypilot.report(SkyPilotHandle("n", 0.0, 1), [record], now=0.0)

    assert (answer.state, answer.said) == ("ended", "SkyPilot says FAILED_NO_RESOURCE: no H100 in any region")


def test_a_run_outside_of_what_the_storage_holds_is_refused(make: Make, cluster: Cluster, tmp_path: Path):
    (tmp_path / "spec.json").write_text("{}")

    with pytest.raises(LauncherError, match="which the storage holds"):
        make("skypilot").submit(tmp_path, attempt=1)
