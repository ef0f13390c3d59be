"""Starts, watches and stops everything that one machine needs.

Order: secrets, Postgres, broker, migrations, then web, worker, beat and model server. Any one of them may be killed at
any moment and is started again; the engines are not ours (a launcher starts them) and outlive a supervisor that dies,
but not one that is asked to stop.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import psutil
import psycopg

from flywheel.embedded import services
from flywheel.embedded.broker import Broker
from flywheel.embedded.children import Child, answers_http
from flywheel.embedded.memory import MemorySampler, engines
from flywheel.embedded.places import REPOSITORY, Places, make_private, make_secrets
from flywheel.embedded.postgres import Postgres
from flywheel.embedded.process import die_with_parent, end_process, start_process
from flywheel.embedded.refusals import EmbeddedError
from flywheel.embedded.state import end_leftovers, lock_stack, read_state, write_json

TICK_SECONDS = 0.1
PROBE_EVERY_SECONDS = 5.0
READY_SECONDS = 180.0
ENGINE_GRACE_SECONDS = 20.0  # a training engine writes a checkpoint first
LONGEST_LOG_BYTES = 20 * 2**20


@dataclass(frozen=True, slots=True)
class Ports:
    web: int
    model_server: int


class Stack:
    def __init__(self, places: Places, *, durable: bool = True) -> None:
        self.places, self.durable = places, durable
        self.children: dict[str, Child] = {}
        self.env: dict[str, str] = {}
        self.database_url = os.environ.get("DATABASE_URL", "")
        self.redis_url = os.environ.get("REDIS_URL", "")
        self._lock: TextIO | None = None
        self._memory: MemorySampler | None = None
        self._probed_at = 0.0
        self._unhealthy: set[str] = set()

    # -- starting ------------------------------------------------------------------------------------------------

    def claim(self, *, fresh: bool = False) -> None:
        """Become the one supervisor of this DATA_DIR; `fresh` empties it first."""
        if fresh:
            self._refuse_a_foreign_folder()
        make_private(self.places.data)
        self._lock = lock_stack(self.places.stack)
        end_leftovers(read_state(self.places.stack))
        if fresh:
            self._empty()
        make_secrets(self.places.data)
        make_private(self.places.run)
        self.places.logs.mkdir(exist_ok=True)

    def start_servers(self) -> None:
        """Postgres and the broker, each only where no address of another was given."""
        if not self.database_url:
            postgres = Postgres(
                self.places.postgres, run=self.places.run, log=self._log("postgres"), durable=self.durable
            )
            self.database_url = postgres.url
            self._add(
                Child(
                    "postgres",
                    postgres.start,
                    postgres.log,
                    postgres.is_running,
                    signal.SIGINT,
                    20.0,
                    signal.SIGQUIT,
                    False,
                )
            )
        if not self.redis_url:
            broker = Broker(self.places.broker, run=self.places.run, log=self._log("broker"))
            self.redis_url = broker.url
            self._add(Child("broker", broker.start, broker.log, broker.is_running))

    def start_product(self, ports: Ports) -> None:
        """Migrate, then start the product's own processes; does not wait for them (see wait_ready)."""
        given = os.environ.get("MODEL_SERVER_URL", "")
        self.env = services.environment(
            self.places,
            database_url=self.database_url,
            redis_url=self.redis_url,
            web_port=ports.web,
            model_server_url=given or f"http://127.0.0.1:{ports.model_server}",
        )
        if not given:  # first, because importing torch takes longest
            models = self.places.data / "models"
            models.mkdir(exist_ok=True)
            command = services.model_server(models, ports.model_server)
            self._add_service("model-server", command, url=f"{self.model_server_url}/health")
        self.manage("migrate", "--noinput", "--verbosity", "0")
        self._add_service("web", services.web(ports.web), url=self.web_url + services.WEB_PROBE)
        self._add_service("worker", services.worker(), grace_seconds=8.0, harder_signal=signal.SIGQUIT)
        self.children["worker"].healthy = self._worker_has_its_pool
        self._add_service("beat", services.beat())
        self._memory = MemorySampler(self._roots, data=self.places.data, output=self.memory_file)
        self._memory.start()

    @property
    def web_url(self) -> str:
        return self.env["WEB_URL"]

    @property
    def model_server_url(self) -> str:
        return self.env["MODEL_SERVER_URL"]

    @property
    def memory_file(self) -> Path:
        return self.places.stack / "memory.json"

    def manage(self, *words: str) -> str:
        """Run a management command to its end; its output, or its last line as the reason of failure."""
        done = subprocess.run(
            services.manage(*words),
            cwd=REPOSITORY,
            env=self.env,
            capture_output=True,
            text=True,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
        with self._log("manage").open("a") as log:
            log.write(f"$ manage.py {' '.join(words)}\n{done.stdout}{done.stderr}")
        if done.returncode != 0:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise EmbeddedError(f"`manage.py {words[0]}` failed: {lines[-1] if lines else 'it said nothing'}")
        return done.stdout

    def nothing_uploaded(self) -> bool:
        """Whether the database is as empty as the migrations leave it: a newcomer's, who is given the tour."""
        with psycopg.connect(self.database_url, connect_timeout=10) as connection:
            return connection.execute("SELECT 1 FROM tasks_upload LIMIT 1").fetchone() is None

    # -- watching ------------------------------------------------------------------------------------------------

    def wait_ready(self, *names: str, timeout_seconds: float = READY_SECONDS) -> None:
        """Supervise until the named children answer."""
        deadline = time.monotonic() + timeout_seconds
        waiting = [self.children[name] for name in names if name in self.children]
        while waiting := [child for child in waiting if not (child.is_alive() and child.healthy())]:
            self.supervise()
            child = max(waiting, key=lambda child: child.restarts)
            if child.restarts >= 4 or time.monotonic() > deadline:
                raise EmbeddedError(
                    f"{child.name} does not start: {child.last_words() or 'no reason given'} ({child.log})"
                )
            time.sleep(TICK_SECONDS)

    def supervise(self) -> None:
        """One round: revive the dead, probe the living now and then, write down what changed."""
        changed = False
        for child in self.children.values():
            try:
                changed |= child.revive()
            except (OSError, RuntimeError) as fault:
                print(f"{child.name} could not be restarted: {fault}", flush=True)
        if time.monotonic() - self._probed_at > PROBE_EVERY_SECONDS:
            self._probed_at = time.monotonic()
            unhealthy = {name for name, child in self.children.items() if not (child.is_alive() and child.healthy())}
            changed |= unhealthy != self._unhealthy
            self._unhealthy = unhealthy
            self._turn_logs()
        if changed:
            self.write_state()

    def run_in_foreground(self, command: Sequence[str]) -> int:
        """Run a command that prints to the terminal while the stack is watched; its exit code.

        In a session of its own: Ctrl-C comes to the supervisor, which asks the command to end.
        """
        process = subprocess.Popen(
            list(command),
            cwd=REPOSITORY,
            env=self.env,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
        try:
            while process.poll() is None:
                self.supervise()
                time.sleep(TICK_SECONDS)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
        return process.wait()

    def write_state(self) -> None:
        children = {
            name: {
                "pid": child.process.pid,
                "created": child.created,
                "restarts": child.restarts,
                "healthy": name not in self._unhealthy,
                "log": str(child.log),
            }
            for name, child in self.children.items()
            if child.process is not None
        }
        state = {
            "supervisor": os.getpid(),
            "database_url": self.database_url,
            "redis_url": self.redis_url,
            "web_url": self.env.get("WEB_URL", ""),
            "model_server_url": self.env.get("MODEL_SERVER_URL", ""),
            "children": children,
        }
        write_json(self.places.stack / "state.json", state)

    # -- stopping ------------------------------------------------------------------------------------------------

    def stop(self, *, hurry: bool = False) -> None:
        """The product and the engines first, all at once; then the broker; Postgres last."""
        if self._lock is None:
            return
        if self._memory is not None:
            self._memory.stop()
        servers = [self.children.pop(name) for name in ("broker", "postgres") if name in self.children]
        for child in self.children.values():
            child.ask_to_stop()
        if self.env:
            for engine in engines(self.places.data):
                end_process(engine, signal.SIGTERM, timeout_seconds=1.0 if hurry else ENGINE_GRACE_SECONDS)
        for child in self.children.values():
            child.finish_stopping(hurry=hurry)
        for child in servers:
            child.ask_to_stop()
            child.finish_stopping()
        (self.places.stack / "state.json").unlink(missing_ok=True)
        self._lock.close()
        self._lock = None

    # -- details -------------------------------------------------------------------------------------------------

    def _log(self, name: str) -> Path:
        return self.places.logs / f"{name}.log"

    def _worker_has_its_pool(self) -> bool:
        """Forked once every jobs module has been imported; a worker that cannot import one never gets here."""
        process = self.children["worker"].process
        try:
            return process is not None and len(psutil.Process(process.pid).children()) > 1
        except psutil.Error:
            return False

    def _turn_logs(self) -> None:
        """Copy a long log aside and empty it: its writer appends, so it goes on at the new end."""
        for log in self.places.logs.glob("*.log"):
            if log.stat().st_size > LONGEST_LOG_BYTES:
                shutil.copyfile(log, log.with_suffix(".log.1"))
                os.truncate(log, 0)

    def _add(self, child: Child) -> None:
        self.children[child.name] = child
        child.launch()
        self.write_state()

    def _add_service(
        self,
        name: str,
        command: Sequence[str],
        *,
        url: str = "",
        grace_seconds: float = 6.0,
        harder_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        log = self._log(name)
        # KILL: a worker that lost its supervisor must not finish its job at leisure beside the next supervisor's.
        child = Child(
            name,
            lambda: start_process(command, env=self.env, log=log, cwd=REPOSITORY, death_signal=signal.SIGKILL),
            log,
            (lambda: answers_http(url)) if url else (lambda: True),
            grace_seconds=grace_seconds,
            harder_signal=harder_signal,
        )
        self._add(child)

    def _roots(self) -> dict[str, int]:
        roots = {name: child.process.pid for name, child in self.children.items() if child.process is not None}
        return {**roots, "supervisor": os.getpid()}

    def _refuse_a_foreign_folder(self) -> None:
        data = self.places.data
        if data.exists() and any(data.iterdir()) and not (data / "secret_key").exists():
            raise EmbeddedError(f"{data} holds something else: choose an empty folder for DATA_DIR.")

    def _empty(self) -> None:
        """Remove what an earlier stack and its engines left in DATA_DIR."""
        for engine in engines(self.places.data):
            end_process(engine, signal.SIGKILL, timeout_seconds=10)
        for path in self.places.data.iterdir():
            if path != self.places.stack:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for name in ("state.json", "memory.json", "tour.pending"):
            (self.places.stack / name).unlink(missing_ok=True)
