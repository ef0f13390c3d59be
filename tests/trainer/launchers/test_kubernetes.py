"""The Kubernetes launcher: its manifest against the schemas of Kubernetes, and what its pods' states mean."""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tasks.graders.judges import Judges
from tests.fakes.cluster import Cluster
from tests.trainer.launchers.conftest import BENCH, KEY, Make
from tests.trainer.launchers.test_payload import HOSTILE
from trainer.launchers.kubernetes import KubernetesLauncher, report
from trainer.launchers.payload import Payload
from trainer.launchers.protocol import LauncherError

RUN = Path("/data/runs/run-1")
BARE = KubernetesLauncher(Path("/data"), "registry.example/flywheel:1.0", "flywheel-data")
FULL = KubernetesLauncher(
    Path("/data"), "registry.example/flywheel:1.0", "flywheel-data", "training", "admin@cluster", 1000, "amd.com/gpu",
    Payload("python", (), 4, 32, 200, 600, {"ENGINE_THREADS": "8"}), judges=BENCH,
)  # fmt: skip
VERSIONS = ("1.29", "1.33", "1.37")


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


def container_of(manifest: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = pod_of(manifest)["containers"][0]
    return container


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("launcher", [BARE, FULL], ids=["bare", "full"])
@pytest.mark.parametrize("directory", [RUN, Path("/data") / HOSTILE], ids=["plain", "hostile"])
def test_the_manifest_is_valid_by_the_schema_of_kubernetes(launcher: KubernetesLauncher, directory: Path, version: str):
    kubernetes_validate.validate(launcher.manifest(directory, "flywheel-run-1-1"), version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_secret_is_valid_by_the_schema_of_kubernetes(version: str):
    kubernetes_validate.validate(FULL.secret("flywheel-run-1-1", "0f1e"), version, strict=True)


def test_the_schema_would_find_a_field_that_does_not_exist():
    manifest = BARE.manifest(RUN, "n")
    manifest["spec"]["backofLimit"] = 0

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


def test_the_pod_runs_the_engine_and_nothing_else():
    assert container_of(BARE.manifest(RUN, "n"))["command"][4:] == ["python", "-m", "trainer.engine", str(RUN)]


def test_the_pod_is_not_root_and_can_gain_nothing():
    manifest = FULL.manifest(RUN, "n")

    assert pod_of(manifest)["securityContext"].items() >= {"runAsNonRoot": True, "runAsUser": 1000}.items()
    assert container_of(manifest)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod_of(manifest)["automountServiceAccountToken"] is False


def test_gpus_cores_memory_and_time_become_limits():
    manifest = FULL.manifest(RUN, "n")

    assert container_of(manifest)["resources"] == {
        "requests": {"cpu": "32", "memory": "200Gi"},
        "limits": {"memory": "200Gi", "amd.com/gpu": "4"},
    }
    assert manifest["spec"]["activeDeadlineSeconds"] == 36_000


def test_the_claim_is_mounted_where_the_run_directory_is_here():
    manifest = BARE.manifest(RUN, "n")

    assert {"name": "data", "persistentVolumeClaim": {"claimName": "flywheel-data"}} in pod_of(manifest)["volumes"]
    assert {"name": "data", "mountPath": "/data"} in container_of(manifest)["volumeMounts"]


def test_a_run_outside_of_what_the_claim_holds_is_refused(make: Make, cluster: Cluster, tmp_path: Path):
    (tmp_path / "spec.json").write_text("{}")

    with pytest.raises(LauncherError, match="which the volume claim holds"):
        make("kubernetes").submit(tmp_path, attempt=1)


def test_a_failed_pod_is_not_repeated_behind_the_platforms_back():
    manifest = BARE.manifest(RUN, "n")

    assert (manifest["spec"]["backoffLimit"], pod_of(manifest)["restartPolicy"]) == (0, "Never")


def test_dollar_signs_of_a_name_are_not_for_kubernetes_to_expand():
    command = container_of(BARE.manifest(Path("/data/$(HOSTNAME)"), "n"))["command"]

    assert command[-1] == "/data/$$(HOSTNAME)"


def test_a_hostile_directory_does_not_break_out_of_the_command(make: Make, working_cluster: Cluster, data_dir: Path):
    run_dir = data_dir / HOSTILE.replace("/", "")
    run_dir.mkdir(parents=True)
    (run_dir / "spec.json").write_text("{}")
    program = "import sys, pathlib; pathlib.Path(sys.argv[1], 'seen').write_text(sys.argv[1]); print('said')"
    launcher = make("kubernetes", payload=Payload(command=(sys.executable, "-c", program)))

    handle = launcher.submit(run_dir, attempt=1)

    while launcher.poll(handle, run_dir).exit_code is None:
        pass
    assert (run_dir / "seen").read_text() == str(run_dir)
    assert (run_dir / "engine.log").read_text() == "said\n"
    assert [path.name for path in data_dir.rglob("owned")] == []


def test_judges_are_a_secret_that_belongs_to_the_job(make: Make, cluster: Cluster, shared_dir: Path):
    handle = make("kubernetes", judges=BENCH).submit(shared_dir, attempt=1)

    with cluster.jobs() as known:
        secret, uid = known["secrets"][handle.name], known["jobs"][0]["uid"]
    assert KEY in base64.b64decode(secret["data"]["judges.json"]).decode()
    assert secret["metadata"]["ownerReferences"][0]["uid"] == uid


def test_a_cancelled_job_takes_its_secret_along(make: Make, cluster: Cluster, shared_dir: Path):
    launcher = make("kubernetes", judges=BENCH)

    launcher.stop(launcher.submit(shared_dir, attempt=1), shared_dir, grace_seconds=0)

    with cluster.jobs() as known:
        assert known["secrets"] == {}


def test_no_key_is_in_the_manifest_or_on_a_command_line(make: Make, cluster: Cluster, shared_dir: Path):
    make("kubernetes", judges=BENCH).submit(shared_dir, attempt=1)

    encoded = base64.b64encode(KEY.encode()).decode()[:20]
    told = json.dumps([call["words"] for call in cluster.calls()]) + (shared_dir / "kubernetes.json").read_text()
    assert KEY not in told
    assert encoded not in told


def test_without_judges_there_is_no_secret(make: Make, cluster: Cluster, shared_dir: Path):
    make("kubernetes", judges=Judges()).submit(shared_dir, attempt=1)

    assert len(cluster.calls("kubectl")) == 1


def job(*conditions: dict[str, str]) -> dict[str, Any]:
    return {"kind": "Job", "status": {"conditions": list(conditions)}}


def pod(phase: str, **state: Any) -> dict[str, Any]:
    return {"kind": "Pod", "status": {"phase": phase, "containerStatuses": [{"name": "engine", "state": state}]}}


FAILED = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the limit"}


@pytest.mark.parametrize(
    ("seen", "pods", "state", "exit_code"),
    [
        (job(), [], "waiting", None),
        (job(), [pod("Pending", waiting={"reason": "ErrImagePull"})], "waiting", None),
        (job(), [{"status": {"phase": "Pending"}}], "waiting", None),
        (job(), [pod("Running", running={"startedAt": "2026-11-23T06:00:00Z"})], "running", None),
        (job(), [{"status": {"phase": "Unknown"}}], "running", None),
        (job({"type": "Complete", "status": "True"}), [pod("Succeeded", terminated={"exitCode": 0})], "ended", 0),
        (job(FAILED), [pod("Failed", terminated={"exitCode": 1})], "ended", 1),
        (job(FAILED), [pod("Failed", terminated={"exitCode": 137})], "ended", -9),
        (job(FAILED), [], "ended", None),
        (None, [pod("Running", running={"startedAt": "2026-11-23T06:00:00Z"})], "running", None),
        (None, [pod("Failed", terminated={"exitCode": 143})], "gone", None),
        (None, [], "gone", None),
    ],
)
def test_the_states_of_job_and_pods_are_understood(
    seen: dict[str, Any] | None, pods: list[dict[str, Any]], state: str, exit_code: int | None
):
    answer = report(seen, pods)

    assert (answer.state, answer.exit_code) == (state, exit_code)


def test_why_a_pod_waits_is_said():
    unschedulable = {
        "status": {
            "phase": "Pending",
            "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: gpu"}
            ],
        }
    }

    assert report(job(), [unschedulable]).said == "Kubernetes says Unschedulable: 0/3 nodes: gpu"


def test_a_preempted_job_is_lost(make: Make, cluster: Cluster, shared_dir: Path):
    launcher = make("kubernetes")
    handle = launcher.submit(shared_dir, attempt=1)
    cluster.move("preempted")

    status = launcher.poll(handle, shared_dir)

    assert not status.alive
    assert status.said.startswith("Kubernetes says BackoffLimitExceeded")
