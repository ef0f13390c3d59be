"""Stand-ins for sbatch, sacct, squeue, scancel, kubectl and sky, which answer in the words of the real ones.

`install(folder)` puts them into a folder for PATH. What they know lies beside it: jobs.json, which a test moves on with
`Cluster`, and calls.jsonl, every call with its standard input and environment. A cluster that `runs` starts what it is
given, in a process of its own, as a node would.

Formats: slurm 22.05 (sbatch --parsable, sacct --parsable2, squeue --format), kubectl 1.32 (--output=json),
skypilot 0.14 (`sky jobs queue --output=json`).
"""

import base64
import contextlib
import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TOOLS = ("sbatch", "sacct", "squeue", "scancel", "kubectl", "sky")
IMAGE = Path(__file__).resolve().parents[2]  # what an image would hold as its working directory
Job = dict[str, Any]


def install(folder: Path, *, runs: bool = False) -> "Cluster":
    """The tools in folder/bin, of a cluster without jobs."""
    (folder / "bin").mkdir(parents=True)
    for tool in TOOLS:
        path = folder / "bin" / tool
        words = [sys.executable, str(Path(__file__).resolve()), str(folder), tool]
        path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        path.chmod(0o755)
    cluster = Cluster(folder)
    with cluster.jobs() as state:
        state.update(jobs=[], runs=runs, down="")
    return cluster


@dataclass(frozen=True)
class Cluster:
    """What the scheduler knows, in words of our own: waiting, running, exited (with a code), preempted, cancelled."""

    folder: Path

    @contextlib.contextmanager
    def jobs(self) -> Iterator[dict[str, Any]]:
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            path = self.folder / "jobs.json"
            state = json.loads(path.read_text()) if path.exists() else {}
            yield state
            path.write_text(json.dumps(state))

    def move(self, state: str, *, code: int = 0) -> None:
        """The latest job, to another state."""
        with self.jobs() as known:
            known["jobs"][-1] |= {"state": state, "code": code, "since": time.time()}

    def forget(self) -> None:
        with self.jobs() as known:
            known["jobs"].clear()

    def fails(self, complaint: str) -> None:
        """Every tool says this on stderr from now on and exits with 1; "": they answer again."""
        with self.jobs() as known:
            known["down"] = complaint

    def names(self) -> list[str]:
        with self.jobs() as known:
            return [job["name"] for job in known["jobs"]]

    def calls(self, tool: str = "") -> list[dict[str, Any]]:
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call for call in map(json.loads, lines) if tool in ("", call["tool"])]


def main(folder: Path, tool: str, words: list[str]) -> int:
    cluster = Cluster(folder)
    if tool == "run":
        return run(cluster, words[0])
    given = "" if sys.stdin.isatty() or tool not in ("kubectl",) else sys.stdin.read()
    with (folder / "calls.jsonl").open("a") as calls:
        call = {"tool": tool, "words": words, "stdin": given, "environment": dict(os.environ)}
        calls.write(json.dumps(call) + "\n")
    with cluster.jobs() as known:
        if known["down"]:
            print(known["down"], file=sys.stderr)
            return 1
        return {"kubectl": kubectl, "sky": sky}.get(tool, slurm)(cluster, known, tool, words, given)


def option(words: list[str], name: str) -> str:
    return next((word.partition("=")[2] for word in words if word.startswith(f"--{name}=")), "")


def add(cluster: Cluster, known: dict[str, Any], name: str, command: list[str], **more: Any) -> Job:
    number = 4101 + len(known["jobs"])
    job: Job = {"id": number, "name": name, "command": command, "state": "waiting", "code": 0, "since": time.time()}
    known["jobs"].append(job | more | {"uid": str(uuid.uuid4())})
    if known["runs"] and not more.get("mounts"):
        start(cluster, known["jobs"][-1])
    return known["jobs"][-1]


def start(cluster: Cluster, job: Job) -> None:
    job["state"] = "running"
    node = [sys.executable, __file__, str(cluster.folder), "run", str(job["id"])]
    null = subprocess.DEVNULL
    subprocess.Popen(node, stdin=null, stdout=null, stderr=null, start_new_session=True)


def run(cluster: Cluster, number: str) -> int:
    """The node: starts the command, waits for it and tells how it ended."""
    with cluster.jobs() as known:
        job = next(job for job in known["jobs"] if str(job["id"]) == number)
    with open(job.get("output") or os.devnull, "ab") as log:
        bare = {"PATH": os.environ["PATH"], "HOME": str(cluster.folder), **job.get("environment", {})}
        process = subprocess.Popen(
            job["command"], cwd=job.get("cwd") or IMAGE, env=bare, stdout=log, stderr=log, start_new_session=True
        )
    with cluster.jobs() as known:
        next(job for job in known["jobs"] if str(job["id"]) == number)["pid"] = process.pid
    code = process.wait()
    with cluster.jobs() as known:
        for job in known["jobs"]:
            if str(job["id"]) == number and job["state"] == "running":
                job |= {"state": "exited", "code": code}
    return 0


def end(job: Job, number: int = signal.SIGTERM) -> None:
    with contextlib.suppress(KeyError, ProcessLookupError):
        os.killpg(job["pid"], number)
    if number == signal.SIGKILL or "pid" not in job:
        job |= {"state": "cancelled"}


# Slurm

SLURM = {"waiting": "PENDING", "running": "RUNNING", "preempted": "PREEMPTED", "cancelled": "CANCELLED by 1000"}


def slurm(cluster: Cluster, known: dict[str, Any], tool: str, words: list[str], given: str) -> int:
    return {"sbatch": sbatch, "sacct": sacct, "squeue": squeue, "scancel": scancel}[tool](cluster, known, words)


def sbatch(cluster: Cluster, known: dict[str, Any], words: list[str]) -> int:
    script = Path(words[-1]).read_text()
    name = re.search(r"^#SBATCH --job-name=(\S+)$", script, re.MULTILINE)
    assert name is not None
    output = option(words, "output").replace("%%", "%").replace("\\\\", "\\")
    more = {"output": output, "cwd": option(words, "chdir")}
    print(add(cluster, known, name[1], ["/bin/bash", words[-1]], **more)["id"])
    return 0


def slurm_state(job: Job) -> str:
    if job["state"] == "exited":
        return "COMPLETED" if job["code"] == 0 else "FAILED"
    return SLURM[job["state"]]


def sacct(cluster: Cluster, known: dict[str, Any], words: list[str]) -> int:
    assert {"--noheader", "--parsable2", "--format=State,ExitCode,Start", "--allocations"} <= set(words)
    assert os.environ["SLURM_TIME_FORMAT"] == "%s"
    for job in known["jobs"]:
        if str(job["id"]) == option(words, "jobs") and not known.get("accounting_is_late"):
            code = f"0:{-job['code']}" if job["code"] < 0 else f"{job['code']}:0"
            start = "Unknown" if job["state"] == "waiting" else str(int(job["since"]))
            print(f"{slurm_state(job)}|{code}|{start}")
    return 0


def squeue(cluster: Cluster, known: dict[str, Any], words: list[str]) -> int:
    assert {"--noheader", "--states=all"} <= set(words)
    if number := option(words, "jobs"):
        found = [job for job in known["jobs"] if str(job["id"]) == number]
        if not found:
            print("slurm_load_jobs error: Invalid job id specified", file=sys.stderr)
            return 1
    else:
        found = [job for job in known["jobs"] if job["name"] == option(words, "name")]
    for job in found:
        print(job["id"] if option(words, "format") == "%A" else slurm_state(job).split()[0])
    return 0


def scancel(cluster: Cluster, known: dict[str, Any], words: list[str]) -> int:
    found = [job for job in known["jobs"] if str(job["id"]) == words[-1]]
    if not found:
        wrong = f"scancel: error: Kill job error on job id {words[-1]}: Invalid job id specified"
        print(wrong, file=sys.stderr)
        return 1
    if "--signal=TERM" not in words:
        end(found[0], signal.SIGKILL)
    elif found[0]["state"] == "running" and "pid" in found[0]:
        end(found[0])
    return 0


# Kubernetes


def kubectl(cluster: Cluster, known: dict[str, Any], tool: str, words: list[str], given: str) -> int:
    verb = next(word for word in words if not word.startswith("--"))
    return {"apply": apply, "get": get, "delete": delete}[verb](cluster, known, words, given)


def apply(cluster: Cluster, known: dict[str, Any], words: list[str], given: str) -> int:
    manifest = json.loads(given)
    name = manifest["metadata"]["name"]
    if manifest["kind"] == "Secret":
        known["secrets"] = {**known.get("secrets", {}), name: manifest}
        print(json.dumps(manifest))
        mount(cluster, known, name, manifest)
        return 0
    job = next((job for job in known["jobs"] if job["name"] == name), None)
    if job is None:
        container = manifest["spec"]["template"]["spec"]["containers"][0]
        variables = {entry["name"]: entry["value"].replace("$$", "$") for entry in container["env"]}
        command = [word.replace("$$", "$") for word in container["command"]]
        mounts = [at["mountPath"] for at in container["volumeMounts"] if at["name"] == "judges"]
        job = add(cluster, known, name, command, environment=variables, manifest=manifest, mounts=mounts)
    print(json.dumps(kubernetes_job(job)))
    return 0


def mount(cluster: Cluster, known: dict[str, Any], name: str, secret: dict[str, Any]) -> None:
    """A pod waits until the Secret that it mounts is there. Its folder is one of ours here, as is the path to it."""
    job = next(job for job in known["jobs"] if job["name"] == name)
    folder = cluster.folder / "mounted"
    folder.mkdir(exist_ok=True)
    for file, content in secret["data"].items():
        (folder / file).write_bytes(base64.b64decode(content))
    job["environment"] = {
        key: value.replace(job["mounts"][0], str(folder)) for key, value in job["environment"].items()
    }
    if known["runs"] and job["state"] == "waiting":
        start(cluster, job)


def kubernetes_job(job: Job) -> dict[str, Any]:
    ended = {
        "exited": ("Complete", None, None) if job["code"] == 0 else ("Failed", "BackoffLimitExceeded", LIMIT),
        "preempted": ("Failed", "BackoffLimitExceeded", LIMIT),
    }
    status: dict[str, Any] = {"ready": 0, "startTime": stamp(job["since"]), "uncountedTerminatedPods": {}}
    if job["state"] in ended:
        kind, reason, message = ended[job["state"]]
        condition = {"type": kind, "status": "True", "lastTransitionTime": stamp(job["since"])}
        status["conditions"] = [condition | ({"reason": reason, "message": message} if reason else {})]
    else:
        status |= {"active": 1}
    metadata = job["manifest"]["metadata"] | {"uid": job["uid"], "creationTimestamp": stamp(job["since"])}
    return {**job["manifest"], "metadata": metadata, "status": status}


LIMIT = "Job has reached the specified backoff limit"


def kubernetes_pod(job: Job) -> dict[str, Any]:
    code = 128 - job["code"] if job["code"] < 0 else job["code"]
    phase = {"waiting": "Pending", "running": "Running", "preempted": "Failed"}.get(
        job["state"], "Succeeded" if code == 0 else "Failed"
    )
    state = {
        "waiting": {"waiting": {"reason": "ContainerCreating"}},
        "running": {"running": {"startedAt": stamp(job["since"])}},
    }.get(job["state"], {"terminated": {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}})
    status: dict[str, Any] = {"phase": phase, "qosClass": "Burstable"}
    if job["state"] == "preempted":
        status |= {"reason": "Preempting", "message": "Preempted in order to admit critical pod"}
    else:
        status |= {"containerStatuses": [{"name": "engine", "restartCount": 0, "state": state}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{job['name']}-x7k2p", "labels": job["manifest"]["metadata"]["labels"]},
        "status": status,
    }


def stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def get(cluster: Cluster, known: dict[str, Any], words: list[str], given: str) -> int:
    assert "jobs,pods" in words
    name = option(words, "selector").partition("=")[2]
    found = [job for job in known["jobs"] if job["name"] == name and job["state"] != "cancelled"]
    items = [make(job) for job in found for make in (kubernetes_job, kubernetes_pod)]
    print(json.dumps({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}))
    return 0


def delete(cluster: Cluster, known: dict[str, Any], words: list[str], given: str) -> int:
    assert "--ignore-not-found" in words
    name = words[1 + next(place for place, word in enumerate(words) if word == "delete")].removeprefix("job/")
    for job in known["jobs"]:
        if job["name"] == name:
            known.get("secrets", {}).pop(name, None)  # the garbage collector, by its owner
            print(f'job.batch "{name}" deleted from {option(words, "namespace")} namespace')
            end(job, signal.SIGKILL)
    return 0


# SkyPilot

SKY = {"waiting": "PENDING", "running": "RUNNING", "preempted": "RECOVERING", "cancelled": "CANCELLED"}


def sky(cluster: Cluster, known: dict[str, Any], tool: str, words: list[str], given: str) -> int:
    assert words[0] == "jobs"
    return {"launch": launch, "queue": queue, "cancel": cancel}[words[1]](cluster, known, words)


def launch(cluster: Cluster, known: dict[str, Any], words: list[str]) -> int:
    assert {"--yes", "--async"} <= set(words)
    task = yaml.safe_load(Path(words[-1]).read_text())
    secrets = {name: os.environ[name] for name in task.get("secrets", {})}
    add(cluster, known, option(words, "name"), ["/bin/bash", "-c", task["run"]], environment=secrets)
    request = str(uuid.uuid4())
    print(f"Submitted sky.jobs.launch request: {request}")
    print(f"└── Check logs with: sky api logs {request[:8]}")
    print(f"└── To cancel the request, run: sky api cancel {request[:8]}\n")
    return 0


def sky_record(job: Job) -> dict[str, Any]:
    status = ("SUCCEEDED" if job["code"] == 0 else "FAILED") if job["state"] == "exited" else SKY[job["state"]]
    return {
        "task_job_id": None,
        "job_id": job["id"],
        "task_id": 0,
        "job_name": job["name"],
        "task_name": job["name"],
        "job_duration": 0.0,
        "workspace": "default",
        "status": status,
        "schedule_state": "ALIVE",
        "resources": "1x[H100:1]",
        "cluster_resources": "-",
        "infra": "-",
        "recovery_count": int(job["state"] == "preempted"),
        "details": None,
        "failure_reason": None,
        "submitted_at": job["since"],
        "start_at": None if job["state"] == "waiting" else job["since"],
        "end_at": None,
    }


def queue(cluster: Cluster, known: dict[str, Any], words: list[str]) -> int:
    assert {"--all", "--output=json"} <= set(words)
    print(json.dumps([sky_record(job) for job in reversed(known["jobs"])], indent=2))
    return 0


def cancel(cluster: Cluster, known: dict[str, Any], words: list[str]) -> int:
    assert "--yes" in words
    found = [job for job in known["jobs"] if job["name"] == option(words, "name")]
    if not found:
        print(f"No running job found with name {option(words, 'name')!r}.")
    for job in found:
        print(f"'{job['name']}' Job ID {job['id']} is scheduled to be cancelled.")
        end(job, signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
