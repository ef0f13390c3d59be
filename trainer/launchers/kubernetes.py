"""Runs the engine as a Kubernetes Job of one pod, through kubectl.

A volume claim holds what is DATA_DIR here, mounted under the same name, so the run directory is the same path on both
sides. A failed pod is not repeated by Kubernetes: the platform starts the next attempt, which goes on from the last
checkpoint. Judges with keys lie in a Secret that belongs to the Job and goes with it.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from tasks.graders.judges import Judges
from trainer.launchers.payload import Payload
from trainer.launchers.protocol import KubernetesHandle, LauncherError, Status, Unreachable, write_whole
from trainer.launchers.scheduled import Report, Watch
from trainer.launchers.submission import job_name, once
from trainer.launchers.tools import Answer, call

FAMILIES = ("KUBE", "AWS_", "GOOGLE_", "AZURE_", "CLOUDSDK_")  # logins of clouds come from kubectl's own plugins
LABEL = "app.kubernetes.io/instance"
JUDGES_DIRECTORY = "/run/flywheel"
KEPT_SECONDS = 86_400  # a finished Job, for people to look at
LEAVE_SECONDS = 60  # between SIGTERM and SIGKILL: the engine saves a checkpoint
# The arguments arrive as arguments: no name in them is ever read by the shell. exec: SIGTERM reaches the engine.
INTO_THE_LOG = 'exec "$@" >>"$0" 2>&1'

Object = dict[str, Any]


@dataclass(frozen=True)
class KubernetesLauncher:
    """`data_dir` is mounted from `claim`; `user` and group own what lies there. `context` "": kubectl's current one."""

    data_dir: Path
    image: str
    claim: str
    namespace: str = "default"
    context: str = ""
    user: int = 10001
    gpu_resource: str = "nvidia.com/gpu"
    payload: Payload = field(default_factory=Payload)
    every_seconds: float = 15.0
    judges: Judges | None = None
    name: str = "kubernetes"

    def submit(self, run_dir: Path, *, attempt: int) -> KubernetesHandle:
        run_dir = run_dir.resolve()
        return once(run_dir, attempt, KubernetesHandle, lambda: self._apply(run_dir, attempt))

    def poll(self, handle: KubernetesHandle, run_dir: Path) -> Status:
        return self._watch(handle, run_dir).status()

    def stop(self, handle: KubernetesHandle, run_dir: Path, grace_seconds: float) -> bool:
        """The pod gets SIGTERM and, after its own grace period, SIGKILL; the Secret goes with the Job."""
        watch = self._watch(handle, run_dir)
        if watch.is_over():
            return True
        self._kubectl(handle.namespace, "delete", f"job/{handle.name}", "--ignore-not-found", "--wait=false")
        return watch.is_over()

    def _apply(self, run_dir: Path, attempt: int) -> KubernetesHandle:
        """Applied twice it is the same Job: the name says directory and attempt. The Secret follows, because it names
        the Job as its owner; until it is there the pod waits."""
        name = job_name(run_dir, attempt)
        if not run_dir.is_relative_to(self.data_dir.resolve()):
            raise LauncherError(f"{run_dir} is not in {self.data_dir}, which the volume claim holds. Set DATA_DIR.")
        manifest = self.manifest(run_dir, name)
        write_whole(run_dir / "kubernetes.json", json.dumps(manifest, indent=2).encode())  # kept: what ran can be read
        job = self._applied(manifest)
        if self.judges is not None and self.judges.endpoints:
            self._applied(self.secret(name, job["metadata"]["uid"]))
        return KubernetesHandle(name, self.namespace, attempt)

    def manifest(self, run_dir: Path, name: str) -> Object:
        labels = {"app.kubernetes.io/name": "flywheel-engine", LABEL: name}
        spec: Object = {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {"metadata": {"labels": labels}, "spec": self._pod(run_dir, name)},
        }
        if self.payload.time_limit_minutes:
            spec["activeDeadlineSeconds"] = self.payload.time_limit_minutes * 60
        metadata = {"name": name, "namespace": self.namespace, "labels": labels}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}

    def secret(self, name: str, job_uid: str) -> Object:
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job_uid}
        metadata = {"name": name, "namespace": self.namespace, "labels": {LABEL: name}, "ownerReferences": [owner]}
        content = base64.b64encode(msgspec.json.encode(self.judges)).decode()
        data = {"judges.json": content}
        return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data}

    def _pod(self, run_dir: Path, name: str) -> Object:
        return {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": LEAVE_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": self.user,
                "runAsGroup": self.user,
                "fsGroup": self.user,
                "fsGroupChangePolicy": "OnRootMismatch",  # else every start walks through all of DATA_DIR
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [self._container(run_dir)],
            "volumes": self._volumes(name),
        }

    def _container(self, run_dir: Path) -> Object:
        variables = {"TMPDIR": "/tmp", "HOME": "/tmp", **self.payload.variables()}  # noqa: S108 - an emptyDir of the pod
        if self._has_judges:
            variables["JUDGES_FD"] = f"{JUDGES_DIRECTORY}/judges.json"
        command = ["/bin/sh", "-c", INTO_THE_LOG, str(run_dir / "engine.log"), *self.payload.of(run_dir)]
        return {
            "name": "engine",
            "image": self.image,
            "command": [_literal(word) for word in command],
            "env": [{"name": key, "value": _literal(value)} for key, value in sorted(variables.items())],
            "resources": self._resources(),
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": self._mounts(),
        }

    def _resources(self) -> Object:
        asked = {
            "cpu": str(self.payload.cpus) if self.payload.cpus else "",
            "memory": f"{self.payload.memory_gb}Gi" if self.payload.memory_gb else "",
        }
        requests = {resource: amount for resource, amount in asked.items() if amount}
        limits = {"memory": requests["memory"]} if "memory" in requests else {}
        if self.payload.gpus:
            limits[self.gpu_resource] = str(self.payload.gpus)  # of extended resources the request follows the limit
        return {"requests": requests, "limits": limits}

    def _mounts(self) -> list[Object]:
        mounts: list[Object] = [
            {"name": "data", "mountPath": str(self.data_dir)},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - several GPUs exchange gradients through it
        ]
        if self._has_judges:
            mounts.append({"name": "judges", "mountPath": JUDGES_DIRECTORY, "readOnly": True})
        return mounts

    def _volumes(self, name: str) -> list[Object]:
        volumes: list[Object] = [
            {"name": "data", "persistentVolumeClaim": {"claimName": self.claim}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
        ]
        if self._has_judges:
            volumes.append({"name": "judges", "secret": {"secretName": name, "defaultMode": 0o440}})
        return volumes

    @property
    def _has_judges(self) -> bool:
        return self.judges is not None and bool(self.judges.endpoints)

    def _applied(self, manifest: Object) -> Object:
        """Server-side: what is applied is not copied into an annotation, which a Secret would not survive unread."""
        how = ("--server-side", "--force-conflicts", "--field-manager=flywheel", "--output=json")
        answer = self._kubectl(self.namespace, "apply", *how, "--filename=-", standard_input=json.dumps(manifest))
        if answer.code != 0:
            raise _refusal(answer)
        applied: Object = json.loads(answer.output)
        return applied

    def _kubectl(self, namespace: str, *words: str, standard_input: str = "") -> Answer:
        context = [f"--context={self.context}"] if self.context else []
        command = ["kubectl", *context, f"--namespace={namespace}", "--request-timeout=30s", *words]
        return call(command, families=FAMILIES, standard_input=standard_input)

    def _watch(self, handle: KubernetesHandle, run_dir: Path) -> Watch:
        return Watch(run_dir, handle.attempt, lambda: self._report(handle), self.every_seconds)

    def _report(self, handle: KubernetesHandle) -> Report:
        selected = f"--selector={LABEL}={handle.name}"
        answer = self._kubectl(handle.namespace, "get", "jobs,pods", selected, "--output=json")
        if answer.code != 0:
            raise Unreachable(f"kubectl could not ask the cluster: {answer.last_words}")
        items = json.loads(answer.output)["items"]
        jobs = [item for item in items if item["kind"] == "Job"]
        return report(jobs[0] if jobs else None, [item for item in items if item["kind"] == "Pod"])


def report(job: Object | None, pods: Sequence[Object]) -> Report:
    """A pod that is still there outlives its Job's deletion by its grace period: until then it has not ended."""
    live = [pod for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")]
    if live:
        return _of_pod(live[0])
    if job is None:
        return Report("gone", "Kubernetes knows the Job no longer")
    if end := _condition(job, ("Complete", "Failed")):
        return Report("ended", f"Kubernetes says {_words(end)}", _exit_code(pods))
    return Report("waiting", "Kubernetes has the Job and no pod of it is alive")


def _of_pod(pod: Object) -> Report:
    status = pod.get("status", {})
    for container in status.get("containerStatuses", ()):
        if running := container.get("state", {}).get("running"):
            return Report("running", "Kubernetes says Running", None, _seconds(running.get("startedAt")))
        if waiting := container.get("state", {}).get("waiting"):
            return Report("waiting", f"Kubernetes says {_words(waiting)}")
        if "terminated" in container.get("state", {}):
            return Report("running", "Kubernetes is ending the pod")
    if status.get("phase") == "Pending":
        scheduled = _condition({"status": status}, ("PodScheduled",), "False")
        return Report("waiting", f"Kubernetes says {_words(scheduled) if scheduled else 'Pending'}")
    return Report("running", f"Kubernetes says {status.get('phase', 'nothing')}")


def _condition(thing: Object, kinds: Sequence[str], holds: str = "True") -> Object | None:
    conditions: Sequence[Object] = thing.get("status", {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] in kinds and each["status"] == holds), None)


def _exit_code(pods: Sequence[Object]) -> int | None:
    """128 + n is how a container says that signal n ended its process."""
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses", ()):
            if ended := container.get("state", {}).get("terminated"):
                code = int(ended["exitCode"])
                return 128 - code if code > 128 else code
    return None


def _words(thing: Mapping[str, Any]) -> str:
    return ": ".join(str(thing[key])[:200] for key in ("reason", "message") if thing.get(key)) or str(
        thing.get("type", "")
    )


def _seconds(moment: str | None) -> float | None:
    return datetime.fromisoformat(moment).timestamp() if moment else None


def _literal(text: str) -> str:
    """Kubernetes replaces $(NAME) in commands and variables; $$ is how it writes a dollar sign."""
    return text.replace("$", "$$")


def _refusal(answer: Answer) -> LauncherError:
    if any(words in answer.complaint for words in TEMPORARY):
        return Unreachable(f"kubectl could not reach the cluster: {answer.last_words}")
    return LauncherError(f"Kubernetes refused the Job: {answer.last_words}. Look at the ENGINE_ settings.")


TEMPORARY = (
    "Unable to connect to the server",
    "The connection to the server",
    "i/o timeout",
    "TLS handshake timeout",
    "(InternalError)",
    "(ServerTimeout)",
    "(ServiceUnavailable)",
    "(TooManyRequests)",
)
