"""A python grader over a micro-batch of calls: job {source, calls: [{sample, item}, …]}, one frame for each call.

A frame is {"ok": score} or {"error": kind, "detail": text}; kind: source (no call can succeed: the only frame), raised,
bad_value, memory. The source is compiled and executed once for the whole batch.
"""

import json
import math
import os
import random
import sys
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any

FILE = "grader.py"
_TEXT = 1800  # letters; what is shown is cut again, in bytes, by the host

Answer = dict[str, Any]


def run(job: dict[str, Any], channel: Any) -> None:
    _silence()
    random.seed(0)  # chance is the same in every session
    grade = _load(job["source"])
    if isinstance(grade, dict):
        channel.send(grade)
        return
    for call in job["calls"]:
        channel.send(_answer(grade, call["sample"], call["item"]))


_REHEARSED = """
import math
def grade(sample, item):
    if item:
        raise ValueError(item)
    return float(math.sqrt(len(sample["output_text"])) > 0)
"""


def prepare() -> None:
    """Do everything once before the worker forks: what Python then makes or loads, its sessions need not."""
    grade = _load(_REHEARSED)
    if not isinstance(grade, dict):
        for item in ({}, {"a": 1.5}):
            message = json.loads(json.dumps({"sample": {"output_text": "4"}, "item": item}))
            json.dumps(_answer(grade, message["sample"], message["item"]))
    del sys.modules["grader"]
    random.seed(0)


def _silence() -> None:
    """What a grader prints is read by nobody, and must not fill a pipe."""
    os.dup2(0, 1)
    os.dup2(0, 2)


def _load(source: str) -> Callable[..., Any] | Answer:
    module = ModuleType("grader")
    module.__file__ = FILE
    sys.modules["grader"] = module  # dataclasses and typing look their module up
    try:
        exec(compile(source.removeprefix("\ufeff"), FILE, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    except MemoryError:
        return {"error": "memory", "detail": "The grader's source needs more memory than it may have."}
    except BaseException as fault:
        return {"error": "source", "detail": _described(fault)}
    grade = module.__dict__.get("grade")
    if grade is None:
        return {"error": "source", "detail": "The source defines no function `grade(sample, item)`."}
    if not callable(grade):
        return {"error": "source", "detail": "`grade` is not a function."}
    return grade


def _answer(grade: Callable[..., Any], sample: Any, item: Any) -> Answer:
    try:
        result = grade(sample, item)
    except MemoryError:
        return {"error": "memory", "detail": "The grader needs more memory than it may have."}
    except BaseException as fault:  # SystemExit and KeyboardInterrupt are the grader's too
        return {"error": "raised", "detail": _described(fault)}
    return _score(result)


def _score(result: Any) -> Answer:
    """int, float, bool and numpy's scalars, finite and in [0, 1]; never clamped."""
    kind = type(result)
    try:
        if kind.__module__ == "numpy" and hasattr(kind, "item"):
            result = kind.item(result)
            kind = type(result)
        if kind not in (int, float, bool):
            return _bad(f"`grade` returned {_article(kind.__name__)}, not a number.")
        if kind is float and not math.isfinite(result):
            return _bad(f"`grade` returned {result}, not a finite number.")
        if not 0 <= result <= 1:
            return _bad(f"`grade` returned {_shown(result)}: a score lies between 0 and 1.")
        return {"ok": float(result)}
    except BaseException as fault:  # a hostile class may raise anywhere
        return _bad(f"`grade` returned something that is not a number: {_described(fault)}")


def _bad(detail: str) -> Answer:
    return {"error": "bad_value", "detail": detail[:_TEXT]}


def _article(name: str) -> str:
    return "nothing (None)" if name == "NoneType" else f"a value of type {name[:80]}"


def _shown(number: int | float) -> str:
    return repr(number) if isinstance(number, float) or abs(number) < 10**18 else "a number of more than 18 digits"


def _described(fault: BaseException) -> str:
    """Type, text and the author's line. A hostile __str__ may raise, or return anything."""
    line = fault.lineno if isinstance(fault, SyntaxError) and fault.filename == FILE else _line(fault.__traceback__)
    kind = type.__getattribute__(type(fault), "__name__")
    try:
        text = str(fault.msg if isinstance(fault, SyntaxError) else fault)[:_TEXT]
    except BaseException:
        text = "(its text cannot be read)"
    where = f" (line {line} of the grader)" if line else ""
    return f"{kind[:80]}{': ' if text else ''}{text}{where}".encode(errors="replace").decode()


def _line(traceback: TracebackType | None) -> int | None:
    found = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == FILE:
            found = traceback.tb_lineno
        traceback = traceback.tb_next
    return found
