"""Starts the engine in a session of its own, waits for it and writes exit.json. Run as a file, standard library only.

Why a process in between: the platform's process that launches may die or never look again, and a child nobody waits for
stays a zombie. The minder detaches itself first, so the launching process has only the short-lived first half to reap.
Line on stdout: the engine's pid.
"""

import contextlib
import json
import os
import subprocess
import sys


def main(run_dir: str, attempt: int, niceness: int, command: list[str]) -> None:
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    with contextlib.suppress(OSError):  # a sandbox may forbid it; then the engine runs at normal priority
        os.nice(niceness)
    with open(os.path.join(run_dir, "engine.log"), "ab") as log:
        engine = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=_inherited()
        )
    for descriptor in _inherited():
        os.close(descriptor)
    print(engine.pid, flush=True)
    _let_go_of_standard_streams()
    _write_exit(run_dir, attempt, engine.wait())


def _inherited() -> list[int]:
    """The descriptor from which the engine reads its judges, where there is one."""
    return [int(number) for number in os.environ.get("JUDGES_FD", "").split(",") if number]


def _let_go_of_standard_streams() -> None:
    """The launching process reads stdout to its end; it must not wait for the engine's."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


def _write_exit(run_dir: str, attempt: int, exit_code: int) -> None:
    path = os.path.join(run_dir, "exit.json")
    partial = f"{path}.{attempt}"
    with open(partial, "w", encoding="ascii") as file:
        json.dump({"attempt": attempt, "exit_code": exit_code}, file)
    os.replace(partial, path)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
