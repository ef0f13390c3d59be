"""Command-line tools of schedulers: called from lists, with a time limit, without the platform's secrets."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainer.launchers.protocol import LauncherError, Unreachable

SECONDS = 60.0  # of one call
# What a tool may know of our environment: where it finds its configuration and its login. DATABASE_URL, the platform's
# keys and its judges are not here on purpose: sbatch hands its environment on to the job.
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Answer:
    code: int
    output: str
    complaint: str  # stderr

    @property
    def last_words(self) -> str:
        lines = (self.complaint.strip() or self.output.strip()).splitlines()
        return lines[-1].strip()[:300] if lines else "no reason was given"


def call(
    command: Sequence[str],
    *,
    families: Sequence[str],
    standard_input: str = "",
    environment: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> Answer:
    """What the tool said. Unreachable where it could not be asked in time; its own refusals are the caller's."""
    try:
        done = subprocess.run(
            command,
            input=standard_input.encode(),
            env={**_environment(families), **(environment or {})},
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise LauncherError(f"The command {command[0]} was not found. Install it, or set ENGINE_LAUNCHER.") from error
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"{command[0]} gave no answer in {seconds:.0f} s. Look at the scheduler.") from error
    return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def _environment(families: Sequence[str]) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if name in PASSED_ON or name in PROXIES}
    return {**known, **{name: value for name, value in os.environ.items() if name.startswith(tuple(families))}}
