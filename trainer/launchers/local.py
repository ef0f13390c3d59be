"""Runs the engine as a process on this machine: in its own session, at low priority, without the platform's secrets."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from tasks.graders import judges
from tasks.graders.judges import Judges
from trainer.launchers.payload import ENVIRONMENT, Payload
from trainer.launchers.protocol import (
    LauncherError,
    LocalHandle,
    Status,
    read_exit_code,
    read_heartbeat,
    read_result,
)
from trainer.launchers.submission import once, stored_handle

REPOSITORY = Path(__file__).resolve().parents[2]
MINDER = Path(__file__).with_name("minder.py")
START_SECONDS = 60.0  # the minder only forks and executes; longer than this means a machine in trouble
STRANGER_HEARTBEAT_SECONDS = 60.0  # an engine on another machine counts as alive while its heartbeat is younger

_IN_MEMORY = hasattr(os, "memfd_create")  # elsewhere than on Linux an unnamed file

# Several processes of one engine do not inherit the descriptor: each opens it by its path, from its beginning.
_EACH_OPENS_ANEW = ("/bin/sh", "-c", 'export JUDGES_FD="/proc/$$/fd/$JUDGES_FD"; exec "$@"', "sh")

# What a child may know of our environment. DATABASE_URL, keys and proxies are not here on purpose.
PASSED_ON = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "HF_HOME"),
    *("SANDBOX_LEVELS", "SANDBOX_WORKERS"),
)


@dataclass(frozen=True)
class LocalLauncher:
    """`environment` adds to the engine's minimal environment; `threads` 0 leaves their number to torch.

    `judges` hold keys: the engine reads them from an open descriptor, never from a file or its environment. On several
    `gpus` an engine is as many processes.
    """

    engine_command: tuple[str, ...] = ()  # (): this interpreter with -m trainer.engine
    gpus: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    threads: int = 0
    niceness: int = 5
    judges: Judges | None = None
    name: str = "local"

    def submit(self, run_dir: Path, *, attempt: int) -> LocalHandle:
        run_dir = run_dir.resolve()
        return once(run_dir, attempt, LocalHandle, lambda: self._taken_up_or_started(run_dir, attempt))

    def poll(self, handle: LocalHandle, run_dir: Path) -> Status:
        # Alive is read first: an engine that ends in between shows its result, never "gone without one".
        alive = _is_here(handle) and birth(handle.pid) == handle.birth
        heartbeat = read_heartbeat(run_dir, handle.attempt)
        if not _is_here(handle) and heartbeat is not None:
            alive = time.time() - heartbeat.at < STRANGER_HEARTBEAT_SECONDS
        return Status(alive, heartbeat, read_result(run_dir, handle.attempt), read_exit_code(run_dir, handle.attempt))

    def stop(self, handle: LocalHandle, run_dir: Path, grace_seconds: float) -> bool:
        """SIGTERM to the engine, then SIGKILL to its group. Never to a process that merely inherited the number."""
        if not _is_here(handle):
            return not self.poll(handle, run_dir).alive
        engine = _process(handle)
        if engine is None:
            return True
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            children = engine.children(recursive=True)
            engine.terminate()
            if not _gone_within(handle, grace_seconds):
                os.killpg(handle.pid, signal.SIGKILL)
            for child in children:  # those that outlived it, or left its group
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        return _gone_within(handle, 10)

    def _taken_up_or_started(self, run_dir: Path, attempt: int) -> LocalHandle:
        pid = self._unrecorded(run_dir) or self._start(run_dir, attempt)
        return LocalHandle(socket.gethostname(), pid, birth(pid) or "", attempt)

    def _engine(self, run_dir: Path) -> tuple[str, ...]:
        return Payload(sys.executable, self.engine_command, self.gpus).of(run_dir)

    def _unrecorded(self, run_dir: Path) -> int | None:
        """An engine of a submit that died before it wrote the handle. An earlier attempt's is in the handle."""
        known = stored_handle(run_dir, LocalHandle)
        wanted = list(self._engine(run_dir))
        for process in psutil.process_iter(["cmdline"]):
            if process.info["cmdline"] == wanted and (known is None or process.pid != known.pid):
                return int(process.pid)
        return None

    def _start(self, run_dir: Path, attempt: int) -> int:
        """The engine's pid. Waits only for the minder's first half, so no zombie stays with the caller."""
        minder = [sys.executable, "-I", "-S", str(MINDER), str(run_dir), str(attempt), str(self.niceness)]
        try:
            with _readable(self.judges) as descriptors:
                started = subprocess.run(
                    [*minder, *(_EACH_OPENS_ANEW if self.gpus > 1 and descriptors else ()), *self._engine(run_dir)],
                    cwd=REPOSITORY,
                    env={**self._engine_environment(), judges.DESCRIPTOR: ",".join(map(str, descriptors))},
                    pass_fds=descriptors,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=START_SECONDS,
                    check=False,
                )
        except subprocess.TimeoutExpired as error:
            raise LauncherError("The engine could not be started in time. Look at the machine's load.") from error
        if not started.stdout.strip():
            last = started.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise LauncherError(f"The engine could not be started: {' '.join(last) or 'no reason was given'}.")
        return int(started.stdout)

    def _engine_environment(self) -> dict[str, str]:
        passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        threads = {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)} if self.threads else {}
        fixed = {"PYTHONPATH": str(REPOSITORY), **ENVIRONMENT}
        return {"LANG": "C.UTF-8", **passed_on, **fixed, **threads, **self.environment}


@contextlib.contextmanager
def _readable(given: Judges | None) -> Iterator[tuple[int, ...]]:
    """A descriptor with the judges to read from, of memory that has no name; none where there are no judges."""
    if given is None or not given.endpoints:
        yield ()
        return
    with os.fdopen(os.memfd_create("judges"), "w+b") if _IN_MEMORY else tempfile.TemporaryFile() as file:
        file.write(msgspec.json.encode(given))
        file.seek(0)
        yield (file.fileno(),)


def birth(pid: int) -> str | None:
    """When the process was started, in words that no other process with this number shares; None if it does not run.

    On Linux ticks since boot with the boot's id: unlike a wall-clock time they do not move when the clock is set.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        state, ticks = (
            fields[0],
            fields[19],
        )  # fields 3 and 22 of proc(5): those before contain the name, which may hold blanks
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _birth_elsewhere(pid)
    return None if state in "ZX" else f"{boot}:{ticks}"


def _birth_elsewhere(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.3f}"
    except psutil.NoSuchProcess:
        return None


def _is_here(handle: LocalHandle) -> bool:
    return handle.host == socket.gethostname()


def _process(handle: LocalHandle) -> psutil.Process | None:
    """psutil remembers the process it was made for and signals no other; the birth ties that one to the handle."""
    try:
        process = psutil.Process(handle.pid)
    except psutil.NoSuchProcess:
        return None
    return process if birth(handle.pid) == handle.birth else None


def _gone_within(handle: LocalHandle, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while birth(handle.pid) == handle.birth:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True
