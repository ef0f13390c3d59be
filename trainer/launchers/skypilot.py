"""Runs the engine as a SkyPilot managed job: on the clouds and clusters that SkyPilot knows, moved when preempted.

What is DATA_DIR here is mounted under the same name there, from a volume or a bucket. While SkyPilot recovers a job the
attempt stays the same: the engine, started again by SkyPilot, goes on from its last checkpoint. Judges with keys travel
as a SkyPilot secret and are out of the environment before the engine starts.
"""

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tasks.graders.judges import Judges
from trainer.launchers.payload import Payload, assignments, judges_from
from trainer.launchers.protocol import LauncherError, SkyPilotHandle, Status, Unreachable, read, write_whole
from trainer.launchers.scheduled import Report, Watch
from trainer.launchers.submission import job_name, once
from trainer.launchers.tools import Answer, call

FAMILIES = ("SKYPILOT_", "KUBE", "AWS_", "GOOGLE_", "AZURE_", "CLOUDSDK_")
JUDGES = "FLYWHEEL_JUDGES"  # name of the SkyPilot secret
APPEARS_SECONDS = 1200.0  # the first job of an account waits until its controller machine runs
CALL_SECONDS = 120.0

# Managed job states of `sky jobs queue --help`. An unknown word is taken for running: the heartbeat decides.
WAITING = frozenset(["PENDING", "SUBMITTED", "STARTING", "RECOVERING"])
EXIT_CODES: Mapping[str, int | None] = {"SUCCEEDED": 0, "FAILED": 1}  # the engine ended by itself
ENDED = frozenset(["CANCELLED", "FAILED_SETUP", "FAILED_PRECHECKS", "FAILED_NO_RESOURCE", "FAILED_CONTROLLER"])


class Intent(msgspec.Struct, frozen=True):
    """skypilot.json: sky was or is about to be asked. The queue shows a job only some time after that."""

    attempt: int
    at: float


@dataclass(frozen=True)
class SkyPilotLauncher:
    """`storage`: the name of a SkyPilot volume, or the address of a bucket (s3://…), that holds what is in `data_dir`.

    `directory` is where the image keeps this source tree. `infra` "": wherever it is cheapest.
    """

    data_dir: Path
    image: str
    storage: str
    infra: str = ""
    gpu_type: str = ""
    spot: bool = False
    directory: str = "/app"
    payload: Payload = field(default_factory=Payload)
    every_seconds: float = 15.0
    judges: Judges | None = None
    name: str = "skypilot"

    def submit(self, run_dir: Path, *, attempt: int) -> SkyPilotHandle:
        run_dir = run_dir.resolve()
        return once(run_dir, attempt, SkyPilotHandle, lambda: self._found_or_launched(run_dir, attempt))

    def poll(self, handle: SkyPilotHandle, run_dir: Path) -> Status:
        return self._watch(handle, run_dir).status()

    def stop(self, handle: SkyPilotHandle, run_dir: Path, grace_seconds: float) -> bool:
        """SkyPilot ends the job and its machine; a bucket gets what was not uploaded yet before that."""
        watch = self._watch(handle, run_dir)
        if watch.is_over():
            return True
        graceful = ["--graceful", "--graceful-timeout=300"] if self._is_bucket else []
        _sky("jobs", "cancel", "--yes", f"--name={handle.name}", *graceful)
        return watch.is_over()

    def _found_or_launched(self, run_dir: Path, attempt: int) -> SkyPilotHandle:
        """A submit that died behind its call left its intent: whether the job shows itself is for `poll` to see."""
        name, intent = job_name(run_dir, attempt), read(run_dir / "skypilot.json", Intent)
        if intent is None or intent.attempt != attempt:
            intent = Intent(attempt, time.time())
            self._launch(run_dir, name, intent)
        return SkyPilotHandle(name, intent.at, attempt)

    def _launch(self, run_dir: Path, name: str, intent: Intent) -> None:
        if not run_dir.is_relative_to(self.data_dir.resolve()):
            raise LauncherError(f"{run_dir} is not in {self.data_dir}, which the storage holds. Set DATA_DIR.")
        path = run_dir / "skypilot.yaml"  # kept: what ran can be read, and launched by hand
        write_whole(path, self.task(run_dir, name).encode())
        write_whole(run_dir / "skypilot.json", msgspec.json.encode(intent))
        # Only its name on the command line: sky takes the value from this call's environment.
        with_judges = [f"--secret={JUDGES}"] if self._has_judges else []
        secrets = {JUDGES: msgspec.json.encode(self.judges).decode()} if self._has_judges else {}
        command = ("jobs", "launch", "--yes", "--async", f"--name={name}", *with_judges, str(path))
        answer = _sky(*command, environment=secrets)
        if answer.code != 0:
            (run_dir / "skypilot.json").unlink(missing_ok=True)
            raise _refusal(answer)

    def task(self, run_dir: Path, name: str) -> str:
        """The task file: YAML of plain values, so no name in it can become another field."""
        mounted: dict[str, Any] = {str(self.data_dir): self.storage}
        if self._is_bucket:
            # Written to a local disk and uploaded behind: other modes of a bucket can neither append nor rename.
            mounted = {str(self.data_dir): {"source": self.storage, "mode": "MOUNT_CACHED"}}
        task: dict[str, Any] = {
            "name": name,
            "resources": self._resources(),
            "file_mounts" if self._is_bucket else "volumes": mounted,
            "run": self.script(run_dir),
        }
        if self._has_judges:
            task["secrets"] = {JUDGES: None}  # the value is given with the call, never in a file
        return yaml.safe_dump(task, sort_keys=False, allow_unicode=True)

    def script(self, run_dir: Path) -> str:
        lines = ["#!/bin/bash", "set -eu", f"cd {shlex.quote(self.directory)}", *assignments(self.payload.variables())]
        if self._has_judges:
            lines += ["judges=$(umask 077 && mktemp)", f'printf %s "${JUDGES}" > "$judges"']
            lines += [f"unset {JUDGES}", *judges_from('"$judges"')]
        log = shlex.quote(str(run_dir / "engine.log"))
        return "\n".join([*lines, f"exec {shlex.join(self.payload.of(run_dir))} >> {log} 2>&1", ""])

    def _resources(self) -> dict[str, Any]:
        resources: dict[str, Any] = {"image_id": f"docker:{self.image}", "job_recovery": "FAILOVER"}
        if self.infra:
            resources["infra"] = self.infra
        if self.payload.gpus:
            resources["accelerators"] = {self.gpu_type: self.payload.gpus}
        if self.payload.cpus:
            resources["cpus"] = f"{self.payload.cpus}+"
        if self.payload.memory_gb:
            resources["memory"] = f"{self.payload.memory_gb}+"
        return {**resources, "use_spot": True} if self.spot else resources

    @property
    def _is_bucket(self) -> bool:
        return "://" in self.storage

    @property
    def _has_judges(self) -> bool:
        return self.judges is not None and bool(self.judges.endpoints)

    def _watch(self, handle: SkyPilotHandle, run_dir: Path) -> Watch:
        return Watch(run_dir, handle.attempt, lambda: _report_of_queue(handle), self.every_seconds)


def _report_of_queue(handle: SkyPilotHandle) -> Report:
    """--all: the queue shows the latest fifty otherwise. --verbose: with the time of the start."""
    answer = _sky("jobs", "queue", "--all", "--verbose", "--output=json")
    start = answer.output.find("[")  # sky may first say that it starts its API server
    if answer.code != 0 or start < 0:
        raise Unreachable(f"SkyPilot could not be asked: {answer.last_words}")
    try:
        records: list[dict[str, Any]] = json.loads(answer.output[start:])
    except ValueError as error:
        raise Unreachable("SkyPilot's queue could not be read. Look at `sky jobs queue --output=json`.") from error
    return report(handle, records, now=time.time())


def report(handle: SkyPilotHandle, records: Sequence[Mapping[str, Any]], *, now: float) -> Report:
    mine = [record for record in records if record.get("job_name") == handle.name]
    if not mine and now - handle.launched_at < APPEARS_SECONDS:
        return Report("waiting", "SkyPilot has been asked for the job and does not show it yet")
    if not mine:
        return Report("gone", "SkyPilot knows the job no longer")
    latest = max(mine, key=lambda record: record["job_id"])
    state = str(latest.get("status"))
    reason = latest.get("failure_reason") or latest.get("details")
    said = f"SkyPilot says {state}" + (f": {str(reason)[:200]}" if reason else "")
    if state in WAITING:
        return Report("waiting", said)
    if state in ENDED or state in EXIT_CODES:
        return Report("ended", said, EXIT_CODES.get(state))
    return Report("running", said, None, latest.get("start_at"))


def _sky(*words: str, environment: Mapping[str, str] | None = None) -> Answer:
    return call(["sky", *words], families=FAMILIES, environment=environment, seconds=CALL_SECONDS)


def _refusal(answer: Answer) -> LauncherError:
    if any(words in answer.complaint + answer.output for words in TEMPORARY):
        return Unreachable(f"sky could not reach its API server: {answer.last_words}")
    return LauncherError(f"SkyPilot refused the job: {answer.last_words}. Look at the ENGINE_ settings.")


TEMPORARY = ("Could not connect to SkyPilot API server", "Connection refused", "Max retries exceeded")
