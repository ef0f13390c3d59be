"""A turn of the wheel as processes, on a folder of its own: started, killed in parts or as a whole, started again."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil

from flywheel.embedded.memory import engines
from flywheel.embedded.process import is_alive, wait_until
from flywheel.embedded.state import read_state

REPOSITORY = Path(__file__).resolve().parents[2]
FAKE_ENGINE = REPOSITORY / "tests" / "fakes" / "engine.py"
SEED, SHARE = 1, 0.1
MOMENT_SECONDS = 120.0
TURN_SECONDS = 240.0
_OURS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "MODEL_SERVER_URL", "MODEL_SERVER_TOKEN", "WEB_PORT")


@dataclass
class Turn:
    """`root` holds the data directory and what the turn wrote. Kills only what the stack names, and its descendants."""

    root: Path
    random: Random = field(default_factory=Random)
    environment: dict[str, str] = field(default_factory=dict)
    seed: int = SEED
    share: float = SHARE
    patience: float = 1.0  # times the usual waits
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def data(self) -> Path:
        return self.root / "data"

    def start(self, *, resume: bool = False) -> None:
        ledger = [sys.executable, "-m", "tests.journeys.ledger", str(self.root / "turn.json")]
        ledger += [str(self.root / "ledger.json"), str(self.seed), str(self.share)]
        command = [sys.executable, "-m", "flywheel.embedded", "run", *([] if resume else ["--fresh"]), "--", *ledger]
        given = {name: value for name, value in os.environ.items() if name not in _OURS}
        with (self.root / "output.txt").open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env={**given, **self.environment, "DATA_DIR": str(self.data), "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def finish(self) -> dict[str, Any]:
        """Wait for the end; the ledger. Nothing of the turn runs any more."""
        assert self.process is not None
        status = self.process.wait(TURN_SECONDS * self.patience)
        assert status == 0, f"exit status {status}:\n{self.output()[-3000:]}"
        assert not self._alive(), "processes outlived the turn"
        return dict(json.loads((self.root / "ledger.json").read_text()))

    def output(self) -> str:
        return (self.root / "output.txt").read_text(errors="replace")

    # -- moments ---------------------------------------------------------------------------------------------------

    def wait_for(self, moment: str) -> None:
        """A word of the tour's output, or the kind of an engine: base, run, evaluation. Then up to a second more."""
        reached = self._engine_works(moment) if moment in ("base", "run", "evaluation") else self._said(moment)
        assert self.process is not None
        ended = self.process.poll
        patience = MOMENT_SECONDS * self.patience
        assert wait_until(lambda: reached() or ended() is not None, timeout_seconds=patience), moment
        assert ended() is None, f"ended before {moment!r}:\n{self.output()[-3000:]}"
        time.sleep(self.random.random())

    def _said(self, words: str) -> Callable[[], bool]:
        return lambda: words in self.output()

    def _engine_works(self, kind: str) -> Callable[[], bool]:
        return lambda: any(_kind(process).startswith(kind) for process in engines(self.data))

    # -- kills -----------------------------------------------------------------------------------------------------

    def kill(self, part: str) -> None:
        """A child of the stack, or one of "importer" (a pool process of the worker) and "engine"."""
        if part == "everything":
            self.kill_everything()
        elif part == "engine":
            _kill(engines(self.data))
        elif part == "importer":
            with suppress(psutil.NoSuchProcess):
                pool = psutil.Process(self._pid("worker")).children()
                _kill([self.random.choice(pool)] if pool else [])
        else:
            with suppress(psutil.NoSuchProcess):
                _kill([psutil.Process(self._pid(part))])

    def kill_everything(self, *, spare_engines: bool = False) -> None:
        """Supervisor, children, servers and engines: as if the machine had lost its power."""
        assert self.process is not None
        assert wait_until(lambda: not self._killed(spare_engines), timeout_seconds=30, every_seconds=0.2)
        self.process.wait()

    def _killed(self, spare_engines: bool) -> list[psutil.Process]:
        """Kill what lives; what that was. Backends of Postgres outlive their postmaster for a moment."""
        found = [process for process in self._alive() if not (spare_engines and self._is_engine(process))]
        _kill(found)
        return found

    def _is_engine(self, process: psutil.Process) -> bool:
        """Or its minder."""
        with suppress(psutil.Error):
            return any(f"{self.data}/runs/" in word for word in process.cmdline())
        return False

    def _pid(self, part: str) -> int:
        return int(read_state(self.data / "stack")["children"][part]["pid"])

    def _alive(self) -> list[psutil.Process]:
        """The supervisor first, so that it starts nothing again; then what it started, now or before it died."""
        found: list[psutil.Process] = []
        recorded = [child["pid"] for child in read_state(self.data / "stack").get("children", {}).values()]
        for pid in [self.process.pid if self.process else 0, *recorded]:
            with suppress(psutil.NoSuchProcess):
                if pid and self._is_ours(process := psutil.Process(pid)):
                    found += [process, *process.children(recursive=True)]
        found += [process for process in psutil.process_iter() if self._is_ours(process)]
        return [process for process in dict.fromkeys(found) if is_alive(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        """It was started with our data directory, in its words or in its environment."""
        with suppress(psutil.Error):
            words = process.cmdline()
            told = words and process.environ().get("DATA_DIR") == str(self.data)
            return bool(told) or any(str(self.data) in word for word in words)
        return False


def _kind(engine: psutil.Process) -> str:
    """As its directory begins; nothing of one that ended meanwhile."""
    with suppress(psutil.NoSuchProcess):
        return engine.cmdline()[-1].split("/")[-1]
    return ""


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def once(folder: Path, name: str, make: Callable[[Path], None]) -> Path:
    """What `make` writes under a folder that all processes of this test run share; made by the first that asks."""
    path = folder / name
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            make(path)
    return path
