"""Processes of the bench: each with a directory of its own, kept by what went into it, watched from outside.

What has been done is done: a job whose files and whose program are those of an earlier bench is not run again. FRESH=1
runs everything anew.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from shutil import rmtree
from typing import Any

import msgspec
import numpy as np
import psutil

from flywheel.bench.table import FAST
from trainer.contract import Result, StepMetrics

REPOSITORY = Path(__file__).resolve().parents[3]
HOME = REPOSITORY / "var" / "bench" / "train"
BESIDE = Path(__file__).parent / "beside"  # scripts, run by path: only the engine's modules may import torch
ENGINE = ("trainer/*.py", "trainer/engine/*.py", "tasks/graders/*.py")
BASE = ("trainer/engine/base.py", "flywheel/samples/*.py")
SAMPLE_SECONDS = 0.05
DONE = "done.json"
WEIGHTS = ("*.safetensors", "*.json", "*.jinja")  # of a checkpoint, what a model needs

Do = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Job:
    """`do` works in a directory that holds `files`. Its program is the source files that `sources` match."""

    name: str
    files: Mapping[str, bytes]
    do: Do
    sources: tuple[str, ...] = ENGINE

    @property
    def directory(self) -> Path:
        parts = hashlib.sha256(_program(self.sources).encode())
        for name, content in sorted(self.files.items()):
            parts.update(f"{name}/{len(content)}/".encode() + content)
        return HOME / f"{self.name}-{parts.hexdigest()[:10]}"


def perform(jobs: Sequence[Job], *, at_once: int = 1) -> list[Path]:
    """The directories of the jobs, after all are done. One at a time where times are compared."""
    with ThreadPoolExecutor(2 if FAST else at_once) as threads:
        return list(threads.map(_perform, jobs))


def _perform(job: Job) -> Path:
    directory = job.directory
    if (directory / DONE).is_file():
        return directory
    print(f"{job.name} ...", file=sys.stderr, flush=True)
    rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name, content in job.files.items():
        (directory / name).write_bytes(content)
    began = time.monotonic()
    job.do(directory)
    (directory / DONE).write_text(json.dumps({"seconds": time.monotonic() - began}))
    return directory


@cache
def _program(sources: tuple[str, ...]) -> str:
    found = hashlib.sha256()
    for path in sorted(path for pattern in sources for path in REPOSITORY.glob(pattern)):
        found.update(path.read_bytes())
    return found.hexdigest()


def fresh() -> None:
    rmtree(HOME, ignore_errors=True)


# -- processes ---------------------------------------------------------------------------------------------------------


def engine(directory: Path, *, meanwhile: Do | None = None, may_fail: bool = False) -> None:
    """One attempt of the engine; `meanwhile` is called again and again while it works."""
    _run([sys.executable, "-m", "trainer.engine", str(directory)], directory, meanwhile)
    result = result_of(directory)
    if result.status == "failed" and not may_fail:
        raise SystemExit(f"{directory}: {result.error.sentence if result.error else 'the engine failed.'}")


def script(name: str, directory: Path, *, meanwhile: Do | None = None) -> None:
    """A script of beside/, told its directory."""
    _run([sys.executable, str(BESIDE / name), str(directory)], directory, meanwhile)
    if result_of(directory).status != "succeeded":
        raise SystemExit(f"{directory}: {name} failed.")


def _run(command: Sequence[str], directory: Path, meanwhile: Do | None) -> None:
    """One thread of computation each, so that processes side by side do not share a core."""
    environment = {name: value for name, value in os.environ.items() if name != "RUN_DIR"}
    environment |= {
        "PYTHONPATH": str(REPOSITORY),
        "ENGINE_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    with (directory / "engine.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
        with _timed(process.pid, directory / "timeline.jsonl"):
            while True:
                if meanwhile is not None:
                    meanwhile(directory)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
                    break
    if meanwhile is not None:
        meanwhile(directory)
    if process.returncode not in (0, 1) or not (directory / "result.json").is_file():
        tail = (directory / "engine.log").read_text(errors="replace")[-2000:]
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{tail}")


@contextmanager
def _timed(pid: int, path: Path) -> Iterator[None]:
    """Appends (unix time, CPU seconds of the process) to a file, so that any moment's CPU time can be told later."""
    over = threading.Event()

    def sample() -> None:
        process = psutil.Process(pid)
        with path.open("a") as file, suppress(psutil.Error):
            while not over.wait(SAMPLE_SECONDS):
                spent = process.cpu_times()
                file.write(f"[{time.time()}, {spent.user + spent.system}]\n")

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def stop(directory: Path) -> None:
    """Ask the engine of a directory to hand back what it has."""
    with suppress(OSError, ValueError, psutil.Error):
        beat = json.loads((directory / "heartbeat.json").read_bytes())
        process = psutil.Process(beat["pid"])
        if str(directory) in process.cmdline():
            process.terminate()


def keeper(every: int) -> Do:
    """Keeps the weights of every so many steps, which the engine would prune, under kept/ of the directory."""

    def keep(directory: Path) -> None:
        for checkpoint in (directory / "checkpoints").glob("step-*"):
            kept = directory / "kept" / checkpoint.name
            if int(checkpoint.name.removeprefix("step-")) % every or kept.exists():
                continue
            partial = kept.with_suffix(".partial")
            rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            with suppress(FileNotFoundError):  # pruned meanwhile: it was kept before, or comes again after a rollback
                for file in (file for pattern in WEIGHTS for file in checkpoint.glob(pattern)):
                    os.link(file, partial / file.name)
                partial.rename(kept)

    return keep


def kept(directory: Path) -> dict[int, str]:
    """Step → path of the weights that were kept."""
    found = {int(path.name.removeprefix("step-")): str(path) for path in directory.glob("kept/step-*") if path.is_dir()}
    return dict(sorted(found.items()))


# -- what they wrote ---------------------------------------------------------------------------------------------------


def result_of(directory: Path) -> Result:
    return msgspec.json.decode((directory / "result.json").read_bytes(), type=Result)


def metrics(directory: Path) -> list[StepMetrics]:
    """Every line, in the order of writing: a run that went back wrote some steps twice."""
    decoder = msgspec.json.Decoder(StepMetrics)
    return [decoder.decode(line) for line in (directory / "metrics.jsonl").read_bytes().splitlines()]


@dataclass(frozen=True, slots=True)
class Point:
    """Where a training stands after a step: what it has cost so far, measurements and saves set aside by the peer."""

    step: int
    completions: int  # drawn, those of dropped groups included
    seconds: float
    cpu_seconds: float


def trained_by_us(directory: Path, group_size: int) -> list[Point]:
    """By the engine's own clock, without what it took to measure; its checkpoints count."""
    rows = [
        (line.step, (line.groups_drawn or 0) * group_size, line.at, line.seconds_measuring or 0.0)
        for line in metrics(directory)
    ]
    return _points(rows, clock(directory))


def trained_beside(directory: Path) -> list[Point]:
    """By a script's clock, without what it took to save."""
    rows = [json.loads(line) for line in (directory / "steps.jsonl").read_text().splitlines()]
    return _points([(r["step"], r["completions"], r["at"], r["aside"]) for r in rows], clock(directory))


def _points(rows: Sequence[tuple[int, int, float, float]], cpu: Callable[[float], float]) -> list[Point]:
    """From (step, completions of the step, when it ended, seconds after that which are set aside)."""
    points = [Point(rows[0][0], rows[0][1], 0.0, 0.0)]
    for (_, _, before, aside), (step, drawn, at, _) in pairwise(rows):
        last, began = points[-1], before + aside
        points.append(
            Point(step, last.completions + drawn, last.seconds + at - began, last.cpu_seconds + cpu(at) - cpu(began))
        )
    return points


def cpu_seconds(directory: Path) -> float:
    """Of the whole process, imports included."""
    return clock(directory)(float("inf"))


def clock(directory: Path) -> Callable[[float], float]:
    """Unix time → CPU seconds of the process until then."""
    samples = np.array([json.loads(line) for line in (directory / "timeline.jsonl").read_text().splitlines()])
    return lambda at: float(np.interp(at, samples[:, 0], samples[:, 1]))


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model made of the held-out items."""

    pass_rate: float  # share of all answers
    pass_any: float  # share of items with a right answer among theirs


def scores(directory: Path) -> dict[str, Scored]:
    right: dict[str, dict[str, list[bool]]] = {}
    for line in (directory / "scores.jsonl").read_bytes().splitlines():
        row: dict[str, Any] = msgspec.json.decode(line)
        right.setdefault(row["side"], {}).setdefault(row["key"], []).append(row["outcome"] == "correct")
    return {side: _scored(list(by_item.values())) for side, by_item in right.items()}


def _scored(right_n_k: Sequence[Sequence[bool]]) -> Scored:
    answers = [right for several in right_n_k for right in several]
    return Scored(sum(answers) / len(answers), sum(any(several) for several in right_n_k) / len(right_n_k))


def engine_job(name: str, files: Mapping[str, bytes], **how: Any) -> Job:
    return Job(name, files, partial(engine, **how))


def record(arm: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """The raw figures of an arm, a JSON line each."""
    HOME.mkdir(parents=True, exist_ok=True)
    (HOME / f"{arm}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
