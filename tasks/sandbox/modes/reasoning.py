"""reasoning-gym's own scoring: job {calls: [{dataset, settings, entry, answer}, …]}, one frame for each call.

A frame is {"ok": score} or {"error": kind, "detail"}; kind says whose fault it is: answer, entry, missing (no such
dataset). Where the library evaluates a text as Python, nothing but a literal or a formula gets as far as that. Rules
that accept what is wrong are repaired below, each with its reason.
"""

import ast
import math
import os
import random
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

Entry = dict[str, Any]
Rule = Callable[[str, Entry, float], float]  # (answer, entry, the library's score) -> the score

LIBRARY = "reasoning_gym"
NOT_A_TASK = "composite"  # a mixture of the others
_TEXT = 500  # letters of a fault
_datasets: dict[str, Any] = {}  # by name, with their default settings


def prepare() -> None:
    """In workers that have the library loaded: one instance of every dataset, and no evaluation of foreign text."""
    if LIBRARY not in sys.modules or _datasets:
        return
    from reasoning_gym.factory import DATASETS, create_dataset

    for name in sorted(DATASETS):
        if name != NOT_A_TASK:
            _datasets[name] = create_dataset(name, seed=0, size=1)
    for name in ("string_insertion", "spiral_matrix", "number_sorting", "binary_matrix", "n_queens"):
        vars(sys.modules[type(_datasets[name]).__module__])["eval"] = ast.literal_eval
    vars(sys.modules[type(_datasets["bitwise_arithmetic"]).__module__])["eval"] = _arithmetic


def run(job: dict[str, Any], channel: Any) -> None:
    os.dup2(0, 1)  # some datasets print why an answer is wrong
    os.dup2(0, 2)
    for call in job["calls"]:
        random.seed(0)
        channel.send(_scored(call["dataset"], call["settings"], call["entry"], call["answer"]))


def _scored(name: str, settings: dict[str, Any], entry: Entry, answer: str) -> dict[str, Any]:
    if name not in _datasets:
        return {"error": "missing", "detail": f"reasoning-gym has no dataset '{name[:60]}' here"}
    try:
        dataset = _with(name, settings)
        _restore(name, entry)
        _check(name, entry)
    except Exception as fault:
        return {"error": "entry", "detail": _described(fault)}
    try:
        return {"ok": _score(name, dataset, entry, answer)}
    except MemoryError:
        raise
    except Exception as fault:
        return {"error": _whose(name, dataset, entry), "detail": _described(fault)}


def _with(name: str, settings: dict[str, Any]) -> Any:
    from reasoning_gym.factory import create_dataset

    return create_dataset(name, **{"seed": 0, "size": 1, **settings}) if settings else _datasets[name]


def _whose(name: str, dataset: Any, entry: Entry) -> str:
    """An entry on which its own answer cannot be scored either is at fault itself."""
    if isinstance(entry["answer"], str):
        try:
            _score(name, dataset, entry, entry["answer"])
        except Exception:
            return "entry"
    return "answer"


def _score(name: str, dataset: Any, entry: Entry, answer: str) -> float:
    if name in _FORMULAS and not is_formula(answer):
        return 0.0
    score = float(dataset.score_answer(answer, entry))
    if name in _REPAIRED:
        score = _REPAIRED[name](answer, entry, score)
    return score


def _described(fault: BaseException) -> str:
    with suppress(Exception):
        return f"{type(fault).__name__}: {fault}"[:_TEXT].encode(errors="replace").decode()
    return type(fault).__name__


# What an entry must be, after a journey through JSON

_NEEDED: dict[str, tuple[str, ...]] = {
    "boxnet": ("initial_state",),
    "rush_hour": ("board_config",),
    "graph_color": ("puzzle",),
}
_NEEDED |= {"rubiks_cube": ("cube_size", "scramble_moves"), "propositional_logic": ("premises", "variables")}


def _restore(name: str, entry: Entry) -> None:
    """JSON knows no tuples, and these two compare with one."""
    if name in ("arc_agi", "rearc"):
        entry["metadata"]["output"] = tuple(tuple(row) for row in entry["metadata"]["output"])


def _check(name: str, entry: Entry) -> None:
    """Of datasets whose scoring takes a broken entry for a wrong answer, or evaluates a part of it."""
    for field in _NEEDED.get(name, ()):
        if field not in entry["metadata"]:
            raise ValueError(f"the metadata has no '{field}'")
    parsed = [entry["metadata"]["integrand"]] if name.endswith("_integration") else []
    parsed += [entry["answer"]] if name == "polynomial_multiplication" else []
    if not all(isinstance(text, str) and is_formula(text) for text in parsed):
        raise ValueError("a formula of the entry is none")


# Texts that the library evaluates

_FORMULAS = frozenset(
    {"simple_integration", "intermediate_integration", "polynomial_multiplication", "puzzle24", "countdown"}
)
_FORMULA = re.compile(r"[0-9A-Za-z+\-*/^()., \t\n]{1,5000}", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+")
_NAME = re.compile(r"[A-Za-z]+")
_FUNCTIONS = {"sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "sinh", "cosh", "tanh"}
_FUNCTIONS |= {"exp", "log", "ln", "sqrt", "pi", "Abs"}


def is_formula(text: str) -> bool:
    """Numbers, single letters and usual functions: sympy's parser would call whatever else Python has a name for."""
    if not _FORMULA.fullmatch(text):
        return False
    rest = _NUMBER.sub(" ", text)
    return "." not in rest and all(len(name) == 1 or name in _FUNCTIONS for name in _NAME.findall(rest))


def _arithmetic(problem: str) -> Any:
    """The one place that evaluates a part of an entry: of numbers and operators alone."""
    if not re.fullmatch(r"(?:0[xX][0-9a-fA-F]+|[0-9]+|[-+*/()<>&|^~ ])+", problem):
        raise ValueError("the problem is no arithmetic")
    return eval(problem, {"__builtins__": {}})  # noqa: S307


# Rules of the library that accept what is wrong


def _only_true_or_false(answer: str, entry: Entry, score: float) -> float:
    """It compares the truth of two texts, and every text but the empty one is true."""
    return float(answer.strip().casefold() == str(entry["answer"]).strip().casefold())


def _no_nan(answer: str, entry: Entry, score: float) -> float:
    """min(1, nan) is 1."""
    return 0.0 if re.search("nan|inf", answer, re.IGNORECASE) else score


def _nothing_is_said_so(answer: str, entry: Entry, score: float) -> float:
    """Without a real solution, every text without a number is as empty as the answer."""
    return score if entry["answer"] or answer.strip() in ("", '""', "''") else 0.0


def _same_numbers(answer: str, entry: Entry, score: float) -> float:
    """Any four numbers that make 24 pass, whichever the puzzle gives."""
    used = sorted(int(number) for number in re.findall(r"\b\d+\b", answer))
    return score if used == sorted(entry["metadata"]["numbers"]) else min(score, 0.05)


def _one_number(answer: str, entry: Entry, score: float) -> float:
    """The first number counts, which may be any of several."""
    numbers = {float(number) for number in re.findall(r"\b\d+(?:\.\d+)?\b", answer)}
    return score if len(numbers) == 1 else min(score, 0.01)


def _near_in_proportion(answer: str, entry: Entry, score: float) -> float:
    """Within 0.0001 of it, 0 is right for every small probability: within a hundredth of its size as well, here."""
    from fractions import Fraction

    if score < 1:
        return score
    said, right = (float(Fraction(text.replace(",", ""))) for text in (answer, entry["answer"]))
    return 1.0 if math.isclose(said, right, rel_tol=0.01) else 0.0


def _nothing_besides(answer: str, entry: Entry, score: float) -> float:
    """They count what stands in its place, and do not see what stands behind."""
    said, right = (re.split(r"[\s,]+", text.strip().casefold()) for text in (answer, entry["answer"]))
    return min(score, 1.0) if said == right else min(score, 0.8)


_REPAIRED: Mapping[str, Rule] = {
    "coin_flip": _near_in_proportion,
    "complex_arithmetic": _no_nan,
    "game_of_life_halting": _only_true_or_false,
    "gsm_symbolic": _one_number,
    "letter_jumble": _nothing_besides,
    "polynomial_equations": _nothing_is_said_so,
    "puzzle24": _same_numbers,
    "spell_backward": _nothing_besides,
    "word_sorting": _nothing_besides,
}
