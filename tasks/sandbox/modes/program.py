"""Runs a program as `python program.py < input` does. Only its standard output and its exit status count.

What it raised is told besides, for the reason that a person reads: the program could forge it and would win nothing.
"""

import atexit
import io
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

from tasks.sandbox.modes import running

_PIPE_BYTES = 60_000  # what a pipe holds without a reader; a little less than Linux gives it
_FILE = "<code>"


def run(job: Mapping[str, Any], channel: Any) -> None:
    """job: sources (the first that compiles runs), stdin."""
    _feed(job["stdin"].encode(errors="surrogatepass"))
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0)), encoding="utf-8", errors="surrogateescape")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w")), encoding="utf-8", errors="backslashreplace")
    sys.argv = ["program.py"]
    atexit._clear()
    status = _executed(job["sources"], channel)
    sys.stdout.flush()
    os._exit(status)


def _executed(sources: list[str], channel: Any) -> int:
    """Exit status. What the program left running is waited for, and what it registered for its end is run."""
    try:
        code = running.first_that_compiles(sources, _FILE)
        exec(code, running.module("__main__"))  # noqa: S102
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except SystemExit as left:
        atexit._run_exitfuncs()
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except MemoryError:
        raise  # the worker tells it by the exit status
    except BaseException as fault:
        channel.send({"fault": running.described(fault, _FILE)})
        return 1
    return 0


def _feed(data: bytes) -> None:
    """Put the input on descriptor 0. A thread writes what a pipe cannot hold."""
    reading, writing = os.pipe()
    os.dup2(reading, 0)
    os.close(reading)
    if len(data) <= _PIPE_BYTES:
        _write(writing, data)
    else:
        threading.Thread(target=_write, args=(writing, data), daemon=True).start()


def _write(descriptor: int, data: bytes) -> None:
    try:
        with open(descriptor, "wb") as pipe:
            pipe.write(data)
    except OSError:  # the program closed its input before the end
        pass
