"""pytest plugin (`-p tests.servers`): throw-away Postgres and broker, one pair a test run, shared by all xdist workers.

Loaded before Django's settings are: it decides the addresses first, and starts the servers only when a test asks for
them (the `servers` fixture in conftest.py), so that a run of pure tests starts nothing. A DATABASE_URL or
REDIS_URL given from outside is used as it is.
"""

import atexit
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
OWN = "FLYWHEEL_TEST_SERVERS"  # the folder of this run's servers; xdist workers inherit it


def _worker_number() -> int:
    """0 without xdist, 1 … n in its workers: the broker has 16 databases."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "")
    return int(name.removeprefix("gw")) % 15 + 1 if name else 0


def _decide_addresses() -> None:
    if OWN not in os.environ:
        os.environ[OWN] = tempfile.mkdtemp(prefix="flywheel-tests-")
        os.environ["FLYWHEEL_TEST_OWNER"] = str(os.getpid())
    root = Path(os.environ[OWN])
    if "DATABASE_URL" not in os.environ:
        os.environ["DATABASE_URL"] = f"postgres://postgres@/flywheel?host={root}/run"
    if "REDIS_URL" not in os.environ or os.environ["REDIS_URL"].startswith(f"redis+socket://{root}/"):
        os.environ["REDIS_URL"] = f"redis+socket://{root}/run/broker.sock?virtual_host={_worker_number()}"
    data = root / f"data-{_worker_number()}"
    data.mkdir(exist_ok=True)
    os.environ["DATA_DIR"] = str(data)
    os.environ.setdefault("SECRET_KEY", "for-tests-only-" + "0" * 40)
    os.environ.setdefault("MODEL_SERVER_TOKEN", "for-tests-only")


_decide_addresses()


def start() -> None:
    """Start the servers unless another worker has; returns when both answer."""
    root = Path(os.environ[OWN])
    if f"{root}/" not in os.environ["DATABASE_URL"] and f"{root}/" not in os.environ["REDIS_URL"]:
        return
    with (root / "starting.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (root / "servers.pid").exists():
            return
        outside = {name for name in ("DATABASE_URL", "REDIS_URL") if f"{root}/" in os.environ[name]}
        env = {name: value for name, value in os.environ.items() if name not in outside} | {"DATA_DIR": str(root)}
        command = [sys.executable, "-m", "flywheel.embedded", "services", "--throwaway"]
        command += ["--owner", os.environ["FLYWHEEL_TEST_OWNER"]]  # ends with pytest, even if that is killed
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        if not process.stdout.readline():
            raise RuntimeError(f"The test servers did not start: {process.stderr.read()}")
        (root / "servers.pid").write_text(str(process.pid))


def _stop() -> None:
    """Stop the servers and remove their files."""
    root = Path(os.environ[OWN])
    pid_file = root / "servers.pid"
    if pid_file.exists():
        with suppress(psutil.Error):
            process = psutil.Process(int(pid_file.read_text()))
            process.terminate()
            process.wait(20)
    shutil.rmtree(root, ignore_errors=True)


if os.environ["FLYWHEEL_TEST_OWNER"] == str(os.getpid()):  # not in an xdist worker
    atexit.register(_stop)  # rather than pytest_unconfigure, which a broken conftest keeps from running
