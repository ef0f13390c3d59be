"""Runs the engine as a Slurm job: sbatch starts it, sacct (where it has no record: squeue) follows it, scancel ends it.

The run directory and this source tree lie on a file system that the nodes see under the same names. A job is never
requeued by Slurm: after a preemption the platform starts the next attempt, which goes on from the last checkpoint.
"""

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tasks.graders.judges import Judges
from trainer.launchers.payload import Payload, assignments, judges_from
from trainer.launchers.protocol import LauncherError, SlurmHandle, Status, Unreachable, write_whole
from trainer.launchers.scheduled import Report, Watch
from trainer.launchers.submission import job_name, once
from trainer.launchers.tools import Answer, call

REPOSITORY = Path(__file__).resolve().parents[2]
FAMILIES = ("SLURM_", "SBATCH_", "KRB5")
WARNING_SECONDS = 120  # SIGTERM before the time limit: the engine saves a checkpoint and hands the work back

# squeue(1), "Job state codes". What is in neither set has ended or is running; an unknown word is taken for running,
# and then the heartbeat decides.
WAITING = frozenset(
    [
        *("PENDING", "CONFIGURING", "POWER_UP_NODE", "SUSPENDED", "STOPPED", "SPECIAL_EXIT"),
        *("REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD"),
    ]
)
EXITED = frozenset(["COMPLETED", "FAILED", "OUT_OF_MEMORY"])  # the engine ended by itself: its exit code counts
ENDED = EXITED | frozenset(
    [
        *("CANCELLED", "DEADLINE", "PREEMPTED", "REVOKED", "TIMEOUT"),
        *("BOOT_FAIL", "LAUNCH_FAILED", "NODE_FAIL", "RECONFIG_FAIL"),
    ]
)
UNKNOWN_TO_SLURM = "Invalid job id"


@dataclass(frozen=True)
class SlurmLauncher:
    """`secrets` is a folder outside the run directories that the nodes see: judges with keys pass through it, in a file
    of mode 0600 that the job removes before the engine starts."""

    payload: Payload = field(default_factory=lambda: Payload(sys.executable))
    secrets: Path = Path("secrets")
    partition: str = ""
    account: str = ""
    qos: str = ""
    gpu_type: str = ""
    every_seconds: float = 15.0
    judges: Judges | None = None
    name: str = "slurm"

    def submit(self, run_dir: Path, *, attempt: int) -> SlurmHandle:
        run_dir = run_dir.resolve()
        return once(run_dir, attempt, SlurmHandle, lambda: self._found_or_submitted(run_dir, attempt))

    def poll(self, handle: SlurmHandle, run_dir: Path) -> Status:
        status = self._watch(handle, run_dir).status()
        if not status.alive:
            self._secret(handle.name).unlink(missing_ok=True)  # of a job that never came to read it
        return status

    def stop(self, handle: SlurmHandle, run_dir: Path, grace_seconds: float) -> bool:
        """SIGTERM to the engine, then scancel, which also takes a waiting job out of the queue."""
        watch = self._watch(handle, run_dir)
        if not watch.is_over() and watch.look().report.state == "running":
            _ask("scancel", "--full", "--signal=TERM", handle.job)  # --full: the engine is the batch step
            deadline = time.monotonic() + grace_seconds
            while not watch.is_over() and time.monotonic() < deadline:
                time.sleep(min(1.0, grace_seconds))
        over = watch.is_over()
        if not over:
            _ask("scancel", handle.job)
            over = watch.is_over()
        if over:
            self._secret(handle.name).unlink(missing_ok=True)
        return over

    def _found_or_submitted(self, run_dir: Path, attempt: int) -> SlurmHandle:
        name = job_name(run_dir, attempt)
        return SlurmHandle(_number_of(name) or self._sbatch(run_dir, name), name, attempt)

    def _sbatch(self, run_dir: Path, name: str) -> str:
        secret = self._store_judges(name)
        path = run_dir / "slurm.sh"  # kept: what ran can be read, and submitted by hand
        write_whole(path, self.script(run_dir, name, secret).encode(errors="surrogateescape"))
        output = str(run_dir / "engine.log").replace("\\", "\\\\").replace("%", "%%")  # sbatch(1), "filename pattern"
        command = ["sbatch", "--parsable", f"--chdir={REPOSITORY}", f"--output={output}", str(path)]
        answer = call(command, families=FAMILIES)
        number = answer.output.strip().splitlines()[-1:] if answer.code == 0 else []
        if not number:
            if secret:
                secret.unlink(missing_ok=True)
            raise _refusal("sbatch", answer)
        return number[0].partition(";")[0]  # "number;cluster" in a federation

    def script(self, run_dir: Path, name: str, secret: Path | None = None) -> str:
        """A batch script. `exec`: signals that Slurm sends to the batch step reach the engine."""
        lines = ["#!/bin/bash", *self._directives(name), "", "set -eu", f"cd {shlex.quote(str(REPOSITORY))}"]
        lines += assignments({"PYTHONPATH": str(REPOSITORY), **self.payload.variables()})
        if secret is not None:
            lines += judges_from(shlex.quote(str(secret)))
        return "\n".join([*lines, f"exec {shlex.join(self.payload.of(run_dir))}", ""])

    def _directives(self, name: str) -> list[str]:
        """The settings' readers let only plain words through, so these need no quoting."""
        gpus = f"gpu:{self.gpu_type}:{self.payload.gpus}" if self.gpu_type else f"gpu:{self.payload.gpus}"
        options = {
            "job-name": name,
            "nodes": "1",
            "ntasks": "1",
            "no-requeue": None,
            "open-mode": "append",
            "signal": f"B:TERM@{WARNING_SECONDS}",
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "gres": gpus if self.payload.gpus else "",
            "cpus-per-task": str(self.payload.cpus or ""),
            "mem": f"{self.payload.memory_gb}G" if self.payload.memory_gb else "",
            "time": str(self.payload.time_limit_minutes or ""),
        }
        given = {option: value for option, value in options.items() if value != ""}
        return [f"#SBATCH --{option}" + ("" if value is None else f"={value}") for option, value in given.items()]

    def _store_judges(self, name: str) -> Path | None:
        if self.judges is None or not self.judges.endpoints:
            return None
        self.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._secret(name)
        descriptor, partial = tempfile.mkstemp(dir=self.secrets)  # mode 0600 from the first byte
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(self.judges))
        os.replace(partial, path)
        return path

    def _secret(self, name: str) -> Path:
        return self.secrets.resolve() / f"{name}.json"

    def _watch(self, handle: SlurmHandle, run_dir: Path) -> Watch:
        return Watch(run_dir, handle.attempt, lambda: report(handle.job), self.every_seconds)


def report(job: str) -> Report:
    """sacct knows jobs for as long as its database keeps them, squeue only those of the last minutes, but at once."""
    accounting = call(
        ["sacct", f"--jobs={job}", "--allocations", "--noheader", "--parsable2", "--format=State,ExitCode,Start"],
        families=FAMILIES,
        environment={"SLURM_TIME_FORMAT": "%s"},
    )
    lines = accounting.output.strip().splitlines() if accounting.code == 0 else []
    if lines:
        return _report(*lines[-1].split("|"))
    return _report_of_queue(job)


def _report_of_queue(job: str) -> Report:
    answer = call(["squeue", f"--jobs={job}", "--states=all", "--noheader", "--format=%T"], families=FAMILIES)
    if answer.code != 0 and UNKNOWN_TO_SLURM not in answer.complaint:
        raise Unreachable(f"Slurm could not be asked: {answer.last_words}")
    lines = answer.output.strip().splitlines()
    return _report(lines[-1]) if lines else Report("gone", "Slurm knows the job no longer")


def _report(state: str, exit_code: str = "", start: str = "") -> Report:
    word = state.split()[0].rstrip("+") if state.split() else ""  # "CANCELLED by 1000"
    said = f"Slurm says {state.strip()}"
    started_at = float(start) if start.isdecimal() else None
    if word in WAITING:
        return Report("waiting", said)
    if word in ENDED:
        return Report("ended", said, _exit_code(exit_code) if word in EXITED else None, started_at)
    return Report("running", said, None, started_at)


def _exit_code(pair: str) -> int | None:
    """`code:signal`, as sacct has it."""
    code, _, number = pair.partition(":")
    if not code.isdecimal() or not number.isdecimal():
        return None
    return -int(number) if int(number) else int(code)


def _number_of(name: str) -> str | None:
    """The job of a submit that died before it wrote the number down."""
    answer = call(["squeue", "--me", f"--name={name}", "--states=all", "--noheader", "--format=%A"], families=FAMILIES)
    if answer.code != 0:
        raise Unreachable(f"Slurm could not be asked: {answer.last_words}")
    numbers = answer.output.split()
    return numbers[0] if numbers else None


def _ask(*command: str) -> None:
    """A refusal is no fault: the job may have ended in between. What became of it is asked next."""
    call(list[str](command), families=FAMILIES)


def _refusal(tool: str, answer: Answer) -> LauncherError:
    if any(words in answer.complaint for words in TEMPORARY):
        return Unreachable(f"{tool} could not reach Slurm: {answer.last_words}")
    return LauncherError(f"{tool} refused the job: {answer.last_words}. Look at the ENGINE_ settings.")


# slurm_strerror(3) for a controller that does not answer, and limits that pass.
TEMPORARY: Sequence[str] = (
    "Unable to contact slurm controller",
    "Socket timed out",
    "Slurm backup controller in standby mode",
    "Slurm temporarily unable to accept job",
    "Connection refused",
    "Zero Bytes were transmitted",
)
