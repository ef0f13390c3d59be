"""`python -m trainer.engine DIR`: one process, one directory, one result. trainer/contract.py says what lies in DIR.

Exit status: 0 the work ended as asked (succeeded, paused, cancelled, handed back), 1 it failed and result.json says
why, 2 the command is wrong, 73 another engine holds the directory, 75 another attempt has taken it over. Only 0 and 1
write result.json.
"""

import os

# Before torch is imported: threads that wait by spinning steal the core from those that work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import fcntl
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from tasks.graders import judges
from trainer.contract import BaseSpec, EngineFault, EvaluateSpec, Result, SampleSpec, Spec, TrainSpec, decode_spec
from trainer.engine import checkpoints, environment, mishaps, ranks
from trainer.engine.faults import Fault, Fenced, Stopped
from trainer.engine.progress import FENCED, Progress, peak_memory_bytes

LOCKED = 73
LOCK_PATIENCE_SECONDS = 20.0  # a predecessor that finds itself fenced needs a heartbeat to leave
STOPPED_AS = {"pause": "paused", "cancel": "cancelled", "terminate": "handed_back"}


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or not Path(arguments[1]).is_dir():
        print("usage: python -m trainer.engine DIR   (DIR holds spec.json)", file=sys.stderr)
        return 2
    directory = Path(arguments[1]).resolve()
    try:
        judges.of_this_process()  # read and closed before any other process could inherit the descriptor
    except ValueError as nonsense:
        print(nonsense, file=sys.stderr)
        return 2
    if not ranks.first():
        return _follow(directory)
    with _locked(directory) as held:
        if not held:
            print(f"Another engine holds {directory}/lock: wait for it or end it.", file=sys.stderr)
            return LOCKED
        try:
            return _work(directory)
        except Fenced:
            return FENCED


def _follow(directory: Path) -> int:
    """A process beside the first one: training alone needs it, and it writes nothing."""
    attempt, spec = _read_spec(directory)
    if not isinstance(spec, TrainSpec) or not spec.recipe.steps:
        return 0
    with Progress(directory, attempt, speaks=False) as progress:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first process hears it and tells the others at their step
        try:
            return 1 if _result(spec, directory, progress).status == "failed" else 0
        except Fenced:
            return FENCED


def _work(directory: Path) -> int:
    attempt, spec = _read_spec(directory)
    with Progress(directory, attempt) as progress:
        signal.signal(signal.SIGTERM, lambda *_: setattr(progress, "stop", progress.stop or "terminate"))
        (directory / "result.json").unlink(missing_ok=True)  # of an earlier attempt
        result = _result(spec, directory, progress)
        progress.enter("done")
        measured = {"peak_memory_bytes": peak_memory_bytes(), "seconds": progress.seconds}
        progress.end(msgspec.structs.replace(result, **measured, environment=environment.describe()))
    return 1 if result.status == "failed" else 0


def _result(spec: Spec | EngineFault, directory: Path, progress: Progress) -> Result:
    if isinstance(spec, EngineFault):
        return Result("failed", progress.attempt, error=spec)
    try:
        return _run(spec, directory, progress)
    except Stopped as stopped:
        if stopped.ending is not None:
            return Result("paused", progress.attempt, step=progress.step, ending=stopped.ending)
        (directory / "control.json").unlink(missing_ok=True)  # obeyed: the next attempt must not obey it again
        status = STOPPED_AS[progress.stop or "terminate"]
        return Result(status, progress.attempt, step=progress.step)  # type: ignore[arg-type]
    except Fault as fault:
        return Result("failed", progress.attempt, step=progress.step, error=fault.record)
    except Fenced:
        raise
    except Exception as bug:
        traceback.print_exc()
        record = mishaps.fault_of(bug, progress.phase)
        if record.code == "disk_full" and ranks.first():
            _drop_half_written(directory)
        return Result("failed", progress.attempt, step=progress.step, error=record)


def _drop_half_written(directory: Path) -> None:
    """So that there is room for result.json, which says what happened."""
    for partial in ("checkpoints/.partial", "model.partial"):
        checkpoints.clear(directory / partial)


def _run(spec: Spec, directory: Path, progress: Progress) -> Result:
    """The heavy imports wait until here, so that a malformed spec is answered at once."""
    from transformers.utils import logging

    from trainer.engine import loading

    logging.disable_progress_bar()
    loading.use_threads()
    if isinstance(spec, BaseSpec):
        from trainer.engine import base

        return Result("succeeded", spec.attempt, step=spec.steps, model=base.build(spec, directory, progress))
    if isinstance(spec, EvaluateSpec):
        from trainer.engine import evaluate

        done = evaluate.evaluate(spec, directory, progress)
        return Result("succeeded", spec.attempt, step=done.answers, kl=done.kl, tokens=done.tokens)
    if isinstance(spec, SampleSpec):
        from trainer.engine import difficulty

        asked = difficulty.measure(spec, directory, progress)
        return Result("succeeded", spec.attempt, step=asked.tasks, tokens=asked.tokens)
    from trainer.engine import grpo

    trained = grpo.train(spec, directory, progress)
    return Result(
        "succeeded",
        spec.attempt,
        step=trained.step,
        model=trained.model,
        kl=trained.kl,
        tokens=trained.tokens,
        ending=trained.ending,
        kept_step=trained.kept_step,
        learning_rate=trained.learning_rate,
    )


def _read_spec(directory: Path) -> tuple[int, Spec | EngineFault]:
    """The attempt that this process works for, and the spec or what is wrong with it."""
    try:
        raw = (directory / "spec.json").read_bytes()
    except FileNotFoundError:
        return 0, EngineFault("spec", "spec_missing", "spec.json is missing in the run directory.")
    try:
        spec = decode_spec(raw)
    except msgspec.DecodeError as error:
        attempt = 0
        with suppress(msgspec.DecodeError):
            attempt = msgspec.json.decode(raw, type=_AttemptOnly).attempt
        return attempt, EngineFault("spec", "spec_malformed", f"spec.json cannot be read: {error}.")
    return spec.attempt, spec


class _AttemptOnly(msgspec.Struct):
    attempt: int = 0


@contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """An exclusive lock for the life of the process; the kernel drops it with the process, however that ends."""
    with (directory / "lock").open("w") as file:
        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
        while not _try_lock(file.fileno()):
            if time.monotonic() > deadline:
                yield False
                return
            time.sleep(0.2)
        yield True


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv))
