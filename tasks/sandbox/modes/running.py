"""How the modes run other people's source: compile it, describe what it raised, give it streams that lead nowhere."""

import builtins
import io
import sys
from types import CodeType, ModuleType, TracebackType
from typing import Any

MAX_DESCRIPTION = 400  # characters


class _Nowhere(io.RawIOBase):
    """Takes everything, keeps nothing."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


def silence() -> None:
    """Code under assert tests has nothing to read, and nobody reads what it prints."""
    sys.stdin = io.TextIOWrapper(io.BytesIO())
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Nowhere()), errors="replace")
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(_Nowhere()), errors="replace")


def module(name: str) -> dict[str, Any]:
    """The namespace of an empty module that the code may find under its own __name__, with what `python FILE` gives."""
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]  # workers run without the site module
    made = ModuleType(name)
    sys.modules[name] = made
    return vars(made)


def first_that_compiles(sources: list[str], filename: str) -> CodeType:
    """Raises what the first of the sources says when none compiles."""
    problems: list[Exception] = []
    for source in sources:
        try:
            return compile(source, filename, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as problem:
            problems.append(problem)
    raise problems[0]


def described(fault: BaseException, filename: str, source: str = "") -> str:
    """ "ValueError: too small (line 3: raise ValueError(...))": the innermost line that stands in the file."""
    try:
        said = str(fault)
    except BaseException:  # the class is the code's own
        said = ""
    if isinstance(fault, SyntaxError):
        return f"{type(fault).__name__}: {fault.msg} (line {fault.lineno})"[:MAX_DESCRIPTION]
    text = f"{type(fault).__name__}: {said[:300]}" if said else type(fault).__name__
    line = innermost_line(fault.__traceback__, filename)
    if line is None:
        return text[:MAX_DESCRIPTION]
    lines = source.splitlines()
    shown = f": {lines[line - 1].strip()[:200]}" if 0 < line <= len(lines) else ""
    return f"{text} (line {line}{shown})"[:MAX_DESCRIPTION]


def innermost_line(traceback: TracebackType | None, filename: str) -> int | None:
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == filename:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def classes(namespace: dict[str, Any]) -> dict[str, type]:
    """Those that the code itself has defined."""
    own = namespace["__name__"]
    return {name: kind for name, kind in namespace.items() if isinstance(kind, type) and kind.__module__ == own}
