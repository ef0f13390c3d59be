"""What every launcher runs: `python -m trainer.engine RUN_DIR`, on several GPUs under `accelerate launch`."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Of every engine, wherever it runs. Threads that wait by spinning take the cores from those that work.
ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
JUDGES_DESCRIPTOR = 3


@dataclass(frozen=True)
class Payload:
    """`command` replaces Python and module together; a directory and nothing else is added to it."""

    python: str = "python"
    command: tuple[str, ...] = ()
    gpus: int = 0  # processes of one engine, one for each; 0 and 1: one process, which takes what it finds
    cpus: int = 0  # 0: the scheduler's default
    memory_gb: int = 0  # 0: the scheduler's default
    time_limit_minutes: int = 0  # 0: the scheduler's default
    environment: Mapping[str, str] = field(default_factory=dict)

    def of(self, run_dir: Path) -> tuple[str, ...]:
        return (*(self.command or self._engine()), str(run_dir))

    def variables(self) -> dict[str, str]:
        return {**ENVIRONMENT, **self.environment}

    def _engine(self) -> tuple[str, ...]:
        if self.gpus < 2:
            return (self.python, "-m", "trainer.engine")
        # Everything that accelerate would otherwise take from a file in the home directory, or ask for.
        machines = ("--multi_gpu", "--num_machines", "1", "--num_processes", str(self.gpus))
        numbers = ("--mixed_precision", "no", "--dynamo_backend", "no")  # the engine decides by hardware
        port = ("--main_process_port", "0")  # any free one: another engine may be on the same machine
        launch = (self.python, "-m", "accelerate.commands.launch", *machines, *numbers, *port)
        return (*launch, "--module", "trainer.engine")


def assignments(variables: Mapping[str, str]) -> list[str]:
    """Lines of shell that export the variables, whatever their values hold."""
    return [f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items())]


def judges_from(file: str) -> list[str]:
    """Lines of shell that open a file of judges and remove it: only processes of the job can read it any more.

    A path and not a number: several processes of one engine each open it anew, from its beginning. `exec` keeps the
    process number, so the path stays true. `file` is shell, quoted by the caller.
    """
    return [
        f"exec {JUDGES_DESCRIPTOR}< {file}",
        f"rm -f -- {file}",
        f'export JUDGES_FD="/proc/$$/fd/{JUDGES_DESCRIPTOR}"',
    ]
